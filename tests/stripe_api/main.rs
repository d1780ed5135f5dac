//! The client of Stripe's API: against a server of faults, against others' fakes of Stripe, against Stripe's own fixtures.

#![expect(clippy::unwrap_used, reason = "a test's assumptions may panic")]
#![expect(clippy::expect_used, reason = "a test's assumptions may panic")]

mod bodies;
mod emulate;
mod errors;
mod fake;
mod fixtures;
mod localstripe;
mod paging;
mod peer;
#[path = "../support/ports.rs"]
mod ports;
mod rate_limit;
mod requests;
mod retries;
mod tls;
mod world;
