//! The log's way from Redis into the store.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use tokio_util::sync::CancellationToken;

use super::refunds::close_refunded;
use super::{Header, logged};
use crate::clock::Clock;
use crate::outage::{self, Outage};
use crate::queue::{LogConsumer, LogEntry, QueueError};
use crate::store::{Store, StoreError};

/// Entries that fail one by one while none is stored: then it is not the entries.
const MOST_FAILURES: usize = 8;

/// Carries the log from Redis into the store until it is told to stop.
#[derive(Debug)]
pub struct Drain {
    pub consumer: LogConsumer,
    pub store: Arc<Store>,
    pub clock: Clock,
    /// The mode of the key or the setting: true for live, false for test.
    pub livemode: Option<bool>,
    /// Entries in one transaction.
    pub batch: usize,
    /// How long entries gather: the log is in no hurry, a purchase is.
    pub interval: Duration,
    /// How long the store keeps raw bodies.
    pub keep_body: Duration,
    /// How long the store keeps events. Zero: for ever.
    pub keep_events: Duration,
    /// How long the store keeps the audit log. Zero: for ever.
    pub keep_audit: Duration,
}

#[derive(Debug, thiserror::Error)]
enum DrainError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Drain {
    /// Runs until `stop`. Faults are logged and waited out; entries stay in Redis meanwhile.
    pub async fn run(mut self, stop: CancellationToken) {
        const BETWEEN_CLEARINGS: Duration = Duration::from_mins(10);
        let outage = Outage::default();
        let mut nap = self.interval;
        let mut cleared = None;
        while !stop.is_cancelled() {
            let turn = async {
                self.step().await?;
                if cleared.is_none_or(|last: tokio::time::Instant| last.elapsed() > BETWEEN_CLEARINGS) {
                    self.clear().await?;
                    cleared = Some(tokio::time::Instant::now());
                }
                Ok::<(), DrainError>(())
            };
            match stop.run_until_cancelled(turn).await {
                None => break,
                Some(Ok(())) => {
                    nap = self.interval;
                    if let Some(away) = outage.answered() {
                        let away_ms = outage::millis(away);
                        tracing::info!(away_ms, "the event log is written to the store again");
                    }
                }
                // The workers say that Redis is away.
                Some(Err(DrainError::Queue(error))) => {
                    tracing::debug!(%error, "the event log cannot be read");
                    nap = (nap * 2).min(Duration::from_secs(10));
                }
                Some(Err(DrainError::Store(error))) => {
                    if let Some(away) = outage.failed() {
                        let away_ms = outage::millis(away);
                        tracing::warn!(%error, away_ms, "the event log waits in Redis; trying again");
                    }
                    nap = (nap * 2).min(Duration::from_secs(10));
                }
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(nap)).await;
        }
        let leave = tokio::time::timeout(Duration::from_secs(2), self.consumer.leave());
        if !matches!(leave.await, Ok(Ok(()))) {
            tracing::debug!("the log's consumer stays in its group");
        }
    }

    async fn step(&mut self) -> Result<(), DrainError> {
        loop {
            let entries = self.consumer.read(self.batch).await?;
            let full = entries.len() >= self.batch;
            if !entries.is_empty() {
                self.store_entries(entries).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn store_entries(&self, entries: Vec<LogEntry>) -> Result<(), DrainError> {
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let mut events = Vec::with_capacity(entries.len());
        for entry in entries {
            let id = entry.id.clone();
            match logged(entry, &self.clock) {
                Ok(event) => events.push(event),
                Err(error) => self.park(&id, &error.to_string()).await?,
            }
        }
        match close_refunded(&self.store, self.livemode, &events, self.clock.now()).await {
            // One event that the store can never act on must not keep the log waiting.
            Err(error) if !error.is_transient() => {
                tracing::error!(%error, "the unmatched payments of refunded charges could not be closed");
            }
            closed => closed?,
        }
        match self.store.events().append(&events).await {
            Ok(()) => Ok(self.consumer.settle(&ids).await?),
            // The same table takes writes: then the store does not refuse all, but one of these.
            Err(_)
                if self
                    .store
                    .events()
                    .drop_bodies(DateTime::UNIX_EPOCH, 1)
                    .await
                    .is_ok() =>
            {
                self.store_in_parts(ids).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Halves a batch that the store refuses until the entries are found that it refuses; those are parked.
    async fn store_in_parts(&self, ids: Vec<String>) -> Result<(), DrainError> {
        let mut parts = vec![ids];
        let (mut is_stored, mut refused) = (false, Vec::new());
        while let Some(mut part) = parts.pop() {
            let entries = self.consumer.again(&part).await?;
            let events: Vec<_> = entries
                .into_iter()
                .filter_map(|entry| logged(entry, &self.clock).ok())
                .collect();
            match self.store.events().append(&events).await {
                Ok(()) => {
                    self.consumer.settle(&part).await?;
                    is_stored = true;
                }
                Err(error) if part.len() == 1 => {
                    if !is_stored && refused.len() + 1 >= MOST_FAILURES {
                        return Err(error.into());
                    }
                    refused.extend(part.pop().map(|id| (id, error)));
                }
                Err(_) => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
            }
        }
        for (id, error) in refused {
            self.park(&id, &error.to_string()).await?;
        }
        Ok(())
    }

    /// Takes an entry out of the log's way and keeps it for a person.
    async fn park(&self, id: &str, why: &str) -> Result<(), DrainError> {
        let entry = self.consumer.again(std::slice::from_ref(&id.to_owned())).await?;
        for entry in entry {
            let header = serde_json::from_slice::<Header<'_>>(&entry.header);
            let event = header
                .as_ref()
                .map_or("(unreadable)", |header| header.id.as_ref());
            tracing::error!(
                event,
                entry = entry.id,
                why,
                "the store refuses this event of the log: it is kept in Redis, in the stream `parked`; its purchase is not \
                 affected"
            );
            self.consumer.park(&entry, why).await?;
        }
        Ok(())
    }

    /// Deletes what has been kept long enough, in batches, so that other writers can proceed in between.
    async fn clear(&self) -> Result<(), DrainError> {
        const BATCH: u32 = 1_000;
        let before = |keep: Duration| {
            let keep = chrono::Duration::from_std(keep).ok()?;
            self.clock.now().checked_sub_signed(keep)
        };
        let unless_ever = |keep: Duration| (!keep.is_zero()).then_some(keep);
        if let Some(before) = before(self.keep_body) {
            while self.store.events().drop_bodies(before, BATCH).await? == u64::from(BATCH) {}
        }
        if let Some(before) = unless_ever(self.keep_events).and_then(before) {
            while self.store.events().delete(before, BATCH).await? == u64::from(BATCH) {}
        }
        if let Some(before) = unless_ever(self.keep_audit).and_then(before) {
            while self.store.audit().delete(before, BATCH).await? == u64::from(BATCH) {}
        }
        Ok(())
    }
}
