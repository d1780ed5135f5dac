//! The log of every verified event: from the intake through Redis into the store, never in a purchase's way.

mod body;
mod drain;
mod refunds;

use std::borrow::Cow;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

pub use self::body::BodyError;
pub use self::drain::Drain;
use crate::clock::Clock;
use crate::queue::{Enqueued, Item, LogEntry, QueueError};
use crate::store::LoggedEvent;
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

/// An entry as the store keeps it.
fn logged(entry: LogEntry, clock: &Clock) -> Result<LoggedEvent, serde_json::Error> {
    let received_at = entry
        .accepted_ms()
        .and_then(DateTime::from_timestamp_millis)
        .unwrap_or_else(|| clock.now());
    let header: Header<'_> = serde_json::from_slice(&entry.header)?;
    let outcome = match (entry.outcome, &header.ignored) {
        (Some(Enqueued::New), _) => "enqueued".to_owned(),
        (Some(Enqueued::Live | Enqueued::Seen), _) => "enqueued: already queued".to_owned(),
        (Some(Enqueued::Dead), _) => "enqueued: already a dead letter".to_owned(),
        (_, Some(why)) => format!("ignored: {why}"),
        (_, None) => "ignored".to_owned(),
    };
    Ok(LoggedEvent {
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
