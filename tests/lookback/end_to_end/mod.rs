//! The whole system under faults: the sandbox, both programs as processes, a real Redis, a real store.

mod customer;
mod night;
mod storm;
mod visits;
mod world;
