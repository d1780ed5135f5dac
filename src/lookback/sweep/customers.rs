//! The customers of a sweep: who they are, and the job of each.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::{Next, go};
use crate::fulfil::is_session_id;
use crate::lookback::enqueue_missing::{Candidate, Lane, Unfinished};
use crate::lookback::{Customer, Lookback, LookbackError, LookbackJob, RunId, SweepRequest, SyncRequest};
use crate::queue::{Enqueued, Item, Job, JobStatus};
use crate::store::{CreatedVia, FoundSession, LookbackRun, RecentBuyer, RunPhase, RunStep, SessionState};

/// Looked at in one go.
const TOGETHER: u32 = 500;
/// For how long a customer who was enqueued for a run is not enqueued for it again: longer than a sweep enqueues.
const ONCE: Duration = Duration::from_hours(6);
/// Sweeps of a shorter span do not ask after buyers: their webhooks have just come, and each costs a call.
const SHORTEST_FOR_BUYERS: TimeDelta = TimeDelta::days(1);
/// What the cursor begins with once the customers of the listing are through; no key holds it.
const BUYERS: &str = "@";

impl Lookback {
    /// Adds the sessions that our own event log knows of and that have neither a subscription nor a place in Stripe's
    /// list, such as one that was created before the window and paid for in it. Each is a customer of its own.
    pub(super) async fn gather(&self, run: &mut LookbackRun) -> Result<Next, LookbackError> {
        let sessions = self.records().logged_sessions(run, &run.cursor, TOGETHER).await?;
        let is_last = sessions.len() < TOGETHER as usize;
        let step = RunStep {
            phase: if is_last {
                RunPhase::Enqueueing
            } else {
                RunPhase::Gathering
            },
            cursor: sessions.last().filter(|_| !is_last).cloned().unwrap_or_default(),
            ..RunStep::at(self.clock.now())
        };
        let rows: Vec<FoundSession> = sessions
            .iter()
            .filter(|session| is_session_id(session))
            .map(|session| Candidate::new(session, session.clone(), None).row())
            .collect::<Result<_, _>>()?;
        Ok(go(self.step(run, step, &rows).await?))
    }

    /// Enqueues the jobs of the customers whose sessions are staged, at once, though the list is not read to its end. The
    /// jobs of all customers follow when it is; they find nothing more to do for these.
    pub(super) async fn enqueue_staged(&self, run: &LookbackRun) -> Result<(), LookbackError> {
        let mut after = String::new();
        loop {
            let rows = self
                .records()
                .found_sessions(&run.id, None, &[SessionState::Staged], &after, TOGETHER)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after.clone_from(&last.session);
            let customers: BTreeSet<&str> = rows.iter().map(|row| row.customer.as_str()).collect();
            let items: Vec<Item> = customers
                .into_iter()
                .map(|key| job(run, key).item())
                .collect::<Result<_, _>>()?;
            self.sync.enqueue(&items).await?;
        }
    }

    /// Enqueues a job for each customer: those of whom a session was found, then those who have bought in the window by
    /// our own records and of whom the list held nothing. Stripe is asked about each of these: one call.
    pub(super) async fn enqueue_customers(
        &self,
        request: &SweepRequest,
        run: &mut LookbackRun,
    ) -> Result<Next, LookbackError> {
        let (items, count, last, is_buyers) = match run.cursor.strip_prefix(BUYERS) {
            None => {
                let keys = self
                    .records()
                    .found_customers(&run.id, &run.cursor, TOGETHER)
                    .await?;
                let items: Vec<Item> = keys
                    .iter()
                    .map(|key| spread_out(request, run, key, &job(run, key)))
                    .collect::<Result<_, _>>()?;
                (items, keys.len(), keys.last().cloned(), false)
            }
            Some(_) if run.to - run.from < SHORTEST_FOR_BUYERS => (Vec::new(), 0, None, true),
            Some(after) => {
                let buyers = self.records().recent_buyers(run, after, TOGETHER).await?;
                let items: Vec<Item> = buyers
                    .iter()
                    .filter_map(|buyer| Some((buyer, buyers_job(run, buyer)?)))
                    .map(|(buyer, job)| spread_out(request, run, &buyer.key, &job))
                    .collect::<Result<_, _>>()?;
                let count = buyers.len();
                (
                    items,
                    count,
                    buyers.into_iter().last().map(|buyer| buyer.key),
                    true,
                )
            }
        };
        let answers = self.sync.enqueue(&items).await?;
        let new = answers.iter().filter(|answer| **answer == Enqueued::New).count();
        let goes_on = count == TOGETHER as usize;
        let step = RunStep {
            phase: if !goes_on && is_buyers {
                RunPhase::Settling
            } else {
                RunPhase::Enqueueing
            },
            cursor: match (goes_on, is_buyers, last) {
                (true, true, Some(last)) => format!("{BUYERS}{last}"),
                (true, false, Some(last)) => last,
                (_, true, _) => String::new(),
                (_, false, _) => BUYERS.to_owned(),
            },
            customers: new as u64,
            ..RunStep::at(self.clock.now())
        };
        Ok(go(self.step(run, step, &[]).await?))
    }

