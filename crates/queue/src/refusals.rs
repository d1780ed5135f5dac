//! Webhooks that were refused of late, counted by minute for all servers together.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::client::Queue;
use super::error::QueueError;

/// For how many minutes counts are kept, the present one included.
const REFUSALS_KEPT: i64 = 10;

impl Queue {
    /// Adds to the counts of this minute. One round trip.
    pub async fn add_refusals(
        &self,
        counts: &BTreeMap<String, u64>,
        now: DateTime<Utc>,
    ) -> Result<(), QueueError> {
        let key = self.refusals_of(now.timestamp() / 60);
        let mut add = redis::pipe();
        for (reason, count) in counts {
            add.hincr(&key, reason, *count).ignore();
        }
        add.expire(&key, (REFUSALS_KEPT + 1) * 60).ignore();
        Ok(add.query_async(&mut self.connection.clone()).await?)
    }

    /// What was refused in the last 10 minutes, by reason.
    pub async fn refusals(&self, now: DateTime<Utc>) -> Result<BTreeMap<String, u64>, QueueError> {
        let minute = now.timestamp() / 60;
        let mut ask = redis::pipe();
        for past in 0..REFUSALS_KEPT {
            ask.hgetall(self.refusals_of(minute - past));
        }
        let minutes: Vec<BTreeMap<String, u64>> = ask.query_async(&mut self.connection.clone()).await?;
        let mut counts = BTreeMap::new();
        for (reason, count) in minutes.into_iter().flatten() {
            *counts.entry(reason).or_default() += count;
        }
        Ok(counts)
    }

    fn refusals_of(&self, minute: i64) -> String {
        self.key(&format!("refused:{minute}"))
    }
}
