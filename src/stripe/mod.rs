//! Stripe's side: what arrives from it and how it is read. Knows nothing of passes.

mod event;
mod json;
mod session;

pub use event::{Event, MalformedEvent};
pub use session::{CheckoutSession, PaymentStatus};
