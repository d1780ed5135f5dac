//! The lookback's jobs in the queue `sync`.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cycle::CycleDetector;
use crate::email;
use crate::queue::{DecodeError, Item, Job, QueueError};
use crate::store::CreatedVia;

/// A job of the lookback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookbackJob {
    /// Syncs one customer.
    Sync(SyncRequest),
    /// Syncs all customers of an account.
    AccountSync(AccountSyncRequest),
    /// Enqueues the events that Stripe could not deliver to an account's endpoints.
    FailedDeliveries(FailedDeliveriesRequest),
}

/// The id of a run, under which the store keeps its counts. Printable ASCII without spaces, at most 200
/// bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

/// Finds the purchases of one customer that have no subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// A tenant's slug. `None`: all tenants, each in its own account, and the platform's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub customer: Customer,
    /// How many days to look back, 1 to 3,650.
    pub days: u32,
    /// The `createdVia` of the subscriptions that it creates.
    pub via: CreatedVia,
    /// Where its counts are stored. `None`: under the job's key and enqueue time. For a listed customer: the
    /// account sync that listed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
}

/// Which customer's sessions to find.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Customer {
    /// Sessions that name this user. Also sessions without a user that were paid with their verified email.
    User {
        id: String,
        /// An email that the user has verified. Never an unverified one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verified_email: Option<String>,
    },
    /// Sessions with this email, whichever user they name. Only for an operator, who is responsible for that.
    Email(String),
    /// `cus_…`
    StripeCustomer(String),
    /// `cs_…`
    Session(String),
    /// A customer that an account sync found, by their key in the staged list.
    Listed(String),
}

/// Lists an account once, for all of its customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountSyncRequest {
    /// The name of its schedule, such as `nightly`.
    pub name: String,
    /// `acct_…`; `None`: the key's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Sessions created from here,
    pub from: DateTime<Utc>,
    /// to here, exclusive. Also the tick: two account syncs with the same name, account and end are one.
    pub to: DateTime<Utc>,
    /// The customers' jobs are spread over this many seconds.
    #[serde(default)]
    pub spread_seconds: u32,
    #[serde(default = "by_lookback")]
    pub via: CreatedVia,
    /// `None`: made of name, account and end, so it does not depend on who enqueues it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// An account sync works in slices; each enqueues the next. The first is 0.
    #[serde(default)]
    pub slice: u32,
    /// Where an attempt of the previous slice was interrupted, and how often it stopped there. Set by the job
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<(String, u32)>,
}

/// Reads the events that were not delivered, and enqueues them as if they had been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDeliveriesRequest {
    /// `acct_…`; `None`: the key's own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Events from here on. `None`: from where the last job ended. At most 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Where the list continues. Set by the job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// A position in a list of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The last event that was enqueued.
    pub after: String,
    /// The bounds of the whole list.
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Whether every event so far could be read.
    pub whole: bool,
    #[serde(default, skip_serializing_if = "CycleDetector::is_new")]
    pub(super) cycle: CycleDetector,
}

impl LookbackJob {
    /// The item to enqueue in `sync`. Customers' own requests, listed customers and accounts are fairness
    /// groups. A dead job with the same key runs again.
    ///
    /// # Errors
    /// [`QueueError::Encode`].
    pub fn item(&self) -> Result<Item, QueueError> {
        let group = match self {
            Self::Sync(SyncRequest {
                customer: Customer::Listed(_),
                ..
            }) => "listed",
            Self::Sync(_) => "asked",
            Self::AccountSync(_) | Self::FailedDeliveries(_) => "accounts",
        };
        Ok(Item::job(self)?.group(group).rerun())
    }
}

impl RunId {
    /// A new run. `ulid` must be new.
    #[must_use]
    pub fn new(ulid: ulid::Ulid) -> Self {
        Self(ulid.to_string())
    }

    /// The id in keys and in the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(id: String) -> Self {
        Self(safe(&id))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AccountSyncRequest {
    /// An account sync over the sessions created from `from` to `to`, not spread.
    #[must_use]
    pub fn new(name: &str, account: Option<&str>, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self {
            name: name.to_owned(),
            account: account.map(str::to_owned),
            from,
            to,
            spread_seconds: 0,
            via: CreatedVia::Lookback,
            run: None,
            slice: 0,
            cut_off: None,
        }
    }

    /// The run of which this is a slice.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run.clone().unwrap_or_else(|| {
            let account = self.account.as_deref().unwrap_or("own");
            let (name, tick) = (safe(&self.name), self.to.timestamp());
            format!("cron:{name}:{tick}:{}", safe(account)).into()
        })
    }
}

impl Customer {
    /// The customer's name in keys. It contains no email and only characters that a key may contain.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::User { id, .. } | Self::StripeCustomer(id) | Self::Session(id) => safe(id),
            Self::Email(email) => hashed("email", &email::normalize(email)),
            Self::Listed(key) => key.clone(),
        }
    }
}

impl fmt::Debug for Customer {
    /// Prints the key, since this reaches logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Customer({})", self.key())
    }
}

/// The text, or a hash of it if it is too long or contains characters that a key must not.
fn safe(text: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-:*~".contains(&byte);
    if (1..=200).contains(&text.len()) && text.bytes().all(is_safe) {
        text.to_owned()
    } else {
        hashed("~", text)
    }
}

fn hashed(kind: &str, text: &str) -> String {
    format!("{kind}-{}", hex::encode(&Sha256::digest(text)[..16]))
}

fn by_lookback() -> CreatedVia {
    CreatedVia::Lookback
}

