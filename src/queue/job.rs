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

/// Splits what `enqueue.lua` wrote into kind, the ms at which it was enqueued, and payload.
pub(super) fn split(data: &[u8]) -> Result<(&str, u64, &[u8]), DecodeError> {
    let end = data.iter().take(128).position(|byte| *byte == b'\n').ok_or(DecodeError::Header)?;
    let header = std::str::from_utf8(&data[..end]).map_err(|_| DecodeError::Header)?;
    let (kind, enqueued) = header.split_once(' ').ok_or(DecodeError::Header)?;
    Ok((kind, enqueued.parse().map_err(|_| DecodeError::Header)?, &data[end + 1..]))
}

pub(super) fn decode<J: Job>(data: &[u8]) -> Result<J, DecodeError> {
    let (kind, _, payload) = split(data)?;
    J::decode(kind, payload)
}
