//! Stripe's webhooks and objects: verifies and reads them. Knows no passes, queues or stores.

pub mod api;
mod event;
mod json;
mod payment;
mod session;
pub mod signature;
mod words;

pub use event::{Event, EventObject, MalformedEvent, PURCHASE_EVENTS};
pub use payment::{Charge, Payment, PaymentIntent};
pub use session::CheckoutSession;
pub use words::{PaymentStatus, SessionMode, SessionStatus};
