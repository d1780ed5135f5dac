//! When lookbacks begin: on a real Redis and a real store, by a clock that the test moves.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod faults;
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod proxy;
mod ticks;
mod world;
