//! What Stripe sends, how it is told from what others send, and how it is read. Knows nothing of passes, queues or stores.

mod event;
mod json;
mod session;
pub mod signature;

pub use event::{Event, MalformedEvent};
pub use session::{CheckoutSession, PaymentStatus};
