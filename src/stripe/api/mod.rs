//! The part of Stripe's API that Surepass reads: Checkout Sessions, events, payments, webhook endpoints.
//!
//! Every call is a GET, so it may be repeated and leaves nothing behind, wherever we die. Objects are read loosely: a field
//! that Stripe has added, dropped or filled with a new word never breaks one.

mod call;
mod client;
mod error;
mod filter;
mod http;
mod objects;
mod pace;
mod pages;
mod retry;
mod route;

pub use crate::credentials::livemode;
pub use crate::stripe::{Charge, PaymentIntent};
pub use client::{Account, Client, ClientOptions};
pub use error::StripeError;
pub use filter::{EventFilter, SessionFilter};
pub use http::http;
pub use objects::{ListedEvent, WebhookEndpoint};
pub use pace::{Pace, Unpaced};
pub use pages::{Page, Pages};

/// The version of the API that our types are tested against: the first of 2025's "basil". The account's own default may be
/// years older and moves when somebody presses a button in the Dashboard; with a pinned one every account answers in the
/// same shapes. What is read exists in it and in all that came since; older shapes are read as well.
pub const API_VERSION: &str = "2025-03-31.basil";
