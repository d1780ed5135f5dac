//! What Stripe sends and how it is told from what others send. Knows nothing of passes, queues or stores.
pub mod signature;