    /// Brings what a sweep has staged of one customer.
    ///
    /// # Errors
    /// [`LookbackError`]; passing ones are worth another attempt.
    pub(in crate::lookback) async fn sync_listed(
        &self,
        run: &RunId,
        customer: &str,
    ) -> Result<(), LookbackError> {
        // What has failed is tried again by a job that a person retries.
        let states = [SessionState::Staged, SessionState::Failed];
        let staged = async |after: &str| {
            let customer = Some(customer);
            self.records()
                .found_sessions(run.as_str(), customer, &states, after, TOGETHER)
                .await
        };
        // Of most customers nothing is missing. Nor is anything staged of a run that is over.
        let mut rows = staged("").await?;
        if rows.is_empty() {
            return Ok(());
        }
        let Some(run) = self.records().run(run.as_str()).await? else {
            return Ok(());
        };
        let mut unfinished = Unfinished::default();
        while let Some(last) = rows.last() {
            let after = last.session.clone();
            let is_last = rows.len() < TOGETHER as usize;
            let mut found: Vec<Candidate> = std::mem::take(&mut rows)
                .into_iter()
                .map(|row| {
                    let json = row.purchase.as_deref();
                    let purchase = json.and_then(|json| serde_json::from_str(json).ok());
                    Candidate::new(&row.session, row.customer, purchase)
                })
                .collect();
            self.enqueue_missing(run.account.as_deref(), run.via, Lane::Lookback, &mut found)
                .await?;
            let settled: Vec<FoundSession> = found.iter().map(Candidate::row).collect::<Result<_, _>>()?;
            self.records().note_sessions(&run.id, &settled).await?;
            unfinished.add(&found);
            if !is_last {
                rows = staged(&after).await?;
            }
        }
        unfinished.into_result()
    }

    /// Sessions that are still staged after all customers' jobs should have run: where the job is dead, so are they; where
    /// there is none, it is enqueued again.
    pub(super) async fn look_after(&self, run: &LookbackRun) -> Result<(), LookbackError> {
        let rows = self
            .records()
            .found_sessions(&run.id, None, &[SessionState::Staged], "", TOGETHER)
            .await?;
        let jobs: Vec<LookbackJob> = rows.iter().map(|row| job(run, &row.customer)).collect();
        let ids: Vec<String> = jobs.iter().filter_map(Job::key).collect();
        let statuses = self.sync.job_statuses(&ids).await?;
        let (mut dead, mut lost) = (Vec::new(), Vec::new());
        for (((row, job), id), status) in rows.into_iter().zip(jobs).zip(ids).zip(statuses) {
            match status {
                JobStatus::Live => {}
                JobStatus::Gone => lost.push(job.item()?),
                JobStatus::Dead { reason, .. } => dead.push(FoundSession {
                    state: SessionState::Failed,
                    purchase: None,
                    error: Some(format!("{reason}: the job `{id}` is a dead letter")),
                    ..row
                }),
            }
        }
        self.sync.enqueue(&lost).await?;
        if !dead.is_empty() {
            self.records().note_sessions(&run.id, &dead).await?;
        }
        Ok(())
    }
}

/// The job of one customer, once for the run, somewhere in the span over which they are spread: always at the same place.
fn spread_out(
    request: &SweepRequest,
    run: &LookbackRun,
    key: &str,
    job: &LookbackJob,
) -> Result<Item, LookbackError> {
    let digest = Sha256::digest(key);
    let place = f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    let delay = Duration::from_secs(request.spread_seconds.into()).mul_f64(place);
    let once = format!("listed:{}:{key}", run.id);
    Ok(job.item()?.after(delay).dedupe(once, ONCE))
}

/// The job of a buyer of whom the list held nothing. Asked for by their Stripe customer, else by their email, Stripe may
/// know what its whole list did not show. `None`: there is nothing to ask by.
fn buyers_job(run: &LookbackRun, buyer: &RecentBuyer) -> Option<LookbackJob> {
    let customer = match (&buyer.stripe_customer, &buyer.email) {
        (Some(id), _) => Customer::StripeCustomer(id.clone()),
        (None, Some(email)) => Customer::Email(email.clone()),
        (None, None) => return None,
    };
    let days = (run.to - run.from).num_days().clamp(1, 3_650);
    Some(LookbackJob::Sync(SyncRequest {
        tenant: Some(buyer.tenant_slug.clone()),
        customer,
        days: u32::try_from(days).unwrap_or(1),
        via: CreatedVia::Lookback,
        run: None,
    }))
}

fn job(run: &LookbackRun, key: &str) -> LookbackJob {
    LookbackJob::Sync(SyncRequest {
        tenant: None,
        customer: Customer::Listed(key.to_owned()),
        days: 1,
        via: run.via,
        run: Some(RunId::from(run.id.clone())),
    })
}
