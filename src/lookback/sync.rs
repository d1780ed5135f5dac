//! Syncs one customer: finds their paid sessions and enqueues those without a subscription.

use chrono::TimeDelta;

use super::{Customer, Lookback, LookbackError, RunId, SyncRequest, accounts};
use crate::store::{LookbackRun, RunPhase, RunStep};

/// The error for an unknown id. It must differ from "nothing is missing".
const UNKNOWN: &str = "unknown: none of our Stripe accounts has this session or customer; check the id, and that it \
    is of the same mode (live or test) as STRIPE_SECRET_KEY";

impl Lookback {
    /// Finds the customer's paid sessions and enqueues those without a subscription. `key` is the job's key
    /// and `enqueued` its enqueue time in ms. They name the run if the request does not.
    ///
    /// One account's failure does not affect the others, and pages before a failed one are enqueued. A full
    /// list is enqueued page by page, and the next attempt continues there. Idempotent.
    ///
    /// # Errors
    /// [`LookbackError`]. Retry transient ones; for others a person must first fix the cause. The run keeps
    /// its state.
    pub async fn sync(&self, request: &SyncRequest, key: &str, enqueued: u64) -> Result<(), LookbackError> {
        if let (Customer::Listed(customer), Some(run)) = (&request.customer, &request.run) {
            return self.sync_listed(run, customer).await;
        }
        let id = match &request.run {
            Some(run) => run.clone(),
            None => RunId::from(format!("{key}:{enqueued}")),
        };
        let run = self.begin(request, &id, key).await?;
        if run.phase.is_over() || run.phase == RunPhase::Settling {
            return Ok(());
        }
        let is_known = self.scan(request, &run).await?;
        let step = RunStep {
            phase: RunPhase::Settling,
            error: (!is_known).then(|| UNKNOWN.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        let run = self.records().run(id.as_str()).await?.unwrap_or(run);
        self.records().save_step(&run, &step, &[]).await?;
        self.update(&id).await
    }

    async fn begin(
        &self,
        request: &SyncRequest,
        id: &RunId,
        key: &str,
    ) -> Result<LookbackRun, LookbackError> {
        let run = self.new_run(request, id, key);
        self.records().begin_run(&run).await?;
        Ok(self.records().run(id.as_str()).await?.unwrap_or(run))
    }

    pub(super) fn new_run(&self, request: &SyncRequest, id: &RunId, key: &str) -> LookbackRun {
        let now = self.clock.now();
        let from = now - TimeDelta::days(request.days.into());
        LookbackRun::new(id.as_str(), key, request.via, from, now, now)
    }

    /// Scans each account. Returns whether any of them knows the requested customer. After all accounts,
    /// returns one of the errors, preferably a transient one.
    async fn scan(&self, request: &SyncRequest, run: &LookbackRun) -> Result<bool, LookbackError> {
        let tenants = self.store.catalog().known().await?;
        let tenant = match &request.tenant {
            Some(slug) => Some(
                tenants
                    .iter()
                    .find(|tenant| tenant.slug == *slug)
                    .ok_or_else(|| LookbackError::UnknownTenant(slug.clone()))?,
            ),
            None => None,
        };
        let accounts = match tenant {
            Some(tenant) => vec![tenant.stripe_account.clone()],
            None => accounts(&tenants),
        };
        let known_customer = self.known_customer(request).await?;
        let mut attempt = self.attempt(run).await?;
        let (mut errors, mut is_known) = (Vec::new(), false);
        for account in accounts {
            let account = account.as_deref();
            let of = (&tenants[..], tenant);
            let mut result = self
                .scan_account(request, &mut attempt, account, of, &known_customer)
                .await?;
            self.enqueue_candidates(&mut attempt, account, &mut result)
                .await?;
            self.save_checkpoint(&attempt, &mut result).await?;
            is_known |= !result.is_unknown;
            if let Some(error) = result.error {
                tracing::warn!(account, %error, "could not list all sessions of an account");
                errors.push(LookbackError::from(error));
            }
        }
        errors.extend(attempt.unfinished.into_result().err());
        // A failure counts as an attempt, so it goes before a mere wait. Errors that a retry cannot fix come
        // last: the other accounts are retried first.
        let urgency = |error: &LookbackError| match error {
            error if !error.is_transient() => 0,
            error if error.put_off().is_some() => 1,
            _ => 2,
        };
        errors.into_iter().max_by_key(urgency).map_or(Ok(is_known), Err)
    }
}
