//! Scans Stripe for one customer's sessions in one account.
//!
//! Stripe's lists cannot be filtered by our user ids, and compare emails case-sensitively. A full scan
//! therefore costs one call for each 100 sessions of the shop. Sessions that a watermark covers are not
//! listed again: see docs/decisions/lookback.md.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{OWN_ACCOUNT, SyncAttempt, needs_retry};
use crate::email;
use crate::lookback::account_sync::DETECTOR;
use crate::lookback::enqueue_missing::{Candidate, Lane, Payment, SessionClass, classify};
use crate::lookback::listing::Listing;
use crate::lookback::ownership::{self, may_belong_to};
use crate::lookback::{Customer, Lookback, LookbackError};
use crate::store::{CreatedVia, FoundSession, Subscription, SubscriptionFilter, Watermark};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, SessionFilter};

/// The most subscriptions of a user that are read.
const MAX_SUBSCRIPTIONS: u32 = 1_000;
/// More sessions than any customer has in one account's window. The account sync, which works page by page,
/// handles more.
const MAX_SESSIONS: usize = 10_000;
/// How long before the watermark a list begins. Our clock sets the watermark and Stripe's sets `created`. A
/// session that was just created may also have been missing in the account sync's list. It costs an extra
/// page only if a shop sells 100 in this time.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// An older watermark is not used: then the account syncs have stopped. More than a day, because only the
/// nightly sync may raise it.
const MAX_WATERMARK_AGE: TimeDelta = TimeDelta::hours(26);
/// The most pending sessions that are retrieved one by one. With more, such as many abandoned checkouts, the
/// whole list is read.
const MAX_PENDING: u32 = 20;
/// How many Stripe customers of a user are queried: those of the newest subscriptions.
const MAX_CUSTOMERS: usize = 3;

/// The scan of one account.
pub(super) struct Scan<'a, 'b> {
    lookback: &'a Lookback,
    attempt: &'a mut SyncAttempt<'b>,
    account: Option<&'a str>,
    stripe: Account,
    /// Purchases that this scan has seen, and how many are the customer's.
    seen: HashSet<String>,
    found: usize,
    /// Calls that Stripe answered, and items that could not be read, since the last checkpoint.
    pages: u64,
    unreadable: u64,
    is_too_many: bool,
}

impl<'a, 'b> Scan<'a, 'b> {
    pub(super) fn new(
        lookback: &'a Lookback,
        attempt: &'a mut SyncAttempt<'b>,
        account: Option<&'a str>,
    ) -> Result<Self, LookbackError> {
        Ok(Self {
            stripe: lookback.stripe()?.account(account),
            lookback,
            attempt,
            account,
            seen: HashSet::new(),
            found: 0,
            pages: 0,
            unreadable: 0,
            is_too_many: false,
        })
    }

    /// Finds the customer's sessions and enqueues them. Returns whether the account knows the requested id; it
    /// may be in another account.
    pub(super) async fn run(&mut self) -> Result<bool, LookbackError> {
        let request = self.attempt.request;
        match &request.customer {
            Customer::Session(id) => return self.retrieve(id).await,
            Customer::StripeCustomer(id) => match self.list(self.of_customer(id), false).await {
                Err(LookbackError::Stripe(error))
                    if error.code() == Some("resource_missing") && error.param() == Some("customer") =>
                {
                    return Ok(false);
                }
                listed => listed?,
            },
            // Scheduled: one call with Stripe's email filter in place of the whole list. For a person's
            // request the whole list is read, because that filter is case-sensitive.
            Customer::Email(email) if request.via == CreatedVia::Lookback => {
                self.list(self.of_email(email), false).await?;
            }
            Customer::User { id, verified_email } if request.via != CreatedVia::Support => {
                match self.watermark().await? {
                    Some(mark) => self.list_since(&mark, id, verified_email.as_deref()).await?,
                    None => self.list_window().await?,
                }
            }
            _ => self.list_window().await?,
        }
        Ok(true)
    }

    /// The watermark of the account syncs, if it covers the window until recently.
    async fn watermark(&self) -> Result<Option<Watermark>, LookbackError> {
        let (from, now) = (self.attempt.run.from, self.lookback.clock.now());
        // A watermark in the future was set by a wrong clock.
        let covers = |mark: &Watermark| {
            mark.from <= from && mark.to > from && (now - MAX_WATERMARK_AGE..now).contains(&mark.to)
        };
        let is_test = self.lookback.is_test();
        let marks = self.lookback.records().watermarks().await?;
        let own = |mark: &Watermark| mark.is_of(DETECTOR, self.account, is_test);
        Ok(marks.into_iter().find(|mark| own(mark) && covers(mark)))
    }

    /// Reads the whole window, from where the last attempt stopped.
    async fn list_window(&mut self) -> Result<(), LookbackError> {
        let account = self.account.unwrap_or(OWN_ACCOUNT);
        let starting_after = match self.attempt.positions.get(account) {
            Some(None) => return Ok(()),
            Some(after) => after.clone(),
            None => None,
        };
        let filter = SessionFilter {
            starting_after,
            ..created_since(self.attempt.run.from)
        };
        self.list(filter, true).await
    }

