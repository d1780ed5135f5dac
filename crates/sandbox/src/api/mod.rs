//! Stripe's API: who calls, what they ask, and the answer in Stripe's shape.

mod accounts;
mod call;
mod catalog;
mod customers;
mod endpoints;
mod error;
mod events;
mod expand;
mod key;
mod params;
mod payments;
mod replay;
mod routes;
mod serve;
mod sessions;

pub(crate) use key::KeyRule;
pub(crate) use replay::Replays;
pub(crate) use serve::serve;
