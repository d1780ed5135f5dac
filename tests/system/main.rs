//! The whole system as its users meet it: both programs as processes, a real Redis, a real store, real HTTP.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod answer;
mod catalogue;
mod corpus;
mod event_log;
mod intake;
mod metrics;
#[path = "../support/postgres.rs"]
mod postgres;
mod program;
mod purchases;
#[path = "../support/recorded_events.rs"]
mod recorded_events;
mod redis_faults;
mod secrets;
mod shop;
mod starting;
mod stopping;
mod tenants;
#[cfg(feature = "otlp")]
mod traces;
mod up;
mod wire;
mod worker_crash;
