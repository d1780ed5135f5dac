//! Enqueues one job for each customer of an account sync.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::{Next, continue_if};
use crate::fulfil::is_session_id;
use crate::lookback::enqueue_missing::{Candidate, Lane, Unfinished};
use crate::lookback::{
    AccountSyncRequest, Customer, Lookback, LookbackError, LookbackJob, RunId, SyncRequest,
};
use crate::queue::{Enqueued, Item, Job, JobStatus};
use crate::store::{CreatedVia, FoundSession, LookbackRun, RecentBuyer, RunPhase, RunStep, SessionState};

/// Rows in one query.
const BATCH_SIZE: u32 = 500;
/// How long a customer enqueued for a run is not enqueued for it again. Longer than the enqueueing takes.
const DEDUPE_FOR: Duration = Duration::from_hours(6);
/// Account syncs over a shorter time skip buyers: webhooks have just reported these, and each costs a call.
const MIN_SPAN_FOR_BUYERS: TimeDelta = TimeDelta::days(1);
/// The cursor's first character after the listed customers are done. No key contains it.
const BUYER_CURSOR: &str = "@";

impl Lookback {
    /// Adds sessions from our event log that have no subscription and were not in Stripe's list. Example:
    /// created before the window and paid in it. Each is a customer of its own.
    pub(super) async fn add_logged_sessions(&self, run: &mut LookbackRun) -> Result<Next, LookbackError> {
        let sessions = self
            .records()
            .logged_sessions(run, &run.cursor, BATCH_SIZE)
            .await?;
        let is_last = sessions.len() < BATCH_SIZE as usize;
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
        Ok(continue_if(self.step(run, step, &rows).await?))
    }

    /// Enqueues the customers' jobs of the sessions staged so far. When the list is complete all customers
    /// are enqueued, and these find nothing left to do.
    pub(super) async fn enqueue_staged(&self, run: &LookbackRun) -> Result<(), LookbackError> {
        let mut after = String::new();
        loop {
            let rows = self
                .records()
                .found_sessions(&run.id, None, &[SessionState::Staged], &after, BATCH_SIZE)
                .await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after.clone_from(&last.session);
            let customers: BTreeSet<&str> = rows.iter().map(|row| row.customer.as_str()).collect();
            let items: Vec<Item> = customers
                .into_iter()
                .map(|key| customer_job(run, key).item())
                .collect::<Result<_, _>>()?;
            self.sync.enqueue(&items).await?;
        }
    }

    /// Enqueues a job for each customer in the list. Then one for each buyer of this window in our own
    /// records who is not in the list, which costs one call to Stripe.
    pub(super) async fn enqueue_customers(
        &self,
        request: &AccountSyncRequest,
        run: &mut LookbackRun,
    ) -> Result<Next, LookbackError> {
        let (items, count, last, is_buyers) = match run.cursor.strip_prefix(BUYER_CURSOR) {
            None => {
                let keys = self
                    .records()
                    .found_customers(&run.id, &run.cursor, BATCH_SIZE)
                    .await?;
                let items: Vec<Item> = keys
                    .iter()
                    .map(|key| spread_item(request, run, key, &customer_job(run, key)))
                    .collect::<Result<_, _>>()?;
                (items, keys.len(), keys.last().cloned(), false)
            }
            Some(_) if run.to - run.from < MIN_SPAN_FOR_BUYERS => (Vec::new(), 0, None, true),
            Some(after) => {
                let buyers = self.records().recent_buyers(run, after, BATCH_SIZE).await?;
                let items: Vec<Item> = buyers
                    .iter()
                    .filter_map(|buyer| Some((buyer, buyer_job(run, buyer)?)))
                    .map(|(buyer, job)| spread_item(request, run, &buyer.key, &job))
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
        let has_more = count == BATCH_SIZE as usize;
        let step = RunStep {
            phase: if !has_more && is_buyers {
                RunPhase::Settling
            } else {
                RunPhase::Enqueueing
            },
            cursor: match (has_more, is_buyers, last) {
                (true, true, Some(last)) => format!("{BUYER_CURSOR}{last}"),
                (true, false, Some(last)) => last,
                (_, true, _) => String::new(),
                (_, false, _) => BUYER_CURSOR.to_owned(),
            },
            customers: new as u64,
            ..RunStep::at(self.clock.now())
        };
        Ok(continue_if(self.step(run, step, &[]).await?))
    }

    /// Enqueues a customer's staged sessions.
    ///
    /// # Errors
    /// [`LookbackError`]; retry transient ones.
    pub(in crate::lookback) async fn sync_listed(
        &self,
        run: &RunId,
        customer: &str,
    ) -> Result<(), LookbackError> {
        // A person may retry the job: include failed sessions.
        let states = [SessionState::Staged, SessionState::Failed];
        let staged = async |after: &str| {
            let customer = Some(customer);
            self.records()
                .found_sessions(run.as_str(), customer, &states, after, BATCH_SIZE)
                .await
        };
        // Usually nothing is staged: the customer has all subscriptions, or the run is over.
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
            let is_last = rows.len() < BATCH_SIZE as usize;
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
            self.records().save_sessions(&run.id, &settled).await?;
            unfinished.add(&found);
            if !is_last {
                rows = staged(&after).await?;
            }
        }
        unfinished.into_result()
    }

    /// Checks sessions that are still staged after all customers' jobs should have run. A dead letter's
    /// sessions are marked as failed; a lost job is enqueued again.
    pub(super) async fn check_customer_jobs(&self, run: &LookbackRun) -> Result<(), LookbackError> {
        let rows = self
            .records()
            .found_sessions(&run.id, None, &[SessionState::Staged], "", BATCH_SIZE)
            .await?;
        let jobs: Vec<LookbackJob> = rows.iter().map(|row| customer_job(run, &row.customer)).collect();
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
            self.records().save_sessions(&run.id, &dead).await?;
        }
        Ok(())
    }
}

/// The customer's job, once for the run, at a time within the spread that depends only on the customer's key.
fn spread_item(
    request: &AccountSyncRequest,
    run: &LookbackRun,
    key: &str,
    job: &LookbackJob,
) -> Result<Item, LookbackError> {
    let digest = Sha256::digest(key);
    let place = f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    let delay = Duration::from_secs(request.spread_seconds.into()).mul_f64(place);
    let once = format!("listed:{}:{key}", run.id);
    Ok(job.item()?.after(delay).dedupe(once, DEDUPE_FOR))
}

/// The job of a buyer who is not in the list, found by their Stripe customer or else email. Stripe's filtered
/// list may contain what the whole list lacked. `None`: neither is known.
fn buyer_job(run: &LookbackRun, buyer: &RecentBuyer) -> Option<LookbackJob> {
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

fn customer_job(run: &LookbackRun, key: &str) -> LookbackJob {
    LookbackJob::Sync(SyncRequest {
        tenant: None,
        customer: Customer::Listed(key.to_owned()),
        days: 1,
        via: run.via,
        run: Some(RunId::from(run.id.clone())),
    })
}
