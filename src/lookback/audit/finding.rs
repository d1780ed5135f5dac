//! What is wrong with an endpoint, in words, and how to mend it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::stripe::api::StripeError;

/// How bad it is; the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Purchases come late, by the lookback alone.
    Error,
    /// To be looked at.
    Warning,
}

impl Severity {
    /// As it stands in documents and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The code where Stripe does not take our key: then nothing else can be told.
pub(super) const KEY_REFUSED: &str = "key_refused";
const NOT_ARRIVING: &str = "events_not_arriving";
const WHY_NOT: &str = "look at its delivery attempts (Dashboard, Developers, Events): 400 means that STRIPE_WEBHOOK_SECRET is \
                       not this endpoint's secret. If Surepass or its Redis was set up after it, this ends with the next \
                       purchase. The lookback takes in meanwhile what does not come";

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// A stable `snake_case` word, for alerts.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

impl Finding {
    pub(super) fn error(code: &str, message: String, mend: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message, mend)
    }

    pub(super) fn warning(code: &str, message: String, mend: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message, mend)
    }

    fn new(severity: Severity, code: &str, message: String, mend: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message,
            mend: mend.into(),
        }
    }

    /// What the key may not read.
    pub(super) fn not_permitted(resource: &str, account: Option<&str>, error: &StripeError) -> Self {
        if error.status() == Some(401) {
            return Self::error(
                KEY_REFUSED,
                format!("our webhook endpoints cannot be looked at: {error}"),
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

    pub(super) fn not_arrived(
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
            format!("Stripe's newest purchase event{of}{age} has not come by webhook: {event}"),
            WHY_NOT,
        )
    }

    pub(super) fn none_arrives(count: usize, of: &str, newest: &str) -> Self {
        Self::error(
            NOT_ARRIVING,
            format!(
                "of Stripe's {count} newest purchase events{of} none has come by webhook; the newest is {newest}"
            ),
            WHY_NOT,
        )
    }

    pub(super) fn undelivered(newest: &str, count: usize, more: bool) -> Self {
        let least = if more { "more than " } else { "" };
        Self::warning(
            "deliveries_failing",
            format!(
                "Stripe could not deliver {least}{count} purchase events of the last 3 days to some endpoint, the newest {newest}"
            ),
            "look at the delivery attempts (Dashboard, Developers, Webhooks); the lookback takes them in meanwhile, and an \
             endpoint that is not Surepass' may be the broken one",
        )
    }
}
