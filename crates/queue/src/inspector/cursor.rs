//! Where a page ended, as text for the next call.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{InspectError, JobState, Order};

/// A place in a list: a job, not a number of jobs, so that it stays where it is while the queue moves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) state: JobState,
    pub(super) queue: String,
    pub(super) order: Option<Order>,
    /// `None`: the beginning of the state's jobs.
    pub(super) place: Option<Position>,
}

/// The job that was seen last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Position {
    /// Of a waiting job its group, of a running one its worker's token.
    pub(super) line: String,
    /// In a sorted set its score; in a list where it stood.
    pub(super) at: f64,
    /// The entry there; empty: the beginning of the list.
    pub(super) entry: String,
}

impl Cursor {
    pub(super) fn encode(&self) -> Result<String, InspectError> {
        let text = serde_json::to_vec(self).map_err(|error| InspectError::Queue(error.into()))?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }

    pub(super) fn decode(word: &str) -> Result<Self, InspectError> {
        let text = URL_SAFE_NO_PAD.decode(word).map_err(|_| InspectError::Cursor)?;
        serde_json::from_slice(&text).map_err(|_| InspectError::Cursor)
    }
}
