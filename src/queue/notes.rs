//! What all processes remember together beside the jobs: how far each schedule has come, and short notes.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::client::{Queue, millis};
use super::error::QueueError;
use super::item::Hand;

/// A note that is longer is not read: somebody else has written it.
const LONGEST_NOTE: usize = 1 << 20;

impl Queue {
    /// The last tick of each schedule that ever fired, by its name.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn ticks(&self) -> Result<HashMap<String, DateTime<Utc>>, QueueError> {
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

    /// Notes that a schedule's tick has fired. A later one stays.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn ticked(&self, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        self.put_tick("GT", schedule, tick).await
    }

    /// Sets a schedule back to a tick, where what is noted is not to be believed.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn turn_back(&self, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        self.put_tick("LT", schedule, tick).await
    }

    async fn put_tick(&self, only: &str, schedule: &str, tick: DateTime<Utc>) -> Result<(), QueueError> {
        let mut put = redis::cmd("ZADD");
        put.arg(self.key("cron")).arg(only);
        put.arg(tick.timestamp_millis()).arg(schedule);
        Ok(put.query_async(&mut self.connection.clone()).await?)
    }

    /// Keeps a text for so long.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn note(&self, name: &str, text: &str, life: Duration) -> Result<(), QueueError> {
        let expiry = redis::SetExpiry::PX(millis(life).max(1));
        let options = redis::SetOptions::default().with_expiration(expiry);
        let put = redis::Cmd::set_options(self.key(&format!("note:{name}")), text, options);
        Ok(put.query_async(&mut self.connection.clone()).await?)
    }

    /// The text of that name, while it is kept.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn noted(&self, name: &str) -> Result<Option<String>, QueueError> {
        let get = redis::Cmd::get(self.key(&format!("note:{name}")));
        let text: Option<String> = get.query_async(&mut self.connection.clone()).await?;
        Ok(text.filter(|text| text.len() <= LONGEST_NOTE))
    }

    /// By which hand each of these events has come in, in the last weeks; `None`: not at all.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn hands(&self, events: &[&str]) -> Result<Vec<Option<Hand>>, QueueError> {
        self.hands_at(events, &[]).await
    }

    /// The same, where they may have come in at the paths of these tenants, too. The first hand counts.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn hands_at(&self, events: &[&str], tenants: &[&str]) -> Result<Vec<Option<Hand>>, QueueError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<_> = events
            .iter()
            .flat_map(|event| {
                let at_paths = tenants.iter().map(move |slug| format!("event:{slug}:{event}"));
                std::iter::once(format!("event:{event}")).chain(at_paths)
            })
            .map(|key| self.key(&key))
            .collect();
        let held: Vec<Option<String>> = redis::Cmd::mget(keys)
            .query_async(&mut self.connection.clone())
            .await?;
        let of_event = |words: &[Option<String>]| {
            let mut words = words.iter().flatten().peekable();
            words.peek()?;
            let is_second = words.all(|word| word == Hand::Second.as_str());
            Some(if is_second { Hand::Second } else { Hand::First })
        };
        Ok(held.chunks(1 + tenants.len()).map(of_event).collect())
    }
}
