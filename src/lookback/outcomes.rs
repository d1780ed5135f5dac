//! Reads what became of a run's enqueued sessions.

use std::sync::Arc;

use super::cases::Case;
use super::enqueue_missing::dead_letter_message;
use super::{Lookback, LookbackError, RunId};
use crate::fulfil::{ExpectedSubscription, Purchase, Tenants, job_id};
use crate::queue::JobStatus;
use crate::store::{FoundSession, LookbackRun, RunPhase, SessionState};

/// Rows in one query.
const BATCH_SIZE: u32 = 500;
const JOB_GONE: &str = "job_gone: the job was removed and there is no subscription; it may have been discarded. Run the sync again";

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

    async fn update_batch(&self, run: &LookbackRun, rows: Vec<FoundSession>) -> Result<(), LookbackError> {
        let read = |row: FoundSession| {
            let purchase = row.purchase.as_deref();
            let purchase: Option<Purchase> = purchase.and_then(|json| serde_json::from_str(json).ok());
            (row, purchase)
        };
        let rows: Vec<_> = rows.into_iter().map(read).collect();
        let jobs: Vec<String> = rows.iter().map(|(row, _)| job_of(row)).collect();
        // The queue is read first: a job leaves it only after its subscription or its case is stored.
        let statuses = self.fulfil.job_statuses(&jobs).await?;
        let sessions: Vec<&str> = rows.iter().map(|(row, _)| row.session.as_str()).collect();
        let purchases = rows.iter().filter_map(|(_, purchase)| purchase.as_ref());
        let fulfilled = self.fulfilled(&sessions, purchases).await?;
        let cases = self.cases(&sessions).await?;
        let tenants = Tenants::new(Arc::clone(&self.store), self.clock.clone());
        let (mut settled, mut closed) = (Vec::new(), Vec::new());
        for ((row, purchase), status) in rows.iter().zip(statuses) {
            let (state, error) = match (fulfilled.via(&row.session), status) {
                (Some(via), _) if via == run.via => (SessionState::Created, None),
                (Some(_), _) => (SessionState::Existing, None),
                _ if fulfilled.contains(&row.session, purchase.as_ref()) => (SessionState::Existing, None),
                (None, JobStatus::Live) => continue,
                (None, JobStatus::Dead { reason, .. }) => {
                    let message = dead_letter_message(&job_of(row), &reason);
                    (SessionState::Dead, Some(message))
                }
                (None, JobStatus::Gone) => match cases.of(&row.session) {
                    Some(Case::Open(advice)) => (SessionState::Dead, Some(advice)),
                    Some(Case::Closed) => (SessionState::Ignored, None),
                    // Fulfilment came to the same result; only such jobs end without a trace.
                    None if self.is_no_pass(&tenants, purchase.as_ref()).await? => {
                        (SessionState::Ignored, None)
                    }
                    None => (SessionState::Failed, Some(JOB_GONE.to_owned())),
                },
            };
            if !matches!(state, SessionState::Dead | SessionState::Failed) {
                closed.push(row.session.as_str());
            }
            settled.push(FoundSession {
                session: row.session.clone(),
                customer: row.customer.clone(),
                state,
                error,
                purchase: None,
            });
        }
        if !settled.is_empty() {
            self.records().save_sessions(&run.id, &settled).await?;
            self.records().remove_pending_sessions(&closed).await?;
        }
        Ok(())
    }

    async fn is_no_pass(
        &self,
        tenants: &Tenants,
        purchase: Option<&Purchase>,
    ) -> Result<bool, LookbackError> {
        let Some(purchase) = purchase else {
            return Ok(false);
        };
        let expected = tenants.expected(purchase, self.unmatched).await?;
        Ok(matches!(expected, ExpectedSubscription::NotAPass(_)))
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
