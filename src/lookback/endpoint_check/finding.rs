//! A problem with an endpoint, and how to fix it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::stripe::api::StripeError;

/// How severe a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Purchases arrive late, by the lookback only.
    Error,
    /// Worth a look.
    Warning,
}

impl Severity {
    /// The name in documents and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The code for a key that Stripe rejects. Nothing else can be checked then.
pub(super) const KEY_REFUSED: &str = "key_refused";
const NOT_ARRIVING: &str = "events_not_arriving";
const WHY_NOT: &str = "look at its delivery attempts (Dashboard, Developers, Events): 400 means that STRIPE_WEBHOOK_SECRET is \
                       not this endpoint's secret. After a new installation or a new Redis, this goes away with the next \
                       purchase. Meanwhile the lookback fulfils these purchases";

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// A stable code, for alerts.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    #[serde(rename = "mend")]
    pub fix: String,
}

impl Finding {
    pub(super) fn error(code: &str, message: String, fix: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message, fix)
    }

    pub(super) fn warning(code: &str, message: String, fix: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message, fix)
    }

    fn new(severity: Severity, code: &str, message: String, fix: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message,
            fix: fix.into(),
        }
    }

    /// The key lacks a permission, or Stripe rejects it.
    pub(super) fn not_permitted(resource: &str, account: Option<&str>, error: &StripeError) -> Self {
        if error.status() == Some(401) {
            return Self::error(
                KEY_REFUSED,
                format!("cannot check our webhook endpoints: {error}"),
                "copy a valid key into STRIPE_SECRET_KEY (Dashboard, Developers, API keys)",
            );
        }
        let place = account
            .map(|account| format!(" of {account}"))
            .unwrap_or_default();
        let code = match resource {
            "Events" => "events_not_readable",
            _ => "endpoints_not_readable",
        };
        Self::warning(
            code,
            format!("{resource}{place} cannot be read: {error}"),
            format!("give the key the permission \"{resource}: Read\" (Dashboard, Developers, API keys)"),
        )
    }

    pub(super) fn event_not_received(
        event: &str,
        of: &str,
        created: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        let age = created.map(|created| (now - created).num_minutes());
        let age = age
            .map(|minutes| format!(", {minutes} min old,"))
            .unwrap_or_default();
        Self::warning(
            NOT_ARRIVING,
            format!("Stripe's newest purchase event{of}{age} did not arrive by webhook: {event}"),
            WHY_NOT,
        )
    }

    pub(super) fn no_event_received(count: usize, of: &str, newest: &str) -> Self {
        Self::error(
            NOT_ARRIVING,
            format!(
                "none of Stripe's {count} newest purchase events{of} arrived by webhook; the newest is {newest}"
            ),
            WHY_NOT,
        )
    }

    pub(super) fn failed_deliveries(newest: &str, count: usize, more: bool) -> Self {
        let least = if more { "more than " } else { "" };
        Self::warning(
            "deliveries_failing",
            format!(
                "Stripe could not deliver {least}{count} purchase events of the last 3 days to one of its endpoints; the newest is {newest}"
            ),
            "look at the delivery attempts (Dashboard, Developers, Webhooks). Meanwhile the lookback fulfils these \
             purchases. The failing endpoint may belong to another program",
        )
    }
}
