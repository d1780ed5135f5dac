//! The whole system over a Redis of several servers, really started: sentinels with a master that dies, and a cluster.
//! It carries signed webhooks all the while; whatever was answered with 200 must be there, once.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod cluster;
#[path = "../support/customers.rs"]
mod customers;
mod news;
mod node;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod sentinel;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
