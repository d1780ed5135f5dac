//! Purchases that no webhook reported: found by syncs, counted by `surepass reconcile`, and the whole of it under faults.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]

mod end_to_end;
mod reconcile;
mod sync;
