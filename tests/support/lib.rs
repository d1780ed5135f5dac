//! What the test programs share: servers and stores of their own, our programs as processes, a shop that runs them, and
//! stand-ins for Stripe.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    missing_debug_implementations,
    reason = "a test that cannot go on has failed, and only tests call this"
)]

pub mod answer;
pub mod customers;
pub mod help;
pub mod home;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod purchases;
pub mod recorded_events;
pub mod redis_node;
pub mod shop;
pub mod snapshot;
pub mod stripe_faults;
pub mod stripe_sandbox;

/// The repository's folder.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
