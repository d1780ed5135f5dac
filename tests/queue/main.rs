//! The queue over a real Redis: each fault that apalis-redis 1.0 has is tested here on our own backend (fault 1 to 15 of
//! ARCHITECTURE.md, "Why our own backend"), and the scripts run against a model.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod backlog;
mod clock;
mod counts;
mod dedupe;
mod failures;
mod fairness;
mod hostile;
mod job_events;
mod keys;
mod leases;
mod lost_keys;
mod metrics;
mod model;
mod outages;
#[path = "../support/ports.rs"]
mod ports;
mod processes;
#[path = "../support/proxy.rs"]
mod proxy;
mod rate_limit;
mod retention;
mod scripts;
mod silence;
mod steering;
mod stopping;
mod suspects;
mod unknown;
mod vanished;
mod wake;
mod way;
mod weights;
mod world;
