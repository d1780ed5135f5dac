//! The whole net: Stripe's sandbox, both programs as processes, a real Redis, a real store, and faults everywhere.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod customer;
mod night;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod storm;
#[path = "../support/stripe_sandbox.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod stripe_sandbox;
mod visits;
mod world;
