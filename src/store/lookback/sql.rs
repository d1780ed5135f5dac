//! The lookback's records in an SQL database.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::{
    FoundSession, FulfilledPurchase, LookbackRun, LookbackStore, RecentBuyer, RunCounts, RunPhase, RunStep,
    SessionState, Watermark, pending_sessions, runs, sessions, watermarks,
};
use crate::batcher::{BatchLimits, Batcher};
use crate::store::dialect::Dialect;
use crate::store::pools::{Pools, ask};
use crate::store::sql::SqlStore;
use crate::store::{STATEMENT, StoreError};

/// Updated sessions of a run, to be stored.
#[derive(Debug)]
pub(in crate::store) struct SessionBatch {
    pub(super) run: String,
    pub(super) sessions: Vec<FoundSession>,
}

/// Stores the updates of many customers in one transaction, since a commit for each would be slow.
pub(in crate::store) fn session_batches<D: Dialect>(
    pools: &Arc<Pools<D>>,
) -> Batcher<SessionBatch, Result<(), StoreError>> {
    let pools = Arc::clone(pools);
    let limits = BatchLimits {
        batch: 128,
        waiting: 1_024,
        parallel: 1,
    };
    Batcher::start(limits, move |batch: Vec<SessionBatch>| {
        let pools = Arc::clone(&pools);
        async move {
            let noted = store_batch(&pools, &batch).await;
            vec![noted; batch.len()]
        }
    })
}

async fn store_batch<D: Dialect>(pools: &Pools<D>, batch: &[SessionBatch]) -> Result<(), StoreError> {
    ask!(pools, Write, |c| sessions::save_batch::<D>(&mut c, batch))
}

/// In batches, so that other writers can proceed in between.
async fn drop_sessions<D: Dialect>(pools: &Pools<D>, run: &str, all: bool) -> Result<(), StoreError> {
    let mut after = Some(String::new());
    while let Some(from) = &after {
        after = ask!(pools, Write, |c| sessions::delete_batch::<D>(
            &mut c, run, from, all
        ))?;
    }
    Ok(())
}

#[async_trait]
impl<D: Dialect> LookbackStore for SqlStore<D> {
    async fn fulfilled_purchases(
        &self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<FulfilledPurchase>, StoreError> {
        ask!(self.pools, Read, |c| sessions::fulfilled::<D>(
            &mut c, sessions, payments
        ))
    }

    async fn begin_run(&self, run: &LookbackRun) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| runs::begin::<D>(&mut c, run))
    }

    async fn run(&self, id: &str) -> Result<Option<LookbackRun>, StoreError> {
        ask!(self.pools, Read, |c| runs::one::<D>(&mut c, id))
    }

    async fn live_run(&self, key: &str) -> Result<Option<LookbackRun>, StoreError> {
        ask!(self.pools, Read, |c| runs::live::<D>(&mut c, key))
    }

    async fn runs(&self, limit: u32) -> Result<Vec<LookbackRun>, StoreError> {
        ask!(self.pools, Read, |c| runs::list::<D>(&mut c, limit))
    }

    async fn failed_account_syncs(&self, since: DateTime<Utc>) -> Result<Vec<LookbackRun>, StoreError> {
        ask!(self.pools, Read, |c| runs::failed_account_syncs::<D>(
            &mut c, since
        ))
    }

    async fn delete_run(&self, id: &str) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| runs::drop_waiting::<D>(&mut c, id))
    }

    async fn save_step(
        &self,
        before: &LookbackRun,
        step: &RunStep,
        found: &[FoundSession],
    ) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| runs::step::<D>(
            &mut c, before, step, found
        ))
    }

    async fn advance_slice(&self, id: &str, slice: u32) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| runs::advance_slice::<D>(&mut c, id, slice))
    }

    async fn end_run(
        &self,
        id: &str,
        phase: RunPhase,
        counts: RunCounts,
        error: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| runs::end::<D>(
            &mut c, id, phase, counts, error, at
        ))?;
        drop_sessions(&self.pools, id, false).await
    }

    async fn delete_runs(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let old = ask!(self.pools, Read, |c| runs::old::<D>(&mut c, before, limit))?;
        for id in &old {
            drop_sessions(&self.pools, id, true).await?;
            ask!(self.pools, Write, |c| runs::drop_one::<D>(&mut c, id))?;
        }
        Ok(old.len() as u64)
    }

    async fn found_customers(&self, run: &str, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        ask!(self.pools, Read, |c| sessions::customers::<D>(
            &mut c, run, after, limit
        ))
    }

    async fn found_sessions(
        &self,
        run: &str,
        customer: Option<&str>,
        states: &[SessionState],
        after: &str,
        limit: u32,
    ) -> Result<Vec<FoundSession>, StoreError> {
        ask!(self.pools, Read, |c| sessions::list::<D>(
            &mut c, run, customer, states, after, limit
        ))
    }

    async fn save_sessions(&self, run: &str, sessions: &[FoundSession]) -> Result<(), StoreError> {
        let note = SessionBatch {
            run: run.to_owned(),
            sessions: sessions.to_vec(),
        };
        match timeout(2 * STATEMENT, self.session_batches.call(note)).await {
            Ok(Ok(noted)) => noted,
            Ok(Err(unanswered)) => Err(StoreError::Outage(unanswered.to_string())),
            Err(_) => Err(StoreError::Outage("the store is not keeping up".to_owned())),
        }
    }

    async fn count_sessions(&self, run: &str) -> Result<RunCounts, StoreError> {
        ask!(self.pools, Read, |c| sessions::count::<D>(&mut c, run))
    }

    async fn recent_buyers(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RecentBuyer>, StoreError> {
        ask!(self.pools, Read, |c| sessions::buyers::<D>(
            &mut c, run, after, limit
        ))
    }

    async fn known_sessions(&self, run: &LookbackRun, most: u32) -> Result<u64, StoreError> {
        ask!(self.pools, Read, |c| sessions::known::<D>(&mut c, run, most))
    }

    async fn logged_sessions(
        &self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        ask!(self.pools, Read, |c| sessions::logged::<D>(
            &mut c, run, after, limit
        ))
    }

    async fn pending_sessions(
        &self,
        account: Option<&str>,
        customers: &[&str],
        from: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        ask!(self.pools, Read, |c| pending_sessions::list::<D>(
            &mut c, account, customers, from, limit
        ))
    }

    async fn remove_pending_sessions(&self, sessions: &[&str]) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| pending_sessions::close::<D>(
            &mut c, sessions
        ))
    }

    async fn delete_old_pending_sessions(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let portion = ask!(self.pools, Write, |c| pending_sessions::drop_old::<D>(
                &mut c, before
            ))?;
            dropped += portion;
            if portion < u64::from(sessions::BATCH_SIZE) {
                return Ok(dropped);
            }
        }
    }

    async fn raise_watermark(&self, mark: &Watermark) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| watermarks::raise::<D>(&mut c, mark))
    }

    async fn watermarks(&self) -> Result<Vec<Watermark>, StoreError> {
        ask!(self.pools, Read, |c| watermarks::list::<D>(&mut c))
    }
}
