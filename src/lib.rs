//! Surepass: everyone who pays for a pass through Stripe Checkout gets it.

pub mod cached;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod customer;
pub mod dead_letters;
pub mod email;
pub mod event_log;
pub mod fulfil;
pub mod guest;
pub mod http;
pub mod http_client;
pub mod identity;
pub mod ingest;
pub mod lookback;
pub mod money;
pub mod operator;
pub mod options;
pub mod schedule;
pub mod store;
pub mod stripe;
pub mod stripe_rate_limit;
pub mod telemetry;
pub mod terminal;
pub mod time_zone;
pub mod unmatched;
pub mod up;
pub mod verdict;
pub mod watched;

pub use surepass_base::{address, batcher, outage, shutdown, tls};
pub use surepass_queue as queue;

/// The version with the commit that the programs were built from, as `--version` prints it.
pub const LONG_VERSION: &str = env!("SUREPASS_LONG_VERSION");
