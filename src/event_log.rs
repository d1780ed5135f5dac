//! The log of every verified event: from the intake through Redis into the store, never in a purchase's way.

mod body;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

pub use self::body::BodyError;
use crate::clock::Clock;
use crate::fulfil::close_refunded;
use crate::outage::{self, Outage};
use crate::queue::{Enqueued, Item, LogConsumer, LogEntry, QueueError};
use crate::store::{LoggedEvent, Store, StoreError};
use crate::stripe::Event;

/// What the stream holds of an event beside its body.
#[derive(Debug, Serialize, Deserialize)]
struct Header<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    #[serde(rename = "acct", default, skip_serializing_if = "Option::is_none")]
    account: Option<Cow<'a, str>>,
    live: bool,
    #[serde(rename = "path", default, skip_serializing_if = "Option::is_none")]
    tenant_slug: Option<Cow<'a, str>>,
    #[serde(rename = "obj", default, skip_serializing_if = "Option::is_none")]
    object_id: Option<Cow<'a, str>>,
    /// Unix seconds.
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    created: Option<i64>,
    /// Why the event is ignored.
    #[serde(rename = "why", default, skip_serializing_if = "Option::is_none")]
    ignored: Option<Cow<'a, str>>,
}

/// Adds an event and its body, compressed, to what is handed to the queue. A body of 16 MiB or more, which no setting lets in,
/// is left out: a purchase is not to fail for it.
///
/// # Errors
/// [`QueueError::Encode`].
pub fn attach(
    item: Item,
    event: &Event,
    tenant_slug: Option<&str>,
    ignored: Option<&'static str>,
    body: &[u8],
) -> Result<Item, QueueError> {
    let header = Header {
        id: event.id.as_str().into(),
        kind: event.kind.as_str().into(),
        account: event.account.as_deref().map(Cow::from),
        live: event.livemode,
        tenant_slug: tenant_slug.map(Cow::from),
        object_id: event.object_id.as_deref().map(Cow::from),
        created: event.created.map(|created| created.timestamp()),
        ignored: ignored.map(Cow::from),
    };
    let body = body::compress(body).unwrap_or_default();
    let mut head = Vec::with_capacity(256);
    serde_json::to_writer(&mut head, &header)?;
    Ok(item.log(head, body))
}

/// The raw body of a logged event.
///
/// # Errors
/// Where the bytes are not what [`attach`] made.
pub fn body(event: &LoggedEvent) -> Result<Option<Vec<u8>>, BodyError> {
    event.body.as_deref().map(body::decompress).transpose()
}

/// An entry as the store keeps it; `None` where it cannot be read.
fn logged(entry: LogEntry, clock: &Clock) -> Option<LoggedEvent> {
    let received_at = entry
        .accepted_ms()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_else(|| clock.now());
    let header: Header<'_> = serde_json::from_slice(&entry.header)
        .inspect_err(
            |error| tracing::error!(entry = entry.id, %error, "an entry of the event log cannot be read"),
        )
        .ok()?;
    let outcome = match (entry.outcome, &header.ignored) {
        (Some(Enqueued::New), _) => "enqueued".to_owned(),
        (Some(Enqueued::Live | Enqueued::Seen), _) => "enqueued: already queued".to_owned(),
        (Some(Enqueued::Dead), _) => "enqueued: already a dead letter".to_owned(),
        (_, Some(why)) => format!("ignored: {why}"),
        (_, None) => "ignored".to_owned(),
    };
    Some(LoggedEvent {
        id: header.id.into_owned(),
        kind: header.kind.into_owned(),
        account: header.account.map(Cow::into_owned),
        livemode: header.live,
        tenant_slug: header.tenant_slug.map(Cow::into_owned),
        object_id: header.object_id.map(Cow::into_owned),
        outcome,
        created_at: header
            .created
            .and_then(|at| DateTime::from_timestamp(at, 0))
            .unwrap_or(received_at),
        received_at,
        body: Some(entry.body).filter(|body| !body.is_empty()),
    })
}

/// Carries the log from Redis into the store until it is told to stop.
#[derive(Debug)]
pub struct Drain {
    pub consumer: LogConsumer,
    pub store: Arc<dyn Store>,
    pub clock: Clock,
    /// Entries in one transaction.
    pub batch: usize,
    /// How long entries gather: the log is in no hurry, a purchase is.
    pub interval: Duration,
    /// How long the store keeps raw bodies.
    pub keep_body: Duration,
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
        let events: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| logged(entry, &self.clock))
            .collect();
        close_refunded(&*self.store, &events, self.clock.now()).await?;
        self.store.append_events(events).await?;
        self.consumer.settle(&ids).await?;
        Ok(())
    }

    /// Drops bodies that have been kept long enough.
    async fn clear(&self) -> Result<(), DrainError> {
        const CHUNK: u32 = 1_000;
        let Ok(keep) = chrono::Duration::from_std(self.keep_body) else {
            return Ok(());
        };
        let before = self.clock.now() - keep;
        while self.store.drop_event_bodies(before, CHUNK).await? == u64::from(CHUNK) {}
        Ok(())
    }
}
