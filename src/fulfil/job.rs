//! A purchase as a job of the queue.

use super::Purchase;
use crate::queue::{DecodeError, Job};

const KIND: &str = "fulfil";

impl Job for Purchase {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn key(&self) -> Option<String> {
        Some(self.job_key())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn decode(kind: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        if kind != KIND {
            return Err(DecodeError::UnknownKind(kind.to_owned()));
        }
        Ok(serde_json::from_slice(payload)?)
    }
}
