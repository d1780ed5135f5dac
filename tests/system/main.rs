//! The whole system as its users meet it: both programs as processes, a real Redis, a real store, real HTTP; with
//! `surepass doctor`, and what TLS connections trust.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod catalog;
mod checkout_code;
mod commands;
mod connections;
mod corpus;
mod default_store;
mod demo_shop;
mod deployment;
mod doctor;
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
mod purchases;
mod raw_http;
mod redis_faults;
mod reference;
mod routes;
mod secrets;
mod shared_account;
mod starting;
mod stopping;
mod store_outage;
mod sync_cost;
mod tables;
mod tenants;
#[cfg(feature = "otlp")]
mod traces;
mod trust;
mod unmatched;
mod up;
mod visitor;
mod worker_crash;
