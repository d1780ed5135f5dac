//! The client of Stripe's API: against a server of faults, against others' fakes of Stripe, against Stripe's own fixtures.

mod bodies;
mod emulate;
mod errors;
mod fixtures;
mod localstripe;
mod paging;
mod peer;
mod rate_limit;
mod requests;
mod retries;
mod tls;
mod world;
