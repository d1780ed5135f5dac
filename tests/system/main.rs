//! The whole system as its users meet it: both programs as processes, a real Redis, a real store, real HTTP.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
mod answer;
mod catalogue;
mod checkout_code;
mod commands;
mod connections;
mod corpus;
#[path = "../support/customers.rs"]
mod customers;
mod demo_shop;
mod deployment;
mod event_log;
mod health;
mod inbox;
mod installed;
mod intake;
mod lists;
mod livemode;
mod logs;
mod metrics;
mod own_redis;
#[path = "../support/pgbouncer.rs"]
mod pgbouncer;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/program.rs"]
mod program;
mod purchases;
#[path = "../support/recorded_events.rs"]
mod recorded_events;
mod redis_faults;
mod reference;
mod routes;
mod secrets;
mod shared_account;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
#[path = "../support/snapshot.rs"]
mod snapshot;
mod starting;
mod stopping;
mod store_outage;
#[path = "../support/stripe_sandbox.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod stripe_sandbox;
mod sync_cost;
mod tables;
mod tenants;
#[cfg(feature = "otlp")]
mod traces;
mod unmatched;
mod up;
mod visitor;
mod where_it_looks;
mod wire;
mod worker_crash;
