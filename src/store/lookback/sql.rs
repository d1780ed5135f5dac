//! The lookback's records in an SQL database.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::time::timeout;

use super::{
    FoundSession, HeldPurchase, LookbackMark, LookbackRun, LookbackStore, RecentBuyer, RunCounts, RunPhase,
    RunStep, SessionState, marks, open, runs, sessions,
};
use crate::batcher::{BatchLimits, Batcher};
use crate::store::dialect::Dialect;
use crate::store::pools::{Pools, ask};
use crate::store::sql::SqlStore;
use crate::store::{STATEMENT, StoreError};

/// Sessions of a run, on their way to the store.
#[derive(Debug)]
pub(in crate::store) struct Note {
    pub(super) run: String,
    pub(super) sessions: Vec<FoundSession>,
}

/// Notes of many customers at once are stored in one transaction: a commit for each would make a night of them.
pub(in crate::store) fn notes<D: Dialect>(pools: &Arc<Pools<D>>) -> Batcher<Note, Result<(), StoreError>> {
    let pools = Arc::clone(pools);
    let limits = BatchLimits {
        batch: 128,
        waiting: 1_024,
        parallel: 1,
    };
    Batcher::start(limits, move |batch: Vec<Note>| {
        let pools = Arc::clone(&pools);
        async move {
            let noted = store_notes(&pools, &batch).await;
            vec![noted; batch.len()]
        }
    })
}

async fn store_notes<D: Dialect>(pools: &Pools<D>, batch: &[Note]) -> Result<(), StoreError> {
    ask!(pools, Write, |c| sessions::note::<D>(&mut c, batch))
}

/// In portions: between two of them the writer is free.
async fn drop_sessions<D: Dialect>(pools: &Pools<D>, run: &str, all: bool) -> Result<(), StoreError> {
    let mut after = Some(String::new());
    while let Some(from) = &after {
        after = ask!(pools, Write, |c| sessions::drop_portion::<D>(
            &mut c, run, from, all
        ))?;
    }
    Ok(())
}

#[async_trait]
impl<D: Dialect> LookbackStore for SqlStore<D> {
    async fn held(&self, sessions: &[&str], payments: &[&str]) -> Result<Vec<HeldPurchase>, StoreError> {
        ask!(self.pools, Read, |c| sessions::held::<D>(
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

    async fn failed_sweeps(&self, since: DateTime<Utc>) -> Result<Vec<LookbackRun>, StoreError> {
        ask!(self.pools, Read, |c| runs::failed_sweeps::<D>(&mut c, since))
    }

    async fn drop_run(&self, id: &str) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| runs::drop_waiting::<D>(&mut c, id))
    }

    async fn step_run(
        &self,
        before: &LookbackRun,
        step: &RunStep,
        found: &[FoundSession],
    ) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| runs::step::<D>(
            &mut c, before, step, found
        ))
    }

    async fn hand_on_run(&self, id: &str, slice: u32) -> Result<bool, StoreError> {
        ask!(self.pools, Write, |c| runs::hand_on::<D>(&mut c, id, slice))
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

    async fn drop_runs(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
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

    async fn note_sessions(&self, run: &str, sessions: &[FoundSession]) -> Result<(), StoreError> {
        let note = Note {
            run: run.to_owned(),
            sessions: sessions.to_vec(),
        };
        match timeout(2 * STATEMENT, self.notes.call(note)).await {
            Ok(Ok(noted)) => noted,
            Ok(Err(unanswered)) => Err(StoreError::Outage(unanswered.to_string())),
            Err(_) => Err(StoreError::Outage("the store is not keeping up".to_owned())),
        }
    }

    async fn tally(&self, run: &str) -> Result<RunCounts, StoreError> {
        ask!(self.pools, Read, |c| sessions::tally::<D>(&mut c, run))
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

    async fn open_sessions(
        &self,
        account: Option<&str>,
        customers: &[&str],
        from: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        ask!(self.pools, Read, |c| open::list::<D>(
            &mut c, account, customers, from, limit
        ))
    }

    async fn close_sessions(&self, sessions: &[&str]) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| open::close::<D>(&mut c, sessions))
    }

    async fn drop_open_sessions(&self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut dropped = 0;
        loop {
            let portion = ask!(self.pools, Write, |c| open::drop_old::<D>(&mut c, before))?;
            dropped += portion;
            if portion < u64::from(sessions::PORTION) {
                return Ok(dropped);
            }
        }
    }

    async fn raise_mark(&self, mark: &LookbackMark) -> Result<(), StoreError> {
        ask!(self.pools, Write, |c| marks::raise::<D>(&mut c, mark))
    }

    async fn marks(&self) -> Result<Vec<LookbackMark>, StoreError> {
        ask!(self.pools, Read, |c| marks::list::<D>(&mut c))
    }
}
