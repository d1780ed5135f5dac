//! Typed settings. `config/default.toml`, which is compiled in, describes every one of them.
//!
//! From weakest to strongest: the compiled-in defaults, `default.toml` and then `<environment>.toml` in the folder
//! `SUREPASS_CONFIG`, and the environment variables in [`VARIABLES`].

mod customers;
mod fulfil;
mod load;
mod lookback;
mod queues;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

pub use customers::CustomerSettings;
pub use fulfil::{ClientReference, FulfilSettings};
pub use load::{ConfigError, VARIABLES};
pub use lookback::LookbackSettings;
pub use queues::{OneQueueSettings, QueueName, QueueSettings};
pub use value::{Days, Hours, Milliseconds, Seconds, Span, Within};

use crate::credentials;
use crate::telemetry::LogFormat;

/// Everything that can be set. Secrets are not in its `Debug`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where `surepass up` keeps its SQLite file and its Redis.
    pub data_dir: PathBuf,
    /// The distributed engine.
    pub redis: RedisSettings,
    /// The store.
    pub database: DatabaseSettings,
    /// Stripe's API and its webhooks.
    pub stripe: StripeSettings,
    /// `surepass serve`.
    pub server: ServerSettings,
    /// `surepass-worker`.
    pub worker: WorkerSettings,
    /// Jobs: leases, retries, retention.
    pub queue: QueueSettings,
    /// How purchases are read.
    pub fulfil: FulfilSettings,
    /// What finds the purchases that no webhook told us of.
    pub lookback: LookbackSettings,
    /// The log of every verified event.
    pub event_log: EventLogSettings,
    /// The admin's pages.
    pub admin: AdminSettings,
    /// Who a customer is.
    pub customers: CustomerSettings,
    /// The Sanity content lake, for a `sanity://` database.
    pub sanity: SanitySettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// The folder of the files, which need not be there.
    #[serde(skip)]
    pub folder: PathBuf,
}

impl Settings {
    /// Whether there is a proxy that does not tell who connects: `serve` itself speaks no TLS.
    #[must_use]
    pub fn hides_addresses(&self) -> bool {
        let public = self.server.public_url.as_ref();
        self.customers.address_header.is_none() && public.is_some_and(|url| url.scheme() == "https")
    }
}

/// `[redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// `None` where nobody has said: `surepass up` then starts its own.
    #[serde(deserialize_with = "value::secret")]
    pub url: Option<SecretString>,
}

impl RedisSettings {
    /// The URL that is set, else `redis://127.0.0.1:6379`.
    #[must_use]
    pub fn url_or_default(&self) -> SecretString {
        self.url
            .clone()
            .unwrap_or_else(|| "redis://127.0.0.1:6379".into())
    }
}

/// `[database]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `None` where nobody has said: `surepass up` then keeps an SQLite file in [`Settings::data_dir`].
    #[serde(deserialize_with = "value::secret")]
    pub url: Option<SecretString>,
    /// What SQLite does before a commit is answered.
    #[serde(deserialize_with = "value::word")]
    pub sqlite_synchronous: SqliteSynchronous,
    /// Whether `serve` and the worker bring the tables of an older program up to date when they start.
    #[serde(deserialize_with = "value::flag")]
    pub migrate_on_start: bool,
    /// How long records of operators' actions are kept; 0: for ever.
    #[serde(rename = "keep_audit_days")]
    pub keep_audit: Days<0, 36_500>,
}

impl DatabaseSettings {
    /// The URL that is set, else `sqlite://surepass.db`.
    #[must_use]
    pub fn url_or_default(&self) -> SecretString {
        self.url.clone().unwrap_or_else(|| "sqlite://surepass.db".into())
    }
}

/// SQLite's `PRAGMA synchronous`, of which two values make sense with a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqliteSynchronous {
    /// Every commit is on disk before it is answered.
    Full,
    /// A power cut may undo the last commits, without corrupting the file.
    Normal,
}

impl FromStr for SqliteSynchronous {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err("`full` or `normal`"),
        }
    }
}

/// `[stripe]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeSettings {
    /// The API key; without one there is no lookback.
    #[serde(deserialize_with = "value::stripe_key")]
    pub secret_key: Option<SecretString>,
    /// Whether purchases are live or test ones, where no key says so; `None`: nobody has said.
    #[serde(deserialize_with = "value::optional_flag")]
    pub livemode: Option<bool>,
    /// The endpoint's signing secrets, each well-formed; `surepass serve` needs at least one.
    #[serde(deserialize_with = "value::webhook_secrets")]
    pub webhook_secrets: Vec<SecretString>,
    /// Where the API is.
    #[serde(deserialize_with = "value::url")]
    pub api_base: Url,
    /// Requests a second that all processes together may make, 1 to 100.
    pub rate_per_second: Within<u32, 1, 100>,
}

