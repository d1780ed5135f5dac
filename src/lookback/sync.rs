//! One customer's sessions.

use std::collections::HashMap;

use chrono::TimeDelta;

use super::bring::{Found, Line, Unfinished};
use super::{Customer, Lookback, LookbackError, RunId, SyncRequest, accounts};
use crate::store::{FoundSession, LookbackRun, RunPhase, RunStep, SessionState};

/// More sessions than are noted of any customer.
const MOST_NOTED: u32 = 10_000;
const TOO_MANY: &str =
    "too_many_sessions: more than 10,000 in one account; the others are brought by `surepass sync --all`";

impl Lookback {
    /// Finds what the customer has paid for, and hands in what has no subscription. `key` is the job's, `enqueued` when
    /// it was enqueued, in ms: they name the run where the request does not.
    ///
    /// Each of its accounts is looked into to the end, and what is found before a page fails is handed in. To repeat it
    /// doubles nothing.
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
        self.look(request, &run).await?;
        let step = RunStep {
            phase: RunPhase::Settling,
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

    /// Looks into each account. A failure in one does not keep from the others: one is answered at the end, a passing
    /// one if there is any.
    async fn look(&self, request: &SyncRequest, run: &LookbackRun) -> Result<(), LookbackError> {
        let tenants = self.store.tenants().await?;
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
        let known = self.known(run).await?;
        let mut errors = Vec::new();
        let mut unfinished = Unfinished::default();
        for account in accounts {
            let account = account.as_deref();
            let of = (&tenants[..], tenant);
            let mut seen = self.look_into(request, run, account, of, &asker).await?;
            // What an earlier attempt has handed in stays as it was noted.
            seen.found
                .retain(|one| known.get(&one.row.session) != Some(&false));
            self.bring(account, request.via, Line::Fresh, &mut seen.found)
                .await?;
            unfinished.add(&seen.found);
            let rows: Vec<FoundSession> = seen.found.iter().map(Found::row).collect::<Result<_, _>>()?;
            for rows in rows.chunks(500) {
                self.records().note_sessions(&run.id, rows).await?;
            }
            let read = self.records().run(&run.id).await?.unwrap_or_else(|| run.clone());
            let step = RunStep {
                phase: RunPhase::Listing,
                pages: seen.pages,
                unreadable: seen.unreadable,
                error: seen.too_many.then(|| TOO_MANY.to_owned()),
                ..RunStep::at(self.clock.now())
            };
            self.records().step_run(&read, &step, &[]).await?;
            if let Some(error) = seen.error {
                tracing::warn!(account, %error, "an account could not be read to its end");
                errors.push(LookbackError::from(error));
            }
        }
        errors.extend(unfinished.into_result().err());
        // What failed counts as an attempt, so it goes before what only waits; and what another attempt cannot help waits
        // for the others.
        let urgency = |error: &LookbackError| match error {
            error if !error.is_transient() => 0,
            error if error.put_off().is_some() => 1,
            _ => 2,
        };
        errors.into_iter().max_by_key(urgency).map_or(Ok(()), Err)
    }

    /// Which sessions the run knows already, and whether they must be looked at again.
    async fn known(&self, run: &LookbackRun) -> Result<HashMap<String, bool>, LookbackError> {
        let all = [
            SessionState::Staged,
            SessionState::Enqueued,
            SessionState::Existing,
            SessionState::Created,
            SessionState::Ignored,
            SessionState::Dead,
            SessionState::Failed,
        ];
        let rows = self
            .records()
            .found_sessions(&run.id, None, &all, "", MOST_NOTED)
            .await?;
        let again = |state| matches!(state, SessionState::Staged | SessionState::Failed);
        Ok(rows
            .into_iter()
            .map(|row| (row.session, again(row.state)))
            .collect())
    }
}
