//! How far each schedule has come, for all processes together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::client::Queue;
use super::error::QueueError;

impl Queue {
    /// The last tick of each schedule that has ever fired, by the schedule's name.
    pub async fn last_ticks(&self) -> Result<HashMap<String, DateTime<Utc>>, QueueError> {
        let ticks: Vec<(String, f64)> = redis::Cmd::zrange_withscores(self.key("cron"), 0, -1)
            .query_async(&mut self.connection.clone())
            .await?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole milliseconds, far below 2^53"
        )]
        let instant = |ms: f64| DateTime::from_timestamp_millis(ms as i64);
        Ok(ticks
            .into_iter()
            .filter_map(|(name, ms)| Some((name, instant(ms)?)))
            .collect())
    }

    /// Records that a schedule's tick has fired. A later tick that is recorded already stays.
    pub async fn record_tick(&self, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        self.put_tick("GT", schedule, tick).await
    }

    /// Sets a schedule back to an earlier tick, where the recorded one cannot be right.
    pub async fn reset_tick(&self, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        self.put_tick("LT", schedule, tick).await
    }

    async fn put_tick(&self, only: &str, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        let mut put = redis::cmd("ZADD");
        put.arg(self.key("cron")).arg(only);
        put.arg(tick.timestamp_millis()).arg(schedule);
        Ok(put.query_async(&mut self.connection.clone()).await?)
    }
}
