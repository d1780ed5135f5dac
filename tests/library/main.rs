//! What the library's parts promise, called as functions: fulfilment, the store on both databases, Stripe's client and
//! signatures, schedules, and which module may import which.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod cron;
mod fulfilment;
mod imports;
mod signature_peers;
mod store;
mod store_faults;
mod stripe_api;
