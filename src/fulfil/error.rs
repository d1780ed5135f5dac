//! Why a purchase could not be fulfilled, told to the person who has to mend it.

use std::fmt;
use std::time::Duration;

use crate::store::{StoreError, UpgradeRefusal};

/// The code of a purchase whose tenant could not be told. An event that came in by a tenant's path may mend it.
pub(crate) const UNRESOLVED_TENANT: &str = "unresolved_tenant";
/// The code of a purchase that one tenant's endpoint received and that names another tenant, or another account's.
pub(crate) const TENANT_MISMATCH: &str = "tenant_mismatch";
/// The code of a purchase whose pass could not be told. Its line items may mend it.
pub(crate) const UNRESOLVED_PASS: &str = "unresolved_pass";

/// A purchase that could not be fulfilled. Tells what happened, why, and what to do; never who the buyer is.
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

    /// The reason in a stable word, for dead letters, metrics and alerts.
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

    /// The whole store is out of order: nothing is wrong with this purchase, and it can wait.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        matches!(&self.reason, Reason::StoreUnavailable(_))
    }

    /// Whether trying again can help before anyone has acted.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            &self.reason,
            Reason::StoreUnavailable(_)
                | Reason::StoreFailed(_)
                | Reason::StripeUnavailable { .. }
                // The webhook of the purchase that made it may still be on its way.
                | Reason::UpgradeRefused { refusal: UpgradeRefusal::NotFound, .. }
        )
    }
}

impl FulfilError {
    /// How long to wait before another try, where Stripe says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.reason {
            Reason::StripeUnavailable { after, .. } => *after,
            _ => None,
        }
    }

    /// Its turn at Stripe's shared limit comes after so long: to wait is not to fail.
    #[must_use]
    pub fn put_off(&self) -> Option<Duration> {
        match &self.reason {
            Reason::StripeUnavailable { is_busy: true, .. } => self.retry_after(),
            _ => None,
        }
    }

    /// The same without the session.
    pub(super) fn detail(&self) -> String {
        self.reason.to_string()
    }
}

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Reason {
    #[error("Stripe's session could not be read ({fields}); {}", session_advice(fields))]
    MalformedSession { fields: String },
    #[error("{stated}, but {mode}: nothing was granted; check which keys and webhook endpoints are in use")]
    LivemodeMismatch {
        stated: &'static str,
        mode: &'static str,
    },
    #[error(
        "paid, but {why}: no tenant can be told; correct the catalogue (`surepass catalog import`) and retry the job, \
         or refund it"
    )]
    UnresolvedTenant { why: String },
    #[error(
        "it was paid on {}, but tenant `{tenant}` sells on {}: nothing was granted, as one school's account must not make another's \
         passes; if the catalogue's `stripeAccount` is wrong, correct it and retry the job, else look into who made \
         this session",
        account(.happened_on.as_ref()), account(.sells_on.as_ref())
    )]
    AccountMismatch {
        tenant: Shown,
        happened_on: Option<Shown>,
        sells_on: Option<Shown>,
    },
    #[error(
        "it came in for tenant `{tenant}`, but its metadata names the tenant `{named}`: nothing was granted; look into \
         who made this session, correct the catalogue or the checkout, and retry the job or refund it"
    )]
    MetadataTenantMismatch {
        tenant: Shown,
        named: Shown,
        /// The id of the tenant with that name, if there is one.
        owner: Option<Shown>,
    },
    #[error(
        "its session or its payment has made {subscription}, which belongs to tenant `{other}` and not to `{tenant}`: \
         nothing was changed; look into who made this session"
    )]
    ExistingTenantMismatch {
        subscription: Shown,
        tenant: Shown,
        other: Shown,
    },
    #[error(
        "paid at tenant `{tenant}`, but {why}: no pass can be told and none is guessed; add it to the catalogue \
         (`surepass catalog import`) and retry the job, give one (`surepass unmatched assign ID --pass P --why …`), or \
         refund it"
    )]
    UnresolvedPass { tenant: Shown, why: String },
    #[error(
        "pass `{pass}` of tenant `{tenant}` cannot be granted: {why}; correct the catalogue and retry the job"
    )]
    InvalidPass { tenant: Shown, pass: Shown, why: String },
    #[error(
        "pass `{pass}` of tenant `{tenant}` has the type `{kind}`, which is none of `single`, `multi-pass`, `multi`, \
         `unlimited`; correct the catalogue and retry the job"
    )]
    InvalidPassType { tenant: Shown, pass: Shown, kind: Shown },
    #[error(
        "pass `{pass}` of tenant `{tenant}` ended at {end}, before it was bought at {bought}: the buyer paid for \
         nothing; refund them, or correct the pass' expiry date and retry the job"
    )]
    ExpiredPass {
        tenant: Shown,
        pass: Shown,
        end: String,
        bought: String,
    },
    #[error(
        "it is an upgrade but does not say of which subscription (`upgradeFromSubscriptionId`); find the buyer's old \
         subscription, correct it by hand, or refund the upgrade"
    )]
    UpgradeSourceMissing,
    #[error("the upgrade of subscription `{from}` was not carried out: {refusal}; {}", upgrade_advice(*.refusal))]
    UpgradeRefused { from: Shown, refusal: UpgradeRefusal },
    #[error("its line items could not be read: {why}; it is tried again by itself")]
    StripeUnavailable {
        why: String,
        after: Option<Duration>,
        /// Its turn at the shared limit has not come.
        is_busy: bool,
    },
    #[error(
        "{0}; nothing is wrong with this purchase: it waits until the store is back (`surepass doctor` tells why it is not)"
    )]
    StoreUnavailable(String),
    #[error("{0}; it is tried again by itself")]
    StoreFailed(String),
    #[error("{0}; compare the purchase with what the store accepts, then retry the job or refund the buyer")]
    StoreRefused(String),
    #[error(
        "the store holds something else already: {0}; compare the two and correct the store or refund the buyer"
    )]
    StoreConflict(String),
}

impl Reason {
    /// Whether a subscription that the session has made before settles it.
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

    /// What it means that the session has made a subscription of tenant `held`: true: this purchase has it; false: it is that
    /// tenant's purchase, and has its pass. `None`: it settles nothing.
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

/// Of a session whose own id cannot be read nothing but the event is known.
fn session_advice(fields: &str) -> &'static str {
    if fields.split(", ").any(|field| field == "id") {
        "look its event up in Stripe (Developers, Events), and grant the pass by `surepass sync --session` with the id of the \
         session (cs_…) that stands there, or refund it"
    } else {
        "look the session up in Stripe, and grant the pass by `surepass sync --session` or refund it"
    }
}

fn upgrade_advice(refusal: UpgradeRefusal) -> &'static str {
    match refusal {
        UpgradeRefusal::NotFound => {
            "it is tried again, as that purchase may still be on its way; if it never comes, find the buyer's old \
             subscription or refund the upgrade"
        }
        UpgradeRefusal::OtherTenant | UpgradeRefusal::OtherUser => {
            "look into who made this session; refund it if it was a mistake"
        }
        UpgradeRefusal::AlreadyUpgraded => "the buyer has probably paid twice: refund one of the two",
    }
}

/// A text from outside, fit for a message: short, on one line, and without an address if someone put one there.
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
