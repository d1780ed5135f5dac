//! One customer's sessions.

use chrono::TimeDelta;

use super::{Customer, Lookback, LookbackError, RunId, SyncRequest, accounts};
use crate::store::{LookbackRun, RunPhase, RunStep};

/// What an id that was mistyped comes to, which is not the same as "nothing is missing".
const UNKNOWN: &str = "unknown: no Stripe account of ours has what was asked for; is the id right, and of the mode (live or \
    test) of STRIPE_SECRET_KEY?";

impl Lookback {
    /// Finds what the customer has paid for, and hands in what has no subscription. `key` is the job's, `enqueued` when
    /// it was enqueued, in ms: they name the run where the request does not.
    ///
    /// Each of its accounts is looked into to the end, and what is found before a page fails is handed in; what has to be
    /// read whole is handed in page by page, and the next attempt goes on from there. To repeat it doubles nothing.
    ///
    /// # Errors
    /// [`LookbackError`]; passing ones are worth another attempt, and the others one once a person has mended what was wrong:
    /// the run stays as it is until then.
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
        let is_known = self.look(request, &run).await?;
        let step = RunStep {
            phase: RunPhase::Settling,
            error: (!is_known).then(|| UNKNOWN.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        let run = self.records().run(id.as_str()).await?.unwrap_or(run);
        self.records().step_run(&run, &step, &[]).await?;
        self.report(&id).await?;
        Ok(())
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

    /// Looks into each account; answers whether any of them knows whom the request names. A failure in one does not keep from
    /// the others: one is answered at the end, a passing one if there is any.
    async fn look(&self, request: &SyncRequest, run: &LookbackRun) -> Result<bool, LookbackError> {
        let tenants = self.store.known_tenants().await?;
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
        let asker = self.asker(request).await?;
        let mut attempt = self.attempt(run).await?;
        let (mut errors, mut is_known) = (Vec::new(), false);
        for account in accounts {
            let account = account.as_deref();
            let of = (&tenants[..], tenant);
            let mut seen = self.look_into(request, &mut attempt, account, of, &asker).await?;
            self.hand_in(&mut attempt, account, &mut seen).await?;
            self.take_down(&attempt, &mut seen).await?;
            is_known |= !seen.is_unknown;
            if let Some(error) = seen.error {
                tracing::warn!(account, %error, "an account could not be read to its end");
                errors.push(LookbackError::from(error));
            }
        }
        errors.extend(attempt.unfinished.into_result().err());
        // What failed counts as an attempt, so it goes before what only waits; and what another attempt cannot help waits
        // for the others.
        let urgency = |error: &LookbackError| match error {
            error if !error.is_transient() => 0,
            error if error.put_off().is_some() => 1,
            _ => 2,
        };
        errors.into_iter().max_by_key(urgency).map_or(Ok(is_known), Err)
    }
}
