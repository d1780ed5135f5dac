//! Small tools that both the queue and the programs use. They know nothing of either.

pub mod address;
pub mod batcher;
pub mod outage;
pub mod shutdown;
pub mod tls;
