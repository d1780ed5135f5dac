//! `surepass reconcile`: the program, a real store, and lists of sessions over HTTP as Stripe's API gives them.

mod accounts;
mod findings;
mod fixture;
mod memory;
mod missing;
mod owners;
mod page;
mod reading;
mod stripe;
