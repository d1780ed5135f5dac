//! The net under everything: what Stripe was paid for and has no subscription is found and fulfilled.

mod job;
pub mod ledger;

pub use job::{Customer, LookbackJob, Resume, RunId, SweepRequest, SyncRequest, UndeliveredRequest};
