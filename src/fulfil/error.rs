//! Why a purchase could not be fulfilled, for the person who must fix it.

use std::fmt;
use std::time::Duration;

use crate::store::{StoreError, UpgradeRefusal};

/// The code of a purchase whose tenant is unknown. An event by a tenant's path may resolve it.
pub(crate) const UNRESOLVED_TENANT: &str = "unresolved_tenant";
/// The code of a purchase that arrived at one tenant's endpoint, but names another tenant or account.
pub(crate) const TENANT_MISMATCH: &str = "tenant_mismatch";
/// The code of a purchase whose pass is unknown. Its line items may resolve it.
pub(crate) const UNRESOLVED_PASS: &str = "unresolved_pass";

/// Why a purchase could not be fulfilled, and what to do. Contains no personal data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{session}: {reason}")]
pub struct FulfilError {
    session: Shown,
    reason: Reason,
}

impl FulfilError {
    pub(super) fn new(session_id: &str, reason: Reason) -> Self {
        Self {
            session: Shown::new(session_id),
            reason,
        }
    }

    /// A stable code, for dead letters, metrics and alerts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match &self.reason {
            Reason::MalformedSession { .. } => "malformed_session",
            Reason::LivemodeMismatch { .. } => "livemode_mismatch",
            Reason::UnresolvedTenant { .. } => UNRESOLVED_TENANT,
            Reason::AccountMismatch { .. }
            | Reason::MetadataTenantMismatch { .. }
            | Reason::ExistingTenantMismatch { .. } => TENANT_MISMATCH,
            Reason::UnresolvedPass { .. } => UNRESOLVED_PASS,
            Reason::InvalidPass { .. } => "invalid_pass",
            Reason::InvalidPassType { .. } => "invalid_pass_type",
            Reason::ExpiredPass { .. } => "expired_pass",
            Reason::UpgradeSourceMissing => "upgrade_source_missing",
            Reason::UpgradeRefused { refusal, .. } => match refusal {
                UpgradeRefusal::NotFound => "upgrade_source_not_found",
                UpgradeRefusal::OtherTenant => "upgrade_other_tenant",
                UpgradeRefusal::OtherUser => "upgrade_other_user",
                UpgradeRefusal::AlreadyUpgraded => "upgrade_already_upgraded",
            },
            Reason::StripeUnavailable { .. } => "stripe_unavailable",
            Reason::StoreUnavailable(_) => "store_unavailable",
            Reason::StoreFailed(_) => "store_failed",
            Reason::StoreRefused(_) => "store_refused",
            Reason::StoreConflict(_) => "store_conflict",
        }
    }

    /// Whether the whole store is unavailable, which is not this purchase's failure.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(&self.reason, Reason::StoreUnavailable(_))
    }

    /// Whether a retry can help without a change by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            &self.reason,
            Reason::StoreUnavailable(_)
                | Reason::StoreFailed(_)
                | Reason::StripeUnavailable { .. }
                // The old subscription's webhook may still arrive.
                | Reason::UpgradeRefused { refusal: UpgradeRefusal::NotFound, .. }
        )
    }
}

impl FulfilError {
    /// How long Stripe asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            Reason::StripeUnavailable { after, .. } => *after,
            _ => None,
        }
    }

    /// The wait for the Stripe rate limit. It does not count as a failure.
    #[must_use]
    pub fn put_off(&self) -> Option<Duration> {
        match &self.reason {
            Reason::StripeUnavailable { is_busy: true, .. } => self.retry_after(),
            _ => None,
        }
    }

    /// The text without the session.
    pub(super) fn detail(&self) -> String {
        self.reason.to_string()
    }
}

