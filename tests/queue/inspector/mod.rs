//! The inspector, and the commands over it: a real Redis, real workers, a real store, real processes.

mod actions;
mod bulk;
mod commands;
mod fixture;
mod job_history;
mod listing;
mod scale;
mod workers;
