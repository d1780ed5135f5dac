//! Syncs one customer: finds their paid sessions and enqueues those without a subscription.
//!
//! The run stores what was found and how far each account's list was read, so that an interrupted attempt has enqueued
//! what it saw, and the next one continues there.

mod account;

use std::collections::{BTreeMap, HashSet};

use chrono::TimeDelta;

use self::account::Scan;
use super::enqueue_missing::Unfinished;
use super::ownership::OwnershipRule;
use super::{Customer, Lookback, LookbackError, RunId, SyncRequest, accounts};
use crate::queue::QueueError;
use crate::store::{KnownTenant, LookbackRun, RunPhase, RunStep, SessionState};

/// The error for an unknown id. It must differ from "nothing is missing".
const UNKNOWN: &str = "unknown: none of our Stripe accounts has this session or customer; check the id, and that it \
    is of the same mode (live or test) as STRIPE_SECRET_KEY";
/// More sessions than are stored for any customer.
const MAX_STORED: u32 = 10_000;
const TOO_MANY: &str =
    "too_many_sessions: more than 10,000 in one account; run `surepass sync --all` for the rest";
/// The name of the key's own account among the positions. No account id is equal to it.
const OWN_ACCOUNT: &str = "own";

/// One attempt at a customer's sync.
struct SyncAttempt<'a> {
    request: &'a SyncRequest,
    run: LookbackRun,
    tenants: &'a [KnownTenant],
    /// The requested tenant.
    tenant: Option<&'a KnownTenant>,
    rule: OwnershipRule,
    /// Sessions that earlier attempts enqueued.
    enqueued: HashSet<String>,
    /// By account, the last session up to which the list was read and enqueued. `None`: the whole list.
    positions: BTreeMap<String, Option<String>>,
    unfinished: Unfinished,
}

impl SyncAttempt<'_> {
    /// Records that the list was read and enqueued up to here.
    fn set_position(&mut self, account: Option<&str>, after: Option<String>) {
        let account = account.unwrap_or(OWN_ACCOUNT).to_owned();
        self.positions.insert(account, after);
    }
}

impl Lookback {
    /// Finds the customer's paid sessions and enqueues those without a subscription. `key` is the job's key
    /// and `enqueued` its enqueue time in ms. They name the run if the request does not.
    ///
    /// One account's failure does not affect the others, and pages before a failed one are enqueued. Idempotent.
    ///
    /// # Errors
    /// [`LookbackError`]. Retry transient ones; for others a person must first fix the cause. The run keeps
    /// its state.
    pub async fn sync(&self, request: &SyncRequest, key: &str, enqueued: u64) -> Result<(), LookbackError> {
        if let (Customer::Listed(customer), Some(run)) = (&request.customer, &request.run) {
            return self.sync_listed(run, customer).await;
        }
        let id = request.run.clone();
        let id = id.unwrap_or_else(|| RunId::from(format!("{key}:{enqueued}")));
        let new = self.new_run(request, &id, key);
        self.records().begin_run(&new).await?;
        let run = self.records().run(id.as_str()).await?.unwrap_or(new);
        if run.phase.is_over() || run.phase == RunPhase::Settling {
            return Ok(());
        }
        let is_known = self.scan(request, run).await?;
        let step = RunStep {
            phase: RunPhase::Settling,
            error: (!is_known).then(|| UNKNOWN.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        self.save_customer_step(id.as_str(), &step).await?;
        self.update(&id).await
    }

    pub(super) fn new_run(&self, request: &SyncRequest, id: &RunId, key: &str) -> LookbackRun {
        let now = self.clock.now();
        let from = now - TimeDelta::days(request.days.into());
        LookbackRun::new(id.as_str(), key, request.via, from, now, now)
    }

    /// Scans each account. Returns whether any of them knows the requested customer. After all accounts,
    /// returns one of the errors, preferably a transient one.
    async fn scan(&self, request: &SyncRequest, run: LookbackRun) -> Result<bool, LookbackError> {
        let tenants = self.store.catalog().known().await?;
        let find = |slug: &String| {
            let found = tenants.iter().find(|tenant| tenant.slug == *slug);
            found.ok_or_else(|| LookbackError::UnknownTenant(slug.clone()))
        };
        let tenant = request.tenant.as_ref().map(find).transpose()?;
        let accounts = match tenant {
            Some(tenant) => vec![tenant.stripe_account.clone()],
            None => accounts(&tenants),
        };
        let mut attempt = SyncAttempt {
            request,
            tenants: &tenants,
            tenant,
            rule: OwnershipRule::of(&request.customer),
            enqueued: self.enqueued_sessions(&run).await?,
            // No checkpoint yet, or one of another version of Surepass: start from the beginning.
            positions: serde_json::from_str(&run.cursor).unwrap_or_default(),
            unfinished: Unfinished::default(),
            run,
        };
        let (mut errors, mut is_known) = (Vec::new(), false);
        for account in accounts {
            let account = account.as_deref();
            let mut scan = Scan::new(self, &mut attempt, account)?;
            let scanned = scan.run().await;
            scan.save_checkpoint().await?;
            match scanned {
                Ok(knows) => is_known |= knows,
                Err(LookbackError::Stripe(error)) => {
                    tracing::warn!(account, %error, "could not list all sessions of an account");
                    is_known = true;
                    errors.push(error.into());
                }
                Err(error) => return Err(error),
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

    async fn enqueued_sessions(&self, run: &LookbackRun) -> Result<HashSet<String>, LookbackError> {
        let states = SessionState::ALL.into_iter().filter(|state| !needs_retry(*state));
        let states: Vec<SessionState> = states.collect();
        let rows = self
            .records()
            .found_sessions(&run.id, None, &states, "", MAX_STORED);
        Ok(rows.await?.into_iter().map(|row| row.session).collect())
    }

    async fn save_checkpoint(
        &self,
        attempt: &SyncAttempt<'_>,
        pages: u64,
        unreadable: u64,
        is_too_many: bool,
    ) -> Result<(), LookbackError> {
        let step = RunStep {
            phase: RunPhase::Listing,
            cursor: serde_json::to_string(&attempt.positions).map_err(QueueError::from)?,
            pages,
            unreadable,
            error: is_too_many.then(|| TOO_MANY.to_owned()),
            ..RunStep::at(self.clock.now())
        };
        self.save_customer_step(&attempt.run.id, &step).await
    }

    /// Only one job works on a customer's run, so it is stored over whatever is there.
    async fn save_customer_step(&self, run: &str, step: &RunStep) -> Result<(), LookbackError> {
        if let Some(run) = self.records().run(run).await? {
            self.records().save_step(&run, step, &[]).await?;
        }
        Ok(())
    }
}

fn needs_retry(state: SessionState) -> bool {
    matches!(state, SessionState::Staged | SessionState::Failed)
}
