//! What became of what was handed in.

use std::collections::HashSet;
use std::sync::Arc;

use super::cases::{Case, Cases};
use super::enqueue_missing::dead_letter_message;
use super::{Lookback, LookbackError, RunId};
use crate::fulfil::{Due, Purchase, Tenants, job_id};
use crate::queue::JobStatus;
use crate::store::{FoundSession, HeldPurchase, LookbackRun, RunCounts, RunPhase, SessionState};

/// Looked at in one go.
const TOGETHER: u32 = 500;

impl Lookback {
    /// Notes of each session that was on its way whether it has arrived, and counts.
    pub(super) async fn settle(&self, run: &LookbackRun) -> Result<RunCounts, LookbackError> {
        let mut after = String::new();
        loop {
            let rows = self
                .records()
                .found_sessions(&run.id, None, &[SessionState::Enqueued], &after, TOGETHER)
                .await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.session);
            let is_last = rows.len() < TOGETHER as usize;
            self.settle_part(run, rows).await?;
            if is_last {
                break;
            }
        }
        Ok(self.records().tally(&run.id).await?)
    }

    /// Whether a customer's run may have come to its end since the last report. Writes nothing and costs two statements at
    /// most, so it can be asked often; [`Self::report`] then settles it.
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
                    .found_sessions(&row.id, None, &[SessionState::Enqueued], "", TOGETHER)
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

    /// The sessions without a job that are no purchases of ours.
    async fn nobodys(
        &self,
        rows: &[(FoundSession, Option<Purchase>)],
        statuses: &[JobStatus],
    ) -> Result<HashSet<String>, LookbackError> {
        let tenants = Tenants::new(Arc::clone(&self.store), self.clock.clone());
        let mut nobodys = HashSet::new();
        for ((_, purchase), status) in rows.iter().zip(statuses) {
            if let (JobStatus::Gone, Some(purchase)) = (status, purchase)
                && matches!(tenants.due(purchase, self.unmatched).await?, Due::Nothing(_))
            {
                nobodys.insert(purchase.session_id.clone());
            }
        }
        Ok(nobodys)
    }

    async fn settle_part(&self, run: &LookbackRun, rows: Vec<FoundSession>) -> Result<(), LookbackError> {
        let rows: Vec<(FoundSession, Option<Purchase>)> = rows
            .into_iter()
            .map(|row| {
                let purchase = row.purchase.as_deref();
                let purchase = purchase.and_then(|json| serde_json::from_str(json).ok());
                (row, purchase)
            })
            .collect();
        let jobs: Vec<String> = rows.iter().map(|(row, _)| job_of(row)).collect();
        // The queue first: a job that is gone by now has left its subscription in the store before.
        let statuses = self.fulfil.job_statuses(&jobs).await?;
        let sessions: Vec<&str> = rows.iter().map(|(row, _)| row.session.as_str()).collect();
        let payments: Vec<&str> = rows
            .iter()
            .filter_map(|(_, purchase)| purchase.as_ref()?.payment_intent.as_deref())
            .collect();
        let held = self.records().held(&sessions, &payments).await?;
        // A job that is gone by now has written its case before.
        let cases = self.cases(&sessions).await?;
        let nobodys = self.nobodys(&rows, &statuses).await?;
        let is_ours = |purchase: &Purchase| !nobodys.contains(&purchase.session_id);
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
            self.records().note_sessions(&run.id, &settled).await?;
            let has_end = |state| !matches!(state, SessionState::Dead | SessionState::Failed);
            let closed: Vec<&str> = settled
                .iter()
                .filter(|row| has_end(row.state))
                .map(|row| row.session.as_str())
                .collect();
            self.records().close_sessions(&closed).await?;
        }
        Ok(())
    }

    /// Ends a run as it stands.
    pub(super) async fn end(
        &self,
        run: &str,
        phase: RunPhase,
        error: Option<&str>,
    ) -> Result<RunCounts, LookbackError> {
        let counts = self.records().tally(run).await?;
        let now = self.clock.now();
        self.records().end_run(run, phase, counts, error, now).await?;
        // Whoever was first has counted before the rows were dropped.
        let ended = self.records().run(run).await?;
        Ok(ended.map_or(counts, |run| run.counts))
    }
}

/// The job that was handed in for a session.
fn job_of(row: &FoundSession) -> String {
    job_id(&row.session, None)
}

/// What became of one session; `None`: it is still on its way.
#[expect(clippy::too_many_arguments, reason = "all that is known of one session")]
fn outcome(
    run: &LookbackRun,
    row: &FoundSession,
    purchase: Option<&Purchase>,
    job: &str,
    status: JobStatus,
    held: &[HeldPurchase],
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
        // Fulfilment has found the same: no other job goes without a trace.
        JobStatus::Gone if purchase.is_some_and(|purchase| !is_ours(purchase)) => {
            Some((SessionState::Ignored, None))
        }
        JobStatus::Gone => Some((
            SessionState::Failed,
            Some("job_gone: its job is gone and there is no subscription: was it discarded?".to_owned()),
        )),
    }
}
