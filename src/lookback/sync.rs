//! One customer's sessions.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;

use super::bring::{Found, Line, Listed, listed};
use super::listing::Listing;
use super::whose::{Whose, may_be_of};
use super::{Customer, Lookback, LookbackError, RunId, SyncRequest, accounts};
use crate::store::{FoundSession, LookbackRun, RunPhase, RunStep, SessionState, SubscriptionFilter, Tenant};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{SessionFilter, StripeError};

/// So many of a user's subscriptions are looked at for the Stripe customers by whom they have paid.
const MOST_SUBSCRIPTIONS: u32 = 1_000;
/// More sessions than any customer has in one account's window; what is beyond it is left to the sweep, which streams.
const MOST_SESSIONS: usize = 10_000;
const TOO_MANY: &str =
    "too_many_sessions: more than 10,000 in one account; the others are brought by `surepass sync --all`";

/// What a look into one account came to.
struct Look {
    found: Vec<Found>,
    pages: u64,
    unreadable: u64,
    too_many: bool,
    error: Option<StripeError>,
}

impl Lookback {
    /// Finds what the customer has paid for, and hands in what has no subscription. `key` is the job's, `enqueued` when
    /// it was enqueued, in ms: they name the run where the request does not.
    ///
    /// All pages of all of its accounts are read, and what is found before a page fails is handed in. To repeat it
    /// doubles nothing.
    ///
    /// # Errors
    /// [`LookbackError`]; passing ones are worth another attempt.
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
        let failed = match self.look(request, &run).await {
            Ok(failed) => failed,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => Some(error),
        };
        let step = RunStep {
            phase: RunPhase::Settling,
            error: failed.as_ref().map(|error| format!("{}: {error}", error.code())),
            ..RunStep::at(self.clock.now())
        };
        let run = self.records().run(id.as_str()).await?.unwrap_or(run);
        self.records().step_run(&run, &step, &[]).await?;
        self.report(&id).await?;
        failed.map_or(Ok(()), Err)
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

    /// Looks into each account. A failure in one does not keep from the others: the first is answered at the end, a
    /// passing one as an error.
    async fn look(
        &self,
        request: &SyncRequest,
        run: &LookbackRun,
    ) -> Result<Option<LookbackError>, LookbackError> {
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
        let whose = Whose::of(&request.customer, self.customers_of(request).await?);
        let known = self.known(run).await?;
        let (mut first, mut waiting) = (None, Vec::new());
        for account in accounts {
            let account = account.as_deref();
            let mut look = self.look_into(request, run, account, tenant, &whose).await?;
            // What an earlier attempt has handed in stays as it was noted.
            look.found
                .retain(|one| known.get(&one.row.session) != Some(&false));
            self.bring(account, request.via, Line::Fresh, &mut look.found)
                .await?;
            let rows: Vec<FoundSession> = look.found.iter().map(Found::row).collect::<Result<_, _>>()?;
            waiting.extend(
                rows.iter()
                    .filter(|row| row.state == SessionState::Staged)
                    .filter_map(|row| row.error.clone()),
            );
            for rows in rows.chunks(500) {
                self.records().note_sessions(&run.id, rows).await?;
            }
            let read = self.records().run(&run.id).await?.unwrap_or_else(|| run.clone());
            let step = RunStep {
                phase: RunPhase::Listing,
                pages: look.pages,
                unreadable: look.unreadable,
                error: look.too_many.then(|| TOO_MANY.to_owned()),
                ..RunStep::at(self.clock.now())
            };
            self.records().step_run(&read, &step, &[]).await?;
            if let Some(error) = look.error {
                tracing::warn!(account, %error, "an account could not be read to its end");
                let error = LookbackError::from(error);
                if error.is_transient() || first.is_none() {
                    first = Some(error);
                }
            }
        }
        match (first, waiting.first()) {
            (Some(error), _) if error.is_transient() => Err(error),
            (_, Some(reason)) => Err(LookbackError::Unfinished {
                count: waiting.len(),
                first: reason.clone(),
            }),
            (first, None) => Ok(first),
        }
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
        let limit = u32::try_from(MOST_SESSIONS).unwrap_or(u32::MAX);
        let rows = self
            .records()
            .found_sessions(&run.id, None, &all, "", limit)
            .await?;
        let again = |state| matches!(state, SessionState::Staged | SessionState::Failed);
        Ok(rows
            .into_iter()
            .map(|row| (row.session, again(row.state)))
            .collect())
    }

    /// The Stripe customers by whom a user has paid before.
    async fn customers_of(&self, request: &SyncRequest) -> Result<HashSet<String>, LookbackError> {
        let Customer::User { id, .. } = &request.customer else {
            return Ok(HashSet::new());
        };
        let filter = SubscriptionFilter {
            user: Some(id.clone()),
            ..SubscriptionFilter::default()
        };
        let held = self.store.subscriptions(&filter, MOST_SUBSCRIPTIONS).await?;
        Ok(held
            .into_iter()
            .filter_map(|one| one.stripe_customer_id)
            .collect())
    }

    /// Lists what may be the customer's. Stripe knows neither our users nor emails as we compare them: for those the whole
    /// window is read, at one call per 100 sessions.
    async fn look_into(
        &self,
        request: &SyncRequest,
        run: &LookbackRun,
        account: Option<&str>,
        tenant: Option<&Tenant>,
        whose: &Whose,
    ) -> Result<Look, LookbackError> {
        let stripe = self.stripe()?.account(account);
        let mut look = Look {
            found: Vec::new(),
            pages: 0,
            unreadable: 0,
            too_many: false,
            error: None,
        };
        let customer = request.customer.key();
        let take = |look: &mut Look, session: &CheckoutSession| {
            let (purchase, is_complete) = match listed(session, account, request.via) {
                Listed::Purchase(purchase) => (purchase, true),
                Listed::Incomplete(purchase) => (purchase, false),
                Listed::Other => return,
                Listed::Unreadable => {
                    look.unreadable += 1;
                    return;
                }
            };
            if tenant.is_some_and(|tenant| !may_be_of(tenant, &purchase)) {
                return;
            }
            if let Some(purchase) = whose.claim(purchase) {
                let session = purchase.session_id.clone();
                let purchase = Some(purchase).filter(|_| is_complete);
                look.found.push(Found::new(&session, customer.clone(), purchase));
            }
        };
        if let Customer::Session(id) = &request.customer {
            match stripe.session(id).await {
                Ok(session) => session.iter().for_each(|session| take(&mut look, session)),
                Err(error) => look.error = Some(error),
            }
            look.pages += 1;
            return Ok(look);
        }
        let filter = SessionFilter {
            created_from: Some(run.from),
            customer: match &request.customer {
                Customer::StripeCustomer(id) => Some(id.clone()),
                _ => None,
            },
            expand_line_items: true,
            ..SessionFilter::default()
        };
        let mut pages = Listing::new(&stripe, filter);
        loop {
            look.too_many = look.found.len() >= MOST_SESSIONS;
            if look.too_many {
                break;
            }
            match pages.next().await {
                Ok(Some(page)) => {
                    look.pages += 1;
                    look.unreadable += page.unreadable as u64;
                    page.items.iter().for_each(|session| take(&mut look, session));
                }
                Ok(None) => break,
                Err(error) => {
                    look.error = Some(error);
                    break;
                }
            }
        }
        Ok(look)
    }
}
