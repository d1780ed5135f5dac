//! The whole system under faults: the sandbox, both programs as processes, a real Redis, a real store.

mod customer;
mod customer_syncs;
mod everything_at_once;
mod night;
mod world;
