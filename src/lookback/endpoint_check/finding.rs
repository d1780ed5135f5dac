//! A problem with an endpoint, and how to fix it.

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

const NOT_ARRIVING: &str = "events_not_arriving";
const WHY_NOT: &str = "look at the delivery attempts in Stripe (Dashboard, Developers, Webhooks): 400 means that STRIPE_WEBHOOK_SECRET is \
                       not this endpoint's secret. After a new installation this goes away with the next purchase";

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
    pub(super) fn not_permitted(account: Option<&str>, error: &StripeError) -> Self {
        if error.status() == Some(401) {
            return Self::error(
                "key_refused",
                format!("cannot check our webhook endpoints: {error}"),
                "copy a valid key into STRIPE_SECRET_KEY (Dashboard, Developers, API keys)",
            );
        }
        let place = account
            .map(|account| format!(" of {account}"))
            .unwrap_or_default();
        Self::warning(
            "endpoints_not_readable",
            format!("Webhook Endpoints{place} cannot be read: {error}"),
            "give the key the permission \"Webhook Endpoints: Read\" (Dashboard, Developers, API keys)",
        )
    }

    pub(super) fn not_arrived(session: &str) -> Self {
        Self::warning(
            NOT_ARRIVING,
            format!("no webhook reported the newest purchase: the lookback found {session}"),
            WHY_NOT,
        )
    }

    pub(super) fn none_arrived(count: usize, newest: &str) -> Self {
        Self::error(
            NOT_ARRIVING,
            format!(
                "no webhook reported the {count} newest purchases: the lookback found them; the newest is {newest}"
            ),
            WHY_NOT,
        )
    }
}
