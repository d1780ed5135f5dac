//! Surepass: everyone who pays for a pass through Stripe Checkout gets it.
pub mod accept;
pub mod clock;
pub mod coalesce;
pub mod config;
pub mod event_log;
pub mod fulfil;
pub mod http;
pub mod lookback;
pub mod money;
pub mod outbound;
pub mod queue;
pub mod shutdown;
pub mod store;
pub mod stripe;
pub mod telemetry;
pub mod up;
