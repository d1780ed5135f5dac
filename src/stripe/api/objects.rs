//! Webhook endpoints and listed events, read loosely.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::super::event::Event;
use super::super::json::{self, Object};
use super::super::session::{CheckoutSession, SessionFields};

/// Where Stripe sends webhooks to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WebhookEndpoint {
    /// `we_…`.
    pub id: String,
    pub url: Option<String>,
    /// `enabled` or `disabled`.
    pub status: Option<String>,
    /// Types of events; `*`: all.
    pub enabled_events: Vec<String>,
    /// In which shape it gets its events; `None`: the account's default.
    pub api_version: Option<String>,
    /// `ca_…`: an endpoint of a Connect application.
    pub application: Option<String>,
    pub created: Option<DateTime<Utc>>,
    pub livemode: Option<bool>,
}

json::fields! { EndpointFields {
    id = "id", url = "url", status = "status", enabled_events = "enabled_events", api_version = "api_version",
    application = "application", created = "created", livemode = "livemode",
} }

impl WebhookEndpoint {
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let fields = json::object::<EndpointFields<'_>>(Some(raw)).ok()??;
        let events = json::array(fields.enabled_events).unwrap_or_default();
        Some(Self {
            id: json::id(fields.id)?,
            url: json::text(fields.url).unwrap_or_default(),
            status: json::text(fields.status).unwrap_or_default(),
            enabled_events: events
                .unwrap_or_default()
                .into_iter()
                .filter_map(|kind| json::text(Some(kind)).unwrap_or_default())
                .collect(),
            api_version: json::text(fields.api_version).unwrap_or_default(),
            application: json::reference(fields.application).unwrap_or_default(),
            created: json::timestamp(fields.created).unwrap_or_default(),
            livemode: json::boolean(fields.livemode).unwrap_or_default(),
        })
    }
}

/// An event out of Stripe's list of them.
#[derive(Clone, PartialEq)]
pub struct ListedEvent {
    pub event: Event,
    /// Its own JSON, as the intake would have received it: in a connected account's list an event need not say whose it
    /// is, and a webhook does. So `account` is put in where it lacks.
    pub body: Bytes,
}

impl ListedEvent {
    /// `None` where it is no event, or one of another account than the one that was asked.
    pub(super) fn read(raw: &RawValue, account: Option<&str>) -> Option<Self> {
        let json = raw.get().as_bytes();
        let mut event = Event::parse(json).ok()?;
        let body = match (account, event.account.as_deref()) {
            (Some(asked), Some(told)) if asked != told => return None,
            (Some(asked), None) => {
                event.account = Some(asked.to_owned());
                with_account(json, asked)?
            }
            _ => Bytes::copy_from_slice(json),
        };
        Some(Self { event, body })
    }
}

impl fmt::Debug for ListedEvent {
    /// Without the body: it holds whatever Stripe knows of the buyer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListedEvent")
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}

/// The object with one more member, at its end: of a name that comes twice the last counts.
fn with_account(json: &[u8], account: &str) -> Option<Bytes> {
    let (last, members) = json.trim_ascii_end().split_last()?;
    let account = serde_json::to_vec(account).ok()?;
    let mut body = BytesMut::with_capacity(json.len() + account.len() + 12);
    body.put_slice(members);
    body.put_slice(b",\"account\":");
    body.put_slice(&account);
    body.put_u8(*last);
    Some(body.freeze())
}

impl CheckoutSession {
    /// `None` where it is no object with an id.
    pub(super) fn read(raw: &RawValue) -> Option<Self> {
        let Object(fields) = serde_json::from_str::<Object<SessionFields<'_>>>(raw.get()).ok()?;
        let session = fields.read();
        session
            .id
            .as_deref()
            .is_some_and(|id| !id.is_empty())
            .then_some(session)
    }
}