    /// Reads a list, and enqueues each page before the next is read. `is_window`: stores how far it was read.
    async fn list(&mut self, filter: SessionFilter, is_window: bool) -> Result<(), LookbackError> {
        let mut pages = Listing::new(&self.stripe, &filter, None);
        let mut is_all_enqueued = true;
        while let Some(page) = pages.next().await? {
            self.pages += 1;
            self.unreadable += page.unreadable as u64;
            is_all_enqueued &= self.add(&page.items).await?;
            let rest = page.last_id.filter(|_| page.has_more);
            let is_end = rest.is_none();
            if is_window {
                // Sessions that must be tried again have to be listed again.
                if is_all_enqueued {
                    self.attempt.set_position(self.account, rest);
                }
                self.save_checkpoint().await?;
            }
            if !is_end && self.found >= MAX_SESSIONS {
                self.is_too_many = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lists the sessions since the watermark. Of older ones, retrieves only those that were pending when
    /// they were listed.
    ///
    /// Also asks Stripe by the user's Stripe customers and verified email. This finds sessions that could not
    /// be assigned to the user while their checkout was open.
    async fn list_since(
        &mut self,
        mark: &Watermark,
        user: &str,
        verified_email: Option<&str>,
    ) -> Result<(), LookbackError> {
        let from = self.attempt.run.from;
        let subscriptions = self.subscriptions(user).await?;
        let mut customers: Vec<&str> = Vec::new();
        for one in &subscriptions {
            let customer = one.stripe_customer_id.as_deref();
            customers.extend(customer.filter(|id| !customers.contains(id)));
        }
        let Some(pending) = self.pending_sessions(user, verified_email, &customers).await? else {
            return self.list_window().await;
        };
        // These sessions have a subscription: they are only counted.
        let newer = subscriptions.iter().filter(|one| one.start_date >= from);
        let key = self.attempt.request.customer.key();
        let newer = newer.map(|one| Candidate::new(&one.stripe_session_id, key.clone(), None));
        let newer: Vec<Candidate> = newer.collect();
        self.seen.extend(newer.iter().map(|one| one.row.session.clone()));
        self.enqueue(newer).await?;
        self.list(created_since(from.max(mark.to - OVERLAP)), false)
            .await?;
        for session in &pending {
            // A key of the other mode cannot see this session, so its answer says nothing.
            if !self.seen.contains(session) && !self.retrieve(session).await? && self.stripe.can_know(session)
            {
                self.lookback
                    .records()
                    .remove_pending_sessions(&[session])
                    .await?;
            }
        }
        for id in customers.into_iter().take(MAX_CUSTOMERS) {
            self.list_optional(self.of_customer(id)).await?;
        }
        for email in verified_email.map(email_spellings).unwrap_or_default() {
            self.list_optional(self.of_email(&email)).await?;
        }
        Ok(())
    }

    /// Reads a list that is not needed for completeness. If Stripe refuses it, for example because the
    /// customer was deleted, nothing is missed.
    async fn list_optional(&mut self, filter: SessionFilter) -> Result<(), LookbackError> {
        match self.list(filter, false).await {
            Err(LookbackError::Stripe(error)) if !error.is_transient() => {
                tracing::info!(account = self.account, %error, "skipped an optional list of sessions: Stripe refused it");
                Ok(())
            }
            listed => listed,
        }
    }

    /// Retrieves one session. Returns whether the account has it.
    async fn retrieve(&mut self, id: &str) -> Result<bool, LookbackError> {
        let session = self.stripe.session(id).await;
        self.pages += 1;
        let Some(session) = session? else { return Ok(false) };
        self.add(&[session]).await?;
        Ok(true)
    }

    /// The user's subscriptions that were sold on the account, newest first; by the tenant if one is requested.
    async fn subscriptions(&self, user: &str) -> Result<Vec<Subscription>, LookbackError> {
        let filter = SubscriptionFilter {
            user: Some(user.to_owned()),
            ..SubscriptionFilter::default()
        };
        let SyncAttempt { tenants, tenant, .. } = *self.attempt;
        let is_sold_here = |one: &Subscription| {
            let seller = tenants.iter().find(|tenant| tenant.id == one.tenant);
            seller.is_some_and(|seller| {
                seller.stripe_account.as_deref() == self.account
                    && tenant.is_none_or(|requested| requested.id == seller.id)
            })
        };
        let mut all = self
            .lookback
            .store
            .subscriptions()
            .list(&filter, MAX_SUBSCRIPTIONS)
            .await?;
        all.retain(is_sold_here);
        Ok(all)
    }

    /// The customer's sessions that were pending in an account sync's list and still have no subscription.
    /// `None`: too many.
    async fn pending_sessions(
        &self,
        user: &str,
        verified_email: Option<&str>,
        customers: &[&str],
    ) -> Result<Option<Vec<String>>, LookbackError> {
        let customers = customers
            .iter()
            .map(|id| Customer::StripeCustomer((*id).to_owned()));
        let email = verified_email.map(|email| Customer::Email(email.to_owned()));
        let keys = customers.chain(email).map(|one| one.key());
        let keys: Vec<String> = keys.chain([ownership::user_key(user)]).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let records = self.lookback.records();
        // Some may have a subscription by now.
        let most = 10 * MAX_PENDING;
        let from = self.attempt.run.from;
        let noted = records.pending_sessions(self.account, &keys, from, most).await?;
        let is_all = noted.len() < most as usize;
        let sessions: Vec<&str> = noted.iter().map(String::as_str).collect();
        let fulfilled = self.lookback.fulfilled(&sessions, std::iter::empty()).await?;
        let (done, open): (Vec<&str>, Vec<&str>) = sessions
            .into_iter()
            .partition(|session| fulfilled.contains(session, None));
        records.remove_pending_sessions(&done).await?;
        let is_few = is_all && open.len() <= MAX_PENDING as usize;
        Ok(is_few.then(|| open.into_iter().map(str::to_owned).collect()))
    }

    /// Enqueues those sessions that are paid and belong to the customer. Returns whether none must be tried again.
    async fn add(&mut self, sessions: &[CheckoutSession]) -> Result<bool, LookbackError> {
        let (lookback, via) = (self.lookback, self.attempt.request.via);
        lookback
            .close_cases_of_refunded(self.account, sessions.iter())
            .await?;
        let key = self.attempt.request.customer.key();
        let (mut found, mut closed) = (Vec::new(), Vec::new());
        for session in sessions {
            let (purchase, payment) = match classify(session, self.account, via, lookback.client_reference) {
                SessionClass::Purchase(purchase, payment) => (*purchase, payment),
                SessionClass::Other => {
                    closed.extend(session.id.as_deref());
                    continue;
                }
                SessionClass::Unreadable => {
                    self.unreadable += 1;
                    continue;
                }
            };
            if payment == Payment::Refunded {
                closed.extend(session.id.as_deref());
            }
            if payment == Payment::Unpaid || !self.seen.insert(purchase.session_id.clone()) {
                continue;
            }
            let is_tenants = |tenant| may_belong_to(tenant, &purchase);
            if self.attempt.tenant.is_none_or(is_tenants)
                && let Some(purchase) = self.attempt.rule.claim(purchase)
            {
                found.push(Candidate::listed(key.clone(), purchase, payment));
            }
        }
        lookback.records().remove_pending_sessions(&closed).await?;
        self.enqueue(found).await
    }

    /// Enqueues candidates and stores them in the run. Sessions that an earlier attempt enqueued keep their state.
    async fn enqueue(&mut self, mut found: Vec<Candidate>) -> Result<bool, LookbackError> {
        self.found += found.len();
        found.retain(|one| !self.attempt.enqueued.contains(&one.row.session));
        if found.is_empty() {
            return Ok(true);
        }
        let run = &self.attempt.run;
        let lookback = self.lookback;
        lookback
            .enqueue_missing(self.account, run.via, Lane::Fresh, &mut found)
            .await?;
        let rows: Vec<FoundSession> = found.iter().map(Candidate::row).collect::<Result<_, _>>()?;
        for rows in rows.chunks(500) {
            lookback.records().save_sessions(&run.id, rows).await?;
        }
        self.attempt.unfinished.add(&found);
        Ok(!rows.iter().any(|row| needs_retry(row.state)))
    }

    pub(super) async fn save_checkpoint(&mut self) -> Result<(), LookbackError> {
        let (pages, unreadable) = (
            std::mem::take(&mut self.pages),
            std::mem::take(&mut self.unreadable),
        );
        self.lookback
            .save_checkpoint(self.attempt, pages, unreadable, self.is_too_many)
            .await
    }

    fn of_customer(&self, id: &str) -> SessionFilter {
        SessionFilter {
            customer: Some(id.to_owned()),
            ..created_since(self.attempt.run.from)
        }
    }

    fn of_email(&self, email: &str) -> SessionFilter {
        SessionFilter {
            email: Some(email.to_owned()),
            ..created_since(self.attempt.run.from)
        }
    }
}

/// The verified email as the token spells it and in its usual spellings: Stripe's filter is case-sensitive.
fn email_spellings(email: &str) -> Vec<String> {
    let given = email.trim().to_owned();
    let mut spellings = email::spellings(&email::normalize(email));
    if !spellings.contains(&given) {
        spellings.insert(0, given);
    }
    spellings.retain(|email| !email.is_empty());
    spellings
}

fn created_since(from: DateTime<Utc>) -> SessionFilter {
    SessionFilter {
        created_from: Some(from),
        expand_line_items: true,
        ..SessionFilter::default()
    }
}
