//! What a job is to the queue: a kind, an id and bytes.

/// Something that can wait in the queue.
pub trait Job: Sized + Send + 'static {
    /// Names the kind of job: a stable `snake_case` word without spaces.
    fn kind(&self) -> &'static str;

    /// The dedupe key, which is the job's id: while a job of this id waits, is scheduled or runs, there is no second.
    /// `None`: every push is a job of its own.
    fn key(&self) -> Option<String>;

    /// The payload as it lies in Redis.
    ///
    /// # Errors
    /// Where it cannot be written.
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;

    /// Reads a payload back.
    ///
    /// # Errors
    /// [`DecodeError`]: the job becomes a dead letter, its worker lives on.
    fn decode(kind: &str, payload: &[u8]) -> Result<Self, DecodeError>;
}

/// A payload that this program cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("this worker knows no job of the kind `{0}`")]
    UnknownKind(String),
    #[error("the payload could not be read: {0}")]
    Payload(#[from] serde_json::Error),
    #[error("the payload has no header line")]
    Header,
}

/// What `enqueue.lua` wrote of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Data<'a> {
    pub(super) kind: &'a str,
    /// In ms since 1970.
    pub(super) enqueued: u64,
    /// Attempts before the present one.
    pub(super) attempts: u32,
    pub(super) payload: &'a [u8],
}

impl<'a> Data<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, DecodeError> {
        // A header is short: a kind and three numbers.
        let end = data
            .iter()
            .take(128)
            .position(|byte| *byte == b'\n')
            .ok_or(DecodeError::Header)?;
        let header = std::str::from_utf8(&data[..end]).map_err(|_| DecodeError::Header)?;
        let mut words = header.split(' ');
        let (Some(kind), Some(enqueued), Some(attempts)) = (words.next(), words.next(), words.next()) else {
            return Err(DecodeError::Header);
        };
        Ok(Self {
            kind,
            enqueued: enqueued.parse().map_err(|_| DecodeError::Header)?,
            attempts: attempts.parse().map_err(|_| DecodeError::Header)?,
            payload: &data[end + 1..],
        })
    }
}
