//! What the store keeps of the lookback's runs.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::store::{CreatedVia, UnknownName};

/// One look at Stripe: a customer's sync, or a sweep over an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookbackRun {
    pub id: String,
    /// The dedupe key of its job.
    pub key: String,
    /// A sweep's account; `None`: the key's own, or (of a sync) whichever its tenant has.
    pub account: Option<String>,
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here, exclusive.
    pub to: DateTime<Utc>,
    pub via: CreatedVia,
    pub phase: RunPhase,
    /// Which of a sweep's slices may write.
    pub slice: u32,
    /// Where the phase goes on; empty: at its beginning.
    pub cursor: String,
    /// Pages that Stripe has given.
    pub pages: u64,
    /// Customers whose jobs were enqueued.
    pub customers: u64,
    /// Sessions that Stripe gave and that could not be read.
    pub unreadable: u64,
    /// As they were when the run ended; zero until then: [`LookbackStore::tally`](super::LookbackStore::tally) counts.
    pub counts: RunCounts,
    /// Why it failed.
    pub error: Option<String>,
    pub began_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl LookbackRun {
    /// One that nobody has begun, over the sessions created from `from` to `to`.
    #[must_use]
    pub fn new(
        id: &str,
        key: &str,
        via: CreatedVia,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: id.to_owned(),
            key: key.to_owned(),
            account: None,
            from,
            to,
            via,
            phase: RunPhase::Waiting,
            slice: 0,
            cursor: String::new(),
            pages: 0,
            customers: 0,
            unreadable: 0,
            counts: RunCounts::default(),
            error: None,
            began_at: now,
            updated_at: now,
        }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Nobody has begun.
    Waiting,
    /// Stripe's sessions are read.
    Listing,
    /// What our own records know beside them is added.
    Gathering,
    /// The customers' jobs are enqueued.
    Enqueueing,
    /// Everything is handed in, and not everything has ended.
    Settling,
    Done,
    /// It ended before its time.
    Failed,
}

impl RunPhase {
    /// The name that the store uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Listing => "listing",
            Self::Gathering => "gathering",
            Self::Enqueueing => "enqueueing",
            Self::Settling => "settling",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more comes.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

impl std::str::FromStr for RunPhase {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "waiting" => Self::Waiting,
            "listing" => Self::Listing,
            "gathering" => Self::Gathering,
            "enqueueing" => Self::Enqueueing,
            "settling" => Self::Settling,
            "done" => Self::Done,
            "failed" => Self::Failed,
            other => return Err(UnknownName::new(other)),
        })
    }
}

/// The sessions of a run, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCounts {
    /// All of them but those whose money was given back.
    pub found: u64,
    /// Got their subscription by this run.
    pub created: u64,
    /// Had one, or got it by another way, or were none of ours.
    pub skipped: u64,
    /// Are dead letters, or could not be handed in.
    pub failed: u64,
    /// Are on their way.
    pub pending: u64,
}

/// What became of a session that a run has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Nobody has looked at it yet.
    Staged,
    /// Its fulfil job is on its way.
    Enqueued,
    /// There is a subscription that this run did not bring about.
    Existing,
    /// There is a subscription that this run brought about.
    Created,
    /// Fulfilment found that it is none of ours.
    Ignored,
    /// All of its money was given back, and it has no subscription. Not counted as a purchase.
    Refunded,
    /// Its fulfil job is a dead letter.
    Dead,
    /// It could not be handed in.
    Failed,
}

impl SessionState {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Staged,
        Self::Enqueued,
        Self::Existing,
        Self::Created,
        Self::Ignored,
        Self::Refunded,
        Self::Dead,
        Self::Failed,
    ];

    /// The name that the store uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Enqueued => "enqueued",
            Self::Existing => "existing",
            Self::Created => "created",
            Self::Ignored => "ignored",
            Self::Refunded => "refunded",
            Self::Dead => "dead",
            Self::Failed => "failed",
        }
    }
}

impl std::str::FromStr for SessionState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(match name {
            "staged" => Self::Staged,
            "enqueued" => Self::Enqueued,
            "existing" => Self::Existing,
            "created" => Self::Created,
            "ignored" => Self::Ignored,
            "refunded" => Self::Refunded,
            "dead" => Self::Dead,
            "failed" => Self::Failed,
            other => return Err(UnknownName::new(other)),
        })
    }
}

/// A paid session that a run has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSession {
    /// `cs_…`
    pub session: String,
    /// The customer's key.
    pub customer: String,
    /// What its fulfil job would carry, as JSON, where it is staged and known.
    pub purchase: Option<String>,
    pub state: SessionState,
    /// What went wrong with it.
    pub error: Option<String>,
}

/// Who bought at a tenant in a run's span, by our own records.
#[derive(Clone, PartialEq, Eq)]
pub struct RecentBuyer {
    /// Names the pair of tenant and user, and orders them.
    pub key: String,
    pub tenant_slug: String,
    /// `cus_…`, where one of their purchases had one.
    pub stripe_customer: Option<String>,
    pub email: Option<String>,
}

impl std::fmt::Debug for RecentBuyer {
    /// Without the email.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecentBuyer")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A session that a sweep has met and that had no end: not paid for yet, or paid for and without a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// `cs_…`
    pub session: String,
    /// The key's own: `None`.
    pub account: Option<String>,
    /// The keys of those whose it may be.
    pub customers: Vec<String>,
    /// When the session was created.
    pub created_at: DateTime<Utc>,
}

/// Where one step of a run leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    pub phase: RunPhase,
    pub cursor: String,
    /// Added to what the run has.
    pub pages: u64,
    pub customers: u64,
    pub unreadable: u64,
    /// What went wrong without ending the run; `None`: nothing new.
    pub error: Option<String>,
    /// Sessions that it has met and that have no end yet,
    pub open: Vec<OpenSession>,
    /// and the ids of those that have.
    pub closed: Vec<String>,
    pub at: DateTime<Utc>,
}

impl RunStep {
    /// Into the listing, at its beginning, with nothing to add.
    #[must_use]
    pub fn at(at: DateTime<Utc>) -> Self {
        Self {
            phase: RunPhase::Listing,
            cursor: String::new(),
            pages: 0,
            customers: 0,
            unreadable: 0,
            error: None,
            open: Vec::new(),
            closed: Vec::new(),
            at,
        }
    }
}

/// A session or a payment that has made a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPurchase {
    pub session: String,
    pub payment: Option<String>,
    pub via: CreatedVia,
}

/// Up to where a detector has proven that nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LookbackMark {
    /// `sessions` or `events`.
    pub detector: String,
    /// `None`: the key's own.
    pub account: Option<String>,
    /// Of test payments; else of live ones, or of a key that does not say.
    pub is_test: bool,
    /// Without a gap since then,
    pub from: DateTime<Utc>,
    /// up to then.
    pub to: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl LookbackMark {
    /// Whether it says what this detector has proven of this account, of live or of test payments.
    #[must_use]
    pub fn is_of(&self, detector: &str, account: Option<&str>, is_test: bool) -> bool {
        (self.detector.as_str(), self.account.as_deref(), self.is_test) == (detector, account, is_test)
    }

    /// The most by which two machines' clocks may differ.
    pub(super) const SKEW: TimeDelta = TimeDelta::minutes(5);

    /// Whether it proves what has not come yet: a wrong clock has raised it, and it is not to be believed.
    #[must_use]
    pub fn is_ahead_of(&self, now: DateTime<Utc>) -> bool {
        self.to > now + Self::SKEW
    }
}