/// The reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("Stripe's session could not be read ({fields}); {}", session_advice(fields))]
    MalformedSession { fields: String },
    #[error("{stated}, but {mode}. No pass was created. Check which keys and webhook endpoints are in use")]
    LivemodeMismatch {
        stated: &'static str,
        mode: &'static str,
    },
    #[error(
        "paid, but we cannot tell which tenant sold it: {why}. Correct the catalog (`surepass catalog import`) and \
         retry the job, or refund it"
    )]
    UnresolvedTenant { why: String },
    #[error(
        "paid on {}, but tenant `{tenant}` sells on {}. No pass was created. If `stripeAccount` in the catalog is \
         wrong, correct it and retry the job. Otherwise find out who created this session",
        account(.happened_on.as_ref()), account(.sells_on.as_ref())
    )]
    AccountMismatch {
        tenant: Shown,
        happened_on: Option<Shown>,
        sells_on: Option<Shown>,
    },
    #[error(
        "received for tenant `{tenant}`, but the session's metadata names tenant `{named}`. No pass was created. Correct \
         the catalog or the checkout and retry the job, or refund it"
    )]
    MetadataTenantMismatch {
        tenant: Shown,
        named: Shown,
        /// The id of the tenant with that name, if it exists.
        owner: Option<Shown>,
    },
    #[error(
        "its session or payment already has {subscription}, which belongs to tenant `{other}`, not `{tenant}`. Nothing was \
         changed. Find out who created this session"
    )]
    ExistingTenantMismatch {
        subscription: Shown,
        tenant: Shown,
        other: Shown,
    },
    #[error(
        "paid at tenant `{tenant}`, but we cannot tell which pass was bought: {why}. Add the pass to the catalog \
         (`surepass catalog import`) and retry the job, assign one (`surepass unmatched assign ID --pass P --why …`), or \
         refund it"
    )]
    UnresolvedPass { tenant: Shown, why: String },
    #[error(
        "pass `{pass}` of tenant `{tenant}` cannot be created: {why}. Correct the catalog and retry the job"
    )]
    InvalidPass { tenant: Shown, pass: Shown, why: String },
    #[error(
        "pass `{pass}` of tenant `{tenant}` has the type `{kind}`, not `single`, `multi-pass`, `multi` or `unlimited`. \
         Correct the catalog and retry the job"
    )]
    InvalidPassType { tenant: Shown, pass: Shown, kind: Shown },
    #[error(
        "pass `{pass}` of tenant `{tenant}` ended at {end}, before it was bought at {bought}. Refund the buyer, or correct \
         the pass's expiry date and retry the job"
    )]
    ExpiredPass {
        tenant: Shown,
        pass: Shown,
        end: String,
        bought: String,
    },
    #[error(
        "the upgrade does not name the old subscription (`upgradeFromSubscriptionId` is missing). Assign the new pass \
         (`surepass unmatched assign ID --pass P --why …`) or refund it"
    )]
    UpgradeSourceMissing,
    #[error("the upgrade of subscription `{from}` failed: {refusal}; {}", upgrade_advice(*.refusal))]
    UpgradeRefused { from: Shown, refusal: UpgradeRefusal },
    #[error("could not read the line items: {why}. It is retried automatically")]
    StripeUnavailable {
        why: String,
        after: Option<Duration>,
        /// Only waits for the shared rate limit.
        is_busy: bool,
    },
    #[error(
        "{0}. Nothing is wrong with this purchase: it waits until the store is back (see `surepass doctor`)"
    )]
    StoreUnavailable(String),
    #[error("{0}. It is retried automatically")]
    StoreFailed(String),
    #[error("{0}. Find out why the store rejects this purchase, then retry the job or refund the buyer")]
    StoreRefused(String),
    #[error(
        "the store already has different data: {0}. Compare the two, then correct the store or refund the buyer"
    )]
    StoreConflict(String),
}

impl Reason {
    /// Whether an existing subscription of the session resolves it.
    pub(super) fn allows_existing(&self) -> bool {
        match self {
            Self::UnresolvedTenant { .. }
            | Self::UnresolvedPass { .. }
            | Self::InvalidPass { .. }
            | Self::InvalidPassType { .. }
            | Self::ExpiredPass { .. } => true,
            Self::MetadataTenantMismatch { owner, .. } => owner.is_some(),
            _ => false,
        }
    }

    /// What an existing subscription of tenant `held` means. True: this purchase has it. False: it is that
    /// tenant's purchase. `None`: nothing.
    pub(super) fn existing_of(&self, held: &Shown) -> Option<bool> {
        match self {
            Self::UnresolvedTenant { .. } => Some(true),
            Self::UnresolvedPass { tenant, .. }
            | Self::InvalidPass { tenant, .. }
            | Self::InvalidPassType { tenant, .. }
            | Self::ExpiredPass { tenant, .. } => (tenant == held).then_some(true),
            Self::MetadataTenantMismatch { owner, .. } => (owner.as_ref() == Some(held)).then_some(false),
            _ => None,
        }
    }
}

impl From<&StoreError> for Reason {
    fn from(error: &StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Outage(_) => Self::StoreUnavailable(text),
            StoreError::Transient(_) => Self::StoreFailed(text),
            StoreError::Permanent(_) | StoreError::Address(_) => Self::StoreRefused(text),
            StoreError::Conflict(_) => Self::StoreConflict(text),
        }
    }
}

fn account(account: Option<&Shown>) -> String {
    account.map_or_else(
        || "the platform's own account".to_owned(),
        |account| format!("the connected account `{account}`"),
    )
}

/// If the session's id cannot be read, only the event is known.
fn session_advice(fields: &str) -> &'static str {
    if fields.split(", ").any(|field| field == "id") {
        "find its event at Stripe (Developers, Events), then run `surepass sync --session` with the session id (cs_…) in it, \
         or refund it"
    } else {
        "find the session at Stripe, then run `surepass sync --session`, or refund it"
    }
}

fn upgrade_advice(refusal: UpgradeRefusal) -> &'static str {
    match refusal {
        UpgradeRefusal::NotFound => {
            "it is retried automatically, since that purchase may arrive later; otherwise find the buyer's old \
             subscription or refund the upgrade"
        }
        UpgradeRefusal::OtherTenant | UpgradeRefusal::OtherUser => {
            "find out who created this session; refund it if it was a mistake"
        }
        UpgradeRefusal::AlreadyUpgraded => "the buyer has probably paid twice: refund one of the two",
    }
}

/// A text from outside, made safe for a message: short, on one line, and not an email address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown(String);

impl Shown {
    pub(super) fn new(text: &str) -> Self {
        if text.contains('@') {
            return Self("(an address)".to_owned());
        }
        Self(
            text.chars()
                .take(100)
                .map(|c| if c.is_control() { '�' } else { c })
                .collect(),
        )
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
