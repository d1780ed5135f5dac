//! `surepass doctor` and the audits, on a real Redis and store, with programs of ours as processes. Stripe's part is a
//! server that answers as the test says.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod audits;
mod checkup;
mod endpoints;
mod left_behind;
mod machine;
mod pages;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
#[path = "../support/snapshot.rs"]
mod snapshot;
mod stripe;
mod stripe_access;
mod unconfigured;
mod verdicts;
