//! `surepass reconcile`: the program, a real store, and lists of sessions over HTTP as Stripe's API gives them.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod accounts;
#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod findings;
mod fixture;
mod memory;
mod missing;
mod owners;
mod page;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod reading;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod stripe;
