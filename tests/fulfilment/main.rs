//! Fulfilment from the event to the stored subscription, over a real store.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod catalogue;
mod corpus;
mod existing_site_faults;
mod livemode;
mod ownership;
#[path = "../support/recorded_events.rs"]
mod recorded_events;
mod resolution;
mod rules;
mod shop;
mod terms;
mod unmatched;
mod watched;
