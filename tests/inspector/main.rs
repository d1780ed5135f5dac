//! The inspector, and the commands over it: a real Redis, real workers, a real store, real processes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

mod acts;
mod bulk;
mod commands;
mod listing;
mod lives;
mod office;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "the system's tests use all of it")]
mod program;
mod scale;
mod workers;
#[path = "../queue/world.rs"]
#[expect(dead_code, reason = "the queue's tests use all of it")]
mod world;
