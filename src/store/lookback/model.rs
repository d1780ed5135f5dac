//! The lookback's records.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::store::{CreatedVia, UnknownName};

/// A run: a customer's sync or an account sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookbackRun {
    pub id: String,
    /// The dedupe key of its job.
    pub key: String,
    /// The account of an account sync. `None`: the key's own, or for a customer's sync the tenant's.
    pub account: Option<String>,
    /// Sessions created from here
    pub from: DateTime<Utc>,
    /// to here, exclusive.
    pub to: DateTime<Utc>,
    pub via: CreatedVia,
    pub phase: RunPhase,
    /// The slice of an account sync that may write.
    pub slice: u32,
    /// Where the phase continues. Empty: at the beginning.
    pub cursor: String,
    /// Pages that Stripe returned.
    pub pages: u64,
    /// Customers whose jobs were enqueued.
    pub customers: u64,
    /// Sessions from Stripe that could not be read.
    pub unreadable: u64,
    /// The counts when the run ended. Zero until then: see
    /// [`Lookback::count_sessions`](super::Lookback::count_sessions).
    pub counts: RunCounts,
    /// Why it failed.
    pub error: Option<String>,
    pub began_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl LookbackRun {
    /// A run that has not started, over the sessions created from `from` to `to`.
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

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunPhase {
    /// Not started.
    Waiting,
    /// Reading Stripe's list.
    Listing,
    /// Adding sessions from our event log.
    Gathering,
    /// Enqueueing the customers' jobs.
    Enqueueing,
    /// Waiting for the enqueued jobs.
    Settling,
    Done,
    /// Ended early by an error.
    Failed,
}

impl RunPhase {
    /// The name in the store.
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

    /// Whether the run is over.
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

/// A run's sessions, counted by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunCounts {
    /// All, without fully refunded ones.
    pub found: u64,
    /// Got a subscription by this run.
    pub created: u64,
    /// Already had one, got one by another way, or are not for a pass.
    pub skipped: u64,
    /// Are dead letters, or could not be enqueued.
    pub failed: u64,
    /// Have a live job.
    pub pending: u64,
}

/// The state of a session in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionState {
    /// Not checked yet.
    Staged,
    /// Its `fulfil` job is live.
    Enqueued,
    /// It has a subscription that this run did not create.
    Existing,
    /// It has a subscription that this run created.
    Created,
    /// Not a purchase of a pass.
    Ignored,
    /// Refunded in full, without a subscription. Not counted as a purchase.
    Refunded,
    /// Its `fulfil` job is a dead letter.
    Dead,
    /// It could not be enqueued.
    Failed,
}

impl SessionState {
    /// All states.
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

    /// The name in the store.
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

/// A paid session in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSession {
    /// `cs_…`
    pub session: String,
    /// The customer's key.
    pub customer: String,
    /// The payload of its `fulfil` job, as JSON, if it is staged and known.
    pub purchase: Option<String>,
    pub state: SessionState,
    /// The error, if it failed.
    pub error: Option<String>,
}

/// A user who bought from a tenant in a run's time range, by our own records.
#[derive(Clone, PartialEq, Eq)]
pub struct RecentBuyer {
    /// Identifies tenant and user, and orders them.
    pub key: String,
    pub tenant_slug: String,
    /// `cus_…`, if one of their purchases has it.
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

/// A session that was not paid, or had no subscription, when it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSession {
    /// `cs_…`
    pub session: String,
    /// `None`: the key's own account.
    pub account: Option<String>,
    /// The keys of the customers who may own it.
    pub customers: Vec<String>,
    /// When the session was created.
    pub created_at: DateTime<Utc>,
}

/// The result of one step of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    pub phase: RunPhase,
    pub cursor: String,
    /// Added to the run's count.
    pub pages: u64,
    pub customers: u64,
    pub unreadable: u64,
    /// An error that does not end the run. `None`: keep the previous one.
    pub error: Option<String>,
    /// Pending sessions to store.
    pub pending: Vec<PendingSession>,
    /// Ids of sessions that are no longer pending.
    pub resolved: Vec<String>,
    pub at: DateTime<Utc>,
}

impl RunStep {
    /// A step to the beginning of the listing phase, with nothing to add.
    #[must_use]
    pub fn at(at: DateTime<Utc>) -> Self {
        Self {
            phase: RunPhase::Listing,
            cursor: String::new(),
            pages: 0,
            customers: 0,
            unreadable: 0,
            error: None,
            pending: Vec::new(),
            resolved: Vec::new(),
            at,
        }
    }
}

/// A session or payment that has a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FulfilledPurchase {
    pub session: String,
    pub payment: Option<String>,
    pub via: CreatedVia,
}

/// The time range in which a detector has proven that nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watermark {
    /// `sessions` or `events`.
    pub detector: String,
    /// `None`: the key's own.
    pub account: Option<String>,
    /// Of test payments. Otherwise of live ones, or of a key of unknown mode.
    pub is_test: bool,
    /// From here, without a gap,
    pub from: DateTime<Utc>,
    /// to here.
    pub to: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Watermark {
    /// Whether it belongs to this detector, account and mode.
    #[must_use]
    pub fn is_of(&self, detector: &str, account: Option<&str>, is_test: bool) -> bool {
        (self.detector.as_str(), self.account.as_deref(), self.is_test) == (detector, account, is_test)
    }

    /// The largest difference between two machines' clocks.
    pub(super) const SKEW: TimeDelta = TimeDelta::minutes(5);

    /// Whether it lies in the future: a wrong clock set it, and it must be ignored.
    #[must_use]
    pub fn is_ahead_of(&self, now: DateTime<Utc>) -> bool {
        self.to > now + Self::SKEW
    }
}
