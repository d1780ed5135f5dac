//! Fulfilment from the event to the stored subscription, over a real store.

mod catalog;
mod corpus;
mod existing_site_faults;
mod livemode;
mod ownership;
mod resolution;
mod rules;
mod shop;
mod terms;
mod unmatched;
