//! How an event came to the queue: its dedupe key records that.

use super::client::Queue;
use super::error::QueueError;

/// How an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// Its source delivered it.
    Delivered,
    /// We found it by polling.
    Polled,
}

impl EventSource {
    /// As `enqueue.lua` takes and keeps it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "1",
            Self::Polled => "2",
        }
    }
}

impl Queue {
    /// How each of these events has come in, in the last weeks: without a path, or by the path of one of these tenants. `None`:
    /// not at all. A delivery by the source counts more than a polled one.
    pub async fn event_sources(
        &self,
        events: &[&str],
        tenants: &[&str],
    ) -> Result<Vec<Option<EventSource>>, QueueError> {
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
            let only_polled = words.all(|word| word == EventSource::Polled.as_str());
            Some(if only_polled {
                EventSource::Polled
            } else {
                EventSource::Delivered
            })
        };
        Ok(held.chunks(1 + tenants.len()).map(of_event).collect())
    }
}
