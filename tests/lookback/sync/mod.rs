//! The lookback as its users meet it: programs as processes, a real Redis, a real store, and a Stripe that lists, fails and
//! hangs as it is told.

mod account_syncs;
mod bad_lists;
mod customers;
mod dead_letters;
mod detectors;
mod runs;
mod stripe;
mod unmatched;
mod world;
