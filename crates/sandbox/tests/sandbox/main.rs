//! The sandbox behaves as Stripe does: official clients, a browser's requests, real webhooks.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod clients;
mod deliveries;
mod faults;
mod life;
mod listing;
mod mailbox;
mod our_client;
mod page;
mod process;
mod shop;
