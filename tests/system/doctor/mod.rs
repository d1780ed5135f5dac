//! `surepass doctor` and the audits, on a real Redis and store, with programs of ours as processes. Stripe's part is a
//! server that answers as the test says.

mod audits;
mod checkup;
mod endpoints;
mod left_behind;
mod machine;
mod pages;
mod stripe;
mod stripe_access;
mod unconfigured;
mod verdicts;
