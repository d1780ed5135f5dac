//! The lookback as its users meet it: programs as processes, a real Redis, a real store, and a Stripe that lists, fails and
//! hangs as it is told.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod bad_lists;
mod customers;
mod dead_letters;
mod detectors;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod runs;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod stripe;
mod sweeps;
mod unmatched;
mod world;
