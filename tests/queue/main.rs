//! The queue over a real Redis: each fault that apalis-redis 1.0 has is tested here on our own backend (fault 1 to 15 of
//! docs/decisions/queue.md), and the scripts run against a model. Also the inspector, and Sentinel and Cluster.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod backlog;
mod clock;
mod counts;
mod crash_counts;
mod crashing_jobs;
mod dedupe;
mod failures;
mod fairness;
mod hostile;
mod inspector;
mod job_events;
mod keys;
mod leases;
mod lost_keys;
mod metrics;
mod model;
mod outages;
mod pausing;
mod processes;
mod rate_limit;
mod retention;
mod scripts;
mod several_queues;
mod silent_proxy;
mod stopping;
mod topologies;
mod unknown;
mod vanished_redis;
mod wake_ups;
mod world;
