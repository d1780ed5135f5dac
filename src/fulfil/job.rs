//! A purchase as a job of the queue.

use super::Purchase;
use super::purchase::VERSION;
use crate::queue::{DecodeError, Job};

const KIND: &str = "fulfil";

impl Job for Purchase {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn key(&self) -> Option<String> {
        Some(self.job_key())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        // Nearly all take 400 to 600 bytes: no growing on the way there.
        let mut payload = Vec::with_capacity(768);
        serde_json::to_writer(&mut payload, self)?;
        Ok(payload)
    }

    fn decode(kind: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        let kind = kind.to_owned();
        if kind != KIND {
            return Err(DecodeError::UnknownKind(kind));
        }
        if version > VERSION {
            return Err(DecodeError::UnknownVersion { kind, version });
        }
        Ok(serde_json::from_slice(payload)?)
    }
}
