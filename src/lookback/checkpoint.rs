//! The checkpoint of a customer's sync: what earlier attempts found, and how far they read.

use std::collections::{BTreeMap, HashMap};

use super::customer_scan::ScanResult;
use super::enqueue_missing::{Candidate, Lane, Unfinished};
use super::{Lookback, LookbackError};
use crate::store::{FoundSession, LookbackRun, RunPhase, RunStep, SessionState};

/// More sessions than are stored for any customer.
const MAX_STORED: u32 = 10_000;
const TOO_MANY: &str =
    "too_many_sessions: more than 10,000 in one account; run `surepass sync --all` for the rest";
/// The name of the key's own account among the positions. No account id is equal to it.
const OWN_ACCOUNT: &str = "own";

/// One attempt at a customer's sync.
pub(super) struct SyncAttempt<'a> {
    pub(super) run: &'a LookbackRun,
    /// Sessions that the run has stored, and whether they must be tried again.
    known_sessions: HashMap<String, bool>,
    /// By account, the last session up to which the list was read and enqueued. `None`: the whole list.
    positions: BTreeMap<String, Option<String>>,
    pub(super) unfinished: Unfinished,
}

impl SyncAttempt<'_> {
    /// Where the account's list continues.
    pub(super) fn position(&self, account: Option<&str>) -> ListPosition {
        match self.positions.get(account.unwrap_or(OWN_ACCOUNT)) {
            None => ListPosition::After(None),
            Some(None) => ListPosition::End,
            Some(after) => ListPosition::After(after.clone()),
        }
    }

    /// Records that the list was read and enqueued up to here.
    pub(super) fn set_position(&mut self, account: Option<&str>, position: ListPosition) {
        let after = match position {
            ListPosition::After(after) => after,
            ListPosition::End => None,
        };
        self.positions
            .insert(account.unwrap_or(OWN_ACCOUNT).to_owned(), after);
    }
}

/// A position in a list.
pub(super) enum ListPosition {
    /// After this session. `None`: from the beginning.
    After(Option<String>),
    End,
}

impl Lookback {
    pub(super) async fn attempt<'a>(&self, run: &'a LookbackRun) -> Result<SyncAttempt<'a>, LookbackError> {
        Ok(SyncAttempt {
            run,
            known_sessions: self.known_sessions(run).await?,
            // No checkpoint yet, or one of another version of Surepass: start from the beginning.
            positions: serde_json::from_str(&run.cursor).unwrap_or_default(),
            unfinished: Unfinished::default(),
        })
    }

    /// Enqueues the candidates of an account and stores them in the run. Returns whether all were enqueued.
    pub(super) async fn enqueue_candidates(
        &self,
        attempt: &mut SyncAttempt<'_>,
        account: Option<&str>,
        result: &mut ScanResult,
    ) -> Result<bool, LookbackError> {
        let mut candidates = std::mem::take(&mut result.candidates);
        // Sessions that an earlier attempt enqueued keep their state.
        candidates.retain(|one| attempt.known_sessions.get(&one.row.session) != Some(&false));
        self.enqueue_missing(account, attempt.run.via, Lane::Fresh, &mut candidates)
            .await?;
        attempt.unfinished.add(&candidates);
        let rows: Vec<FoundSession> = candidates.iter().map(Candidate::row).collect::<Result<_, _>>()?;
        for rows in rows.chunks(500) {
            self.records().save_sessions(&attempt.run.id, rows).await?;
        }
        Ok(!rows.iter().any(|row| needs_retry(row.state)))
    }

    /// Stores in the run how far the attempt has read.
    pub(super) async fn save_checkpoint(
        &self,
        attempt: &SyncAttempt<'_>,
        result: &mut ScanResult,
    ) -> Result<(), LookbackError> {
        let run = self.records().run(&attempt.run.id).await?;
        let step = RunStep {
            phase: RunPhase::Listing,
            cursor: serde_json::to_string(&attempt.positions).map_err(crate::queue::QueueError::from)?,
            pages: std::mem::take(&mut result.pages),
            unreadable: std::mem::take(&mut result.unreadable),
            error: result.too_many.then(|| TOO_MANY.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        let run = run.as_ref().unwrap_or(attempt.run);
        self.records().save_step(run, &step, &[]).await?;
        Ok(())
    }

    /// Sessions that the run has stored, and whether they must be tried again.
    async fn known_sessions(&self, run: &LookbackRun) -> Result<HashMap<String, bool>, LookbackError> {
        let rows = self
            .records()
            .found_sessions(&run.id, None, &SessionState::ALL, "", MAX_STORED)
            .await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.session, needs_retry(row.state)))
            .collect())
    }
}

fn needs_retry(state: SessionState) -> bool {
    matches!(state, SessionState::Staged | SessionState::Failed)
}
