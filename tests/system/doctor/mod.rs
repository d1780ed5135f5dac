//! `surepass doctor` and the audits, on a real Redis and store, with programs of ours as processes. Stripe's part is a
//! server that answers as the test says.

mod endpoint_checks;
mod endpoints;
mod fixture;
mod left_behind;
mod local_checks;
mod pages;
mod stripe;
mod stripe_access;
mod unconfigured;
mod verdicts;
