//! Surepass: everyone who pays for a pass through Stripe Checkout gets it.
pub mod clock;
pub mod coalesce;
pub mod fulfil;
pub mod money;
pub mod store;
pub mod stripe;
