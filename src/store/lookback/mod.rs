//! The lookback's records: its runs, the sessions that they found, and watermarks.

mod model;
mod pending_sessions;
mod runs;
mod sessions;
mod watermarks;

use super::Store;

pub(super) use sessions::{SessionBatch, session_batches};

pub use model::{
    FoundSession, FulfilledPurchase, LookbackRun, PendingSession, RecentBuyer, RunCounts, RunPhase, RunStep,
    SessionState, Watermark,
};

/// The lookback's records: [`Store::lookback`].
#[derive(Debug, Clone, Copy)]
pub struct Lookback<'a>(pub(super) &'a Store);
