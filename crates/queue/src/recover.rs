//! Finds jobs that are in no list, because Redis has lost some of the queue's keys and kept others.

use std::time::Duration;

use super::client::{Queue, millis};
use super::error::QueueError;
use super::scripts;

/// No job is scheduled further ahead. A later time was written while the clock was ahead.
pub(super) const LONGEST_DELAY: Duration = Duration::from_hours(24);

/// How many keys one call reads.
const PORTION: usize = 1_000;
/// How many calls one worker makes in a row.
const PORTIONS: usize = 10;
/// How many keys are read to count.
const MOST_COUNTED: usize = 2_000_000;

impl Queue {
    /// Continues the search for jobs that are in no list, which all workers of the queue share, and puts those back that it
    /// finds for the second time. Reads a bounded portion, at most to the end of the pass. Returns how many it put back.
    pub async fn recover(&self) -> Result<usize, QueueError> {
        let mut recovered = 0;
        for _ in 0..PORTIONS {
            let (cursor, _, back) = self.portion(PORTION, "").await?;
            recovered += back;
            if cursor == "0" {
                break;
            }
        }
        Ok(recovered)
    }

    /// How many jobs are in no list: none runs before it is put back. Changes nothing; reads all keys.
    pub async fn stranded(&self) -> Result<usize, QueueError> {
        let mut cursor = "0".to_owned();
        let mut found = 0;
        for _ in 0..MOST_COUNTED / PORTION {
            let (next, stray, _) = self.portion(PORTION, &cursor).await?;
            found += stray;
            if next == "0" {
                break;
            }
            cursor = next;
        }
        Ok(found)
    }

    async fn portion(&self, keys: usize, cursor: &str) -> Result<(String, usize, usize), QueueError> {
        Ok(scripts::RECOVER
            .on(&["sched", "dead", "lease", "stray"].map(|name| self.key(name)))
            .arg(self.prefix())
            .arg(keys)
            .arg(millis(self.config.lease))
            .arg(millis(LONGEST_DELAY))
            .arg(cursor)
            .invoke_async(&mut self.connection.clone())
            .await?)
    }
}
