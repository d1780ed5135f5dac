//! Stripe's objects: what the sandbox keeps of each, and the JSON that Stripe makes of it.

mod account;
mod catalog;
mod customer;
mod endpoint;
mod event;
mod payment;
mod session;

use std::collections::BTreeMap;

pub(crate) use account::Account;
pub(crate) use catalog::{Price, Product};
pub(crate) use customer::Customer;
pub(crate) use endpoint::{Endpoint, covers};
pub(crate) use event::{Event, Snapshot};
pub(crate) use payment::{Charge, Dispute, PaymentIntent, Progress, Refund};
pub(crate) use session::{Buyer, LineItem, Payment, Session, Status};

/// What the seller attaches to an object.
pub(crate) type Metadata = BTreeMap<String, String>;
