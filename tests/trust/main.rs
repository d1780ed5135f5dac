//! What a TLS connection to elsewhere trusts, with real servers that have certificates of their own: Redis, PostgreSQL,
//! and stand-ins for Stripe, a sign-in service and a collector.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
mod authority;
#[path = "../stripe_api/fake.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod fake;
mod https;
#[path = "../topologies/node.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod node;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod postgres;
mod postgresql;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
mod redis_servers;
mod settings;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