impl Job for LookbackJob {
    fn kind(&self) -> &'static str {
        match self {
            Self::Sync(_) => "sync",
            Self::AccountSync(_) => "sweep",
            Self::FailedDeliveries(_) => "undelivered",
        }
    }

    /// A listed customer's job belongs to its account sync. No other job for the same customer can replace
    /// it.
    fn key(&self) -> Option<String> {
        Some(match self {
            Self::Sync(SyncRequest {
                customer: customer @ Customer::Listed(_),
                run: Some(run),
                ..
            }) => format!("sync:{run}:{}", customer.key()),
            Self::Sync(request) => {
                let tenant = request.tenant.as_deref().map_or("*".to_owned(), safe);
                format!("sync:{tenant}:{}", request.customer.key())
            }
            Self::AccountSync(request) => match request.slice {
                0 => request.run().to_string(),
                slice => format!("{}:{slice}", request.run()),
            },
            Self::FailedDeliveries(request) => {
                let account = safe(request.account.as_deref().unwrap_or("own"));
                match &request.resume {
                    None => format!("undelivered:{account}"),
                    Some(resume) => format!("undelivered:{account}:{}", safe(&resume.after)),
                }
            }
        })
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Self::Sync(request) => serde_json::to_vec(request),
            Self::AccountSync(request) => serde_json::to_vec(request),
            Self::FailedDeliveries(request) => serde_json::to_vec(request),
        }
    }

    fn decode(kind: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        if !matches!(kind, "sync" | "sweep" | "undelivered") {
            return Err(DecodeError::UnknownKind(kind.to_owned()));
        }
        if version > 1 {
            let kind = kind.to_owned();
            return Err(DecodeError::UnknownVersion { kind, version });
        }
        Ok(match kind {
            "sync" => Self::Sync(serde_json::from_slice(payload)?),
            "sweep" => Self::AccountSync(serde_json::from_slice(payload)?),
            _ => Self::FailedDeliveries(serde_json::from_slice(payload)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(tenant: Option<&str>, customer: Customer) -> LookbackJob {
        LookbackJob::Sync(SyncRequest {
            tenant: tenant.map(str::to_owned),
            customer,
            days: 30,
            via: CreatedVia::Support,
            run: None,
        })
    }

    #[test]
    fn a_sync_has_its_dedupe_key_of_tenant_and_customer_and_no_email_stands_in_it() {
        let user = |id: &str| Customer::User {
            id: id.to_owned(),
            verified_email: Some("kari@example.com".to_owned()),
        };
        let key = |job: LookbackJob| job.key().unwrap();
        assert_eq!(key(sync(Some("studio"), user("u1"))), "sync:studio:u1");
        assert_eq!(
            key(sync(None, Customer::StripeCustomer("cus_1".into()))),
            "sync:*:cus_1"
        );
        let email = |text: &str| key(sync(None, Customer::Email(text.to_owned())));
        assert_eq!(email("Kari@Example.com "), email("kari@example.com"));
        assert!(!email("kari@example.com").contains('@'));
        for odd in ["a b", "a\nb", "", &"x".repeat(201)] {
            let key = key(sync(Some("studio"), user(odd)));
            assert!(
                key.starts_with("sync:studio:~-") && key.len() < 60 && !key.contains(char::is_whitespace),
                "{key:?}"
            );
        }
    }

    #[test]
    fn each_job_is_read_back_as_it_was_and_a_newer_one_is_left_to_a_newer_worker() {
        let (from, to) = (
            DateTime::UNIX_EPOCH,
            DateTime::from_timestamp_nanos(1_000_000_000),
        );
        let undelivered = FailedDeliveriesRequest {
            account: Some("acct_1".to_owned()),
            since: Some(from),
            resume: Some(Resume {
                after: "evt_1".to_owned(),
                from,
                to,
                whole: true,
                cycle: CycleDetector::default(),
            }),
        };
        let jobs = [
            sync(
                None,
                Customer::User {
                    id: "u".into(),
                    verified_email: Some("a@b.no".into()),
                },
            ),
            sync(Some("studio"), Customer::Email("a@b.no".into())),
            LookbackJob::AccountSync(AccountSyncRequest::new("nightly", Some("acct_1"), from, to)),
            LookbackJob::FailedDeliveries(undelivered),
        ];
        for job in jobs {
            let payload = job.encode().unwrap();
            assert_eq!(LookbackJob::decode(job.kind(), 1, &payload).unwrap(), job);
            let newer = LookbackJob::decode(job.kind(), 2, &payload);
            assert!(
                matches!(newer, Err(DecodeError::UnknownVersion { .. })),
                "{newer:?}"
            );
            assert!(!format!("{job:?}").contains('@'), "{job:?}");
        }
        let other = LookbackJob::decode("fulfil", 1, b"{}");
        assert!(matches!(other, Err(DecodeError::UnknownKind(_))), "{other:?}");
    }

    #[test]
    fn two_sweeps_of_one_tick_are_one_and_each_slice_is_a_job() {
        let tick = DateTime::from_timestamp_nanos(3_000_000_000_000_000_000);
        let mut sweep = AccountSyncRequest::new("nightly", None, DateTime::UNIX_EPOCH, tick);
        let key = |sweep: &AccountSyncRequest| LookbackJob::AccountSync(sweep.clone()).key().unwrap();
        assert_eq!(key(&sweep), "cron:nightly:3000000000:own");
        sweep.slice = 2;
        assert_eq!(key(&sweep), "cron:nightly:3000000000:own:2");
    }
}
