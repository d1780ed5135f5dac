//! The options of the queue, the store and the Stripe client, made from the settings. Only this module knows both.

use std::time::Duration;

use crate::config::{QueueName, Settings, SqliteSynchronous};
use crate::queue::{QueueConfig, QueueLimits, RetryPolicy, TokenBucketOptions};
use crate::store;
use crate::stripe::api;
use crate::stripe_rate_limit;

impl Settings {
    /// How the queue of purchases behaves.
    #[must_use]
    pub fn queue_config(&self) -> QueueConfig {
        self.queue_config_of(QueueName::Fulfil)
    }

    /// How a queue behaves.
    #[must_use]
    pub fn queue_config_of(&self, name: QueueName) -> QueueConfig {
        let whole = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let own = self.queue.of(name);
        QueueConfig {
            prefix: self.queue.prefix.clone(),
            name: name.as_str().to_owned(),
            retry: RetryPolicy {
                base: *self.queue.backoff_base,
                cap: *self.queue.backoff_cap,
                max_attempts: *self.queue.max_attempts,
            },
            lease: *self.queue.lease,
            max_crashes: *self.queue.max_crashes,
            keep_done: *self.queue.keep_done,
            keep_done_jobs: whole(*self.queue.keep_done_jobs),
            keep_dead: *self.queue.keep_dead,
            log_entries: whole(*self.event_log.stream_max_entries),
            leave_unknown: *self.queue.leave_unknown,
            limits: QueueLimits {
                running: *own.max_running,
                per_second: *own.max_per_second,
            },
            ..QueueConfig::default()
        }
    }

    /// How Stripe's API is called; `None` without a key.
    #[must_use]
    pub fn stripe_options(&self) -> Option<api::ClientOptions> {
        Some(api::ClientOptions {
            base: self.stripe.api_base.clone(),
            key: self.stripe.secret_key.clone()?,
            attempts: 4,
            timeout: Duration::from_secs(20),
            noise: rand::random,
        })
    }

    /// How often all processes together call it.
    #[must_use]
    pub fn stripe_rate_limit(&self) -> TokenBucketOptions {
        stripe_rate_limit::options(&self.queue.prefix, *self.stripe.rate_per_second)
    }

    /// How the store is opened.
    #[must_use]
    pub fn store_options(&self) -> store::Options {
        let synchronous = match self.database.sqlite_synchronous {
            SqliteSynchronous::Full => store::Synchronous::Full,
            SqliteSynchronous::Normal => store::Synchronous::Normal,
        };
        store::Options {
            synchronous,
            ..store::Options::default()
        }
    }
}
