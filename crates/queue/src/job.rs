//! What a job is to the queue: a kind, a version, an id and bytes.

use std::sync::Arc;

/// Something that can wait in the queue.
pub trait Job: Sized + Send + 'static {
    /// Names the kind of job: a stable `snake_case` word without spaces.
    fn kind(&self) -> &'static str;

    /// The version of the payload: increase it with each change that an older program could not read.
    fn version(&self) -> u32 {
        1
    }

    /// The dedupe key, which is the job's id: while a job of this id waits, is scheduled or runs, there is no second.
    /// `None`: every push is a job of its own.
    fn key(&self) -> Option<String>;

    /// The payload as Redis holds it.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// Reads a payload back, of its own version or of an older one.
    ///
    /// # Errors
    /// [`DecodeError`]: a kind or a version that is unknown is left to a newer worker; with any other error the job
    /// becomes a dead letter. The worker lives on.
    fn decode(kind: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError>;
}

/// A payload that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("this worker knows no job of the kind `{0}`")]
    UnknownKind(String),
    #[error("this worker knows no version {version} of the kind `{kind}`")]
    UnknownVersion { kind: String, version: u32 },
    #[error("the payload could not be read: {0}")]
    Payload(#[from] serde_json::Error),
    #[error("the payload has no header line")]
    Header,
}

/// Where a job comes from. A handler finds it in its task's data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// Its group; `None`: no group.
    pub group: Option<Arc<str>>,
    /// The W3C `traceparent` of the request that brought it.
    pub trace: Option<Arc<str>>,
    /// When it was enqueued, in ms since 1970.
    pub enqueued: u64,
}

/// The longest header that is read: a kind, a group, a trace and four numbers.
pub(super) const LONGEST_HEADER: usize = 512;

/// What `enqueue.lua` wrote of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Data<'a> {
    pub(super) kind: &'a str,
    pub(super) version: u32,
    pub(super) group: Option<&'a str>,
    pub(super) trace: Option<&'a str>,
    /// In ms since 1970.
    pub(super) enqueued: u64,
    /// Attempts before the present one.
    pub(super) attempts: u32,
    /// Workers that died with it.
    pub(super) crashes: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Data<'a> {
    /// Reads the header: `kind/version group trace enqueued attempts crashes`, or `kind enqueued attempts crashes` as
    /// it was before there were versions.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, DecodeError> {
        let end = data
            .iter()
            .take(LONGEST_HEADER)
            .position(|byte| *byte == b'\n')
            .ok_or(DecodeError::Header)?;
        let header = std::str::from_utf8(&data[..end]).map_err(|_| DecodeError::Header)?;
        let mut words = header.split(' ');
        let mut word = || words.next().ok_or(DecodeError::Header);
        let told = |word: &'a str| (word != "-").then_some(word);
        let kind = word()?;
        let (kind, version, group, trace) = match kind.split_once('/') {
            Some((kind, version)) => (kind, number(version)?, told(word()?), told(word()?)),
            None => (kind, 1, None, None),
        };
        Ok(Self {
            kind,
            version,
            group,
            trace,
            enqueued: number(word()?)?,
            attempts: number(word()?)?,
            crashes: number(word()?)?,
            payload: &data[end + 1..],
        })
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            group: self.group.map(Arc::from),
            trace: self.trace.map(Arc::from),
            enqueued: self.enqueued,
        }
    }
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, DecodeError> {
    word.parse().map_err(|_| DecodeError::Header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_of_before_there_were_versions_is_read() {
        let data = Data::parse(b"fulfil 1700000000000 2 1\n{}").unwrap();
        let expected = Data {
            kind: "fulfil",
            version: 1,
            group: None,
            trace: None,
            enqueued: 1_700_000_000_000,
            attempts: 2,
            crashes: 1,
            payload: b"{}",
        };
        assert_eq!(data, expected);
    }

    #[test]
    fn a_header_tells_version_group_and_trace_where_they_are_there() {
        let data = Data::parse(b"fulfil/3 studio - 5 0 0\n").unwrap();
        assert_eq!((data.version, data.group, data.trace), (3, Some("studio"), None));
        let data = Data::parse(b"fulfil/1 - 00-a-b-01 5 0 0\n").unwrap();
        assert_eq!((data.group, data.trace), (None, Some("00-a-b-01")));
        for broken in ["fulfil/ - - 5 0 0\n", "fulfil/1 5 0 0\n", "fulfil/1 - - 5 0\n"] {
            assert!(Data::parse(broken.as_bytes()).is_err(), "{broken:?}");
        }
    }
}