impl StripeSettings {
    /// Whether purchases are live ones (`sk_live_…`, `rk_live_…`) or test ones (`sk_test_…`, `rk_test_…`): what the key says,
    /// else the setting; `None`: neither says.
    #[must_use]
    pub fn livemode(&self) -> Option<bool> {
        self.livemode_of_key().or(self.livemode)
    }

    /// What the key alone says.
    #[must_use]
    pub fn livemode_of_key(&self) -> Option<bool> {
        credentials::livemode(self.secret_key.as_ref()?)
    }
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// The address to listen on; port 0 takes a free one.
    #[serde(deserialize_with = "value::address")]
    pub bind: SocketAddr,
    /// Where the world reaches this server; `None`: nobody has said.
    #[serde(deserialize_with = "value::optional_url")]
    pub public_url: Option<Url>,
    /// The longest webhook body in bytes, 1 KiB to 16 MB.
    pub max_body_bytes: Within<usize, 1024, 16_000_000>,
    /// How long the intake waits for Redis, 10 ms to 60 s.
    #[serde(rename = "redis_timeout_ms")]
    pub redis_timeout: Milliseconds<10, 60_000>,
    /// How old a webhook's signature may be, 1 s to a day.
    #[serde(rename = "signature_tolerance_seconds")]
    pub signature_tolerance: Seconds<1, 86_400>,
    /// How long the whole body of a request may take, 1 s to 5 min.
    #[serde(rename = "body_timeout_seconds")]
    pub body_timeout: Seconds<1, 300>,
    /// Requests of one address whose head or body is not complete, up to 100,000; 0: any number.
    pub unfinished_per_address: Within<usize, 0, 100_000>,
    /// Where `/metrics` is.
    #[serde(deserialize_with = "value::address")]
    pub metrics_bind: SocketAddr,
    /// Threads that serve requests, up to 1024; 0: half as many as there are cores.
    pub workers: Within<usize, 0, 1024>,
}

/// `[worker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// Where the worker's own `/metrics`, `/healthz` and `/readyz` are.
    #[serde(deserialize_with = "value::address")]
    pub metrics_bind: SocketAddr,
    /// Jobs at a time, 1 to 10,000.
    pub concurrency: Within<usize, 1, 10_000>,
    /// How long running jobs may take to finish after SIGTERM, up to an hour.
    #[serde(rename = "grace_seconds")]
    pub grace: Seconds<0, 3_600>,
    /// How long a job may run, 1 s to an hour.
    #[serde(rename = "job_timeout_seconds")]
    pub job_timeout: Seconds<1, 3_600>,
    /// The queues to work on; empty: all.
    pub queues: Vec<String>,
}

/// `[event_log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventLogSettings {
    /// How long raw bodies are kept, up to 3,650 days.
    #[serde(rename = "keep_body_days")]
    pub keep_body: Days<0, 3_650>,
    /// How long the store keeps events; 0: for ever.
    #[serde(rename = "keep_days")]
    pub keep: Days<0, 36_500>,
    /// Entries that wait in Redis at most, 1,000 to a hundred million.
    pub stream_max_entries: Within<u64, 1_000, 100_000_000>,
    /// Entries stored in one transaction, 1 to 10,000.
    pub drain_batch: Within<usize, 1, 10_000>,
    /// How long an entry may wait for its batch, 1 ms to 60 s.
    #[serde(rename = "drain_interval_ms")]
    pub drain_interval: Milliseconds<1, 60_000>,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// One token, or several as `name:role:token,…`; without one there is no admin.
    #[serde(deserialize_with = "value::admin_tokens")]
    pub token: Option<SecretString>,
}

/// `[sanity]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SanitySettings {
    /// An API token with the right to create.
    #[serde(deserialize_with = "value::secret")]
    pub token: Option<SecretString>,
    /// `None`: the project's own host.
    #[serde(deserialize_with = "value::optional_url")]
    pub base: Option<Url>,
    /// The API's version, a date.
    pub version: String,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// `None`: pretty on a terminal, JSON elsewhere.
    #[serde(deserialize_with = "value::optional_word")]
    pub format: Option<LogFormat>,
}

#[cfg(test)]
mod tests;
