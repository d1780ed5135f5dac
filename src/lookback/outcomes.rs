//! Reads what became of a run's enqueued sessions.

use std::collections::HashSet;
use std::sync::Arc;

use super::cases::{Case, Cases};
use super::enqueue_missing::dead_letter_message;
use super::{Lookback, LookbackError, RunId};
use crate::fulfil::{ExpectedSubscription, Purchase, Tenants, job_id};
use crate::queue::JobStatus;
use crate::store::{FoundSession, FulfilledPurchase, LookbackRun, RunPhase, SessionState};

/// Rows in one query.
const BATCH_SIZE: u32 = 500;

impl Lookback {
    /// Updates the state of each enqueued session of the run.
    pub(super) async fn update_outcomes(&self, run: &LookbackRun) -> Result<(), LookbackError> {
        let mut after = String::new();
        loop {
            let rows = self
                .records()
                .found_sessions(&run.id, None, &[SessionState::Enqueued], &after, BATCH_SIZE)
                .await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.session);
            let is_last = rows.len() < BATCH_SIZE as usize;
            self.update_batch(run, rows).await?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// Whether a customer's run may be over. Runs at most two statements, so it can be called often.
    /// [`Self::update`] then ends the run.
    ///
    /// # Errors
    /// [`LookbackError`].
    pub async fn may_be_over(&self, run: &RunId) -> Result<bool, LookbackError> {
        let Some(row) = self.records().run(run.as_str()).await? else {
            return Ok(true);
        };
        let statuses = match row.phase {
            phase if phase.is_over() => return Ok(true),
            RunPhase::Settling => {
                let rows = self
                    .records()
                    .found_sessions(&row.id, None, &[SessionState::Enqueued], "", BATCH_SIZE)
                    .await?;
                if rows.is_empty() {
                    return Ok(true);
                }
                let jobs: Vec<String> = rows.iter().map(job_of).collect();
                self.fulfil.job_statuses(&jobs).await?
            }
            _ => self.sync.job_statuses(&[row.key]).await?,
        };
        Ok(statuses.iter().any(|status| *status != JobStatus::Live))
    }

    /// The sessions without a job that are not purchases of a pass.
    async fn not_passes(
        &self,
        rows: &[(FoundSession, Option<Purchase>)],
        statuses: &[JobStatus],
    ) -> Result<HashSet<String>, LookbackError> {
        let tenants = Tenants::new(Arc::clone(&self.store), self.clock.clone());
        let mut not_passes = HashSet::new();
        for ((_, purchase), status) in rows.iter().zip(statuses) {
            if let (JobStatus::Gone, Some(purchase)) = (status, purchase)
                && matches!(
                    tenants.expected(purchase, self.unmatched).await?,
                    ExpectedSubscription::NotAPass(_)
                )
            {
                not_passes.insert(purchase.session_id.clone());
            }
        }
        Ok(not_passes)
    }

    async fn update_batch(&self, run: &LookbackRun, rows: Vec<FoundSession>) -> Result<(), LookbackError> {
        let rows: Vec<(FoundSession, Option<Purchase>)> = rows
            .into_iter()
            .map(|row| {
                let purchase = row.purchase.as_deref();
                let purchase = purchase.and_then(|json| serde_json::from_str(json).ok());
                (row, purchase)
            })
            .collect();
        let jobs: Vec<String> = rows.iter().map(|(row, _)| job_of(row)).collect();
        // The queue is read first: a job leaves it only after its subscription is stored.
        let statuses = self.fulfil.job_statuses(&jobs).await?;
        let sessions: Vec<&str> = rows.iter().map(|(row, _)| row.session.as_str()).collect();
        let payments: Vec<&str> = rows
            .iter()
            .filter_map(|(_, purchase)| purchase.as_ref()?.payment_intent.as_deref())
            .collect();
        let held = self.store.subscriptions().fulfilled(&sessions, &payments).await?;
        // Likewise, a job leaves the queue only after its case is stored.
        let cases = self.cases(&sessions).await?;
        let not_passes = self.not_passes(&rows, &statuses).await?;
        let is_ours = |purchase: &Purchase| !not_passes.contains(&purchase.session_id);
        let mut settled = Vec::new();
        for (((row, purchase), job), status) in rows.into_iter().zip(jobs).zip(statuses) {
            if let Some((state, error)) =
                outcome(run, &row, purchase.as_ref(), &job, status, &held, &cases, is_ours)
            {
                settled.push(FoundSession {
                    state,
                    error,
                    purchase: None,
                    ..row
                });
            }
        }
        if !settled.is_empty() {
            self.records().save_sessions(&run.id, &settled).await?;
            let has_end = |state| !matches!(state, SessionState::Dead | SessionState::Failed);
            let closed: Vec<&str> = settled
                .iter()
                .filter(|row| has_end(row.state))
                .map(|row| row.session.as_str())
                .collect();
            self.records().remove_pending_sessions(&closed).await?;
        }
        Ok(())
    }

    /// Ends a run in its present state.
    pub(super) async fn end_run(
        &self,
        run: &str,
        phase: RunPhase,
        error: Option<&str>,
    ) -> Result<(), LookbackError> {
        let counts = self.records().count_sessions(run).await?;
        let now = self.clock.now();
        Ok(self.records().end_run(run, phase, counts, error, now).await?)
    }
}

/// The id of the job of a session.
fn job_of(row: &FoundSession) -> String {
    job_id(&row.session, None)
}

/// The final state of a session. `None`: its job is still live.
#[expect(clippy::too_many_arguments, reason = "all that is known of one session")]
fn outcome(
    run: &LookbackRun,
    row: &FoundSession,
    purchase: Option<&Purchase>,
    job: &str,
    status: JobStatus,
    held: &[FulfilledPurchase],
    cases: &Cases,
    is_ours: impl Fn(&Purchase) -> bool,
) -> Option<(SessionState, Option<String>)> {
    if let Some(own) = held.iter().find(|one| one.session == row.session) {
        let state = if own.via == run.via {
            SessionState::Created
        } else {
            SessionState::Existing
        };
        return Some((state, None));
    }
    let payment = purchase.and_then(|purchase| purchase.payment_intent.as_ref());
    if payment.is_some_and(|payment| held.iter().any(|one| one.payment.as_ref() == Some(payment))) {
        return Some((SessionState::Existing, None));
    }
    if status == JobStatus::Gone
        && let Some(case) = cases.of(&row.session)
    {
        return Some(match case {
            Case::Open(advice) => (SessionState::Dead, Some(advice)),
            Case::Closed => (SessionState::Ignored, None),
        });
    }
    match status {
        JobStatus::Live => None,
        JobStatus::Dead { reason, .. } => Some((SessionState::Dead, Some(dead_letter_message(job, &reason)))),
        // Fulfilment came to the same result; only such jobs end without a trace.
        JobStatus::Gone if purchase.is_some_and(|purchase| !is_ours(purchase)) => {
            Some((SessionState::Ignored, None))
        }
        JobStatus::Gone => Some((
            SessionState::Failed,
            Some("job_gone: the job was removed and there is no subscription; it may have been discarded. Run the sync again".to_owned()),
        )),
    }
}
