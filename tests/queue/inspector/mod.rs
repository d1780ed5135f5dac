//! The inspector, and the commands over it: a real Redis, real workers, a real store, real processes.

mod acts;
mod bulk;
mod commands;
mod listing;
mod lives;
mod office;
mod scale;
mod workers;
