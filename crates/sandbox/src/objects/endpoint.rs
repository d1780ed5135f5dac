use std::fmt;

use secrecy::SecretString;
use serde_json::{Value, json};

use super::Metadata;
use crate::table::{Record, Tag};

/// Where events are sent to.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) url: String,
    pub(crate) enabled_events: Vec<String>,
    pub(crate) disabled: bool,
    pub(crate) api_version: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
    /// Whether it is sent the events of connected accounts, rather than those of the account that it belongs to.
    pub(crate) connect: bool,
    pub(crate) secret: SecretString,
    /// The secret before the last roll, which signs too until this time, in Unix seconds.
    pub(crate) rolled: Option<(SecretString, i64)>,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    pub(crate) fn wants(&self, kind: &str) -> bool {
        !self.disabled && self.enabled_events.iter().any(|wanted| covers(wanted, kind))
    }

    /// Without the secret, which Stripe shows only once.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "webhook_endpoint", "api_version": self.api_version,
            "application": if self.connect { json!("ca_sandbox") } else { Value::Null },
            "created": self.created, "description": self.description, "enabled_events": self.enabled_events,
            "livemode": self.livemode, "metadata": self.metadata,
            "status": if self.disabled { "disabled" } else { "enabled" }, "url": self.url
        })
    }
}

/// `*`, a type, or a type whose last part is `*`.
pub(crate) fn covers(wanted: &str, kind: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => wanted == kind,
    }
}

impl Record for Endpoint {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        Vec::new()
    }
}
