//! Scans Stripe for one customer's sessions in one account.
//!
//! Stripe's lists cannot be filtered by our user ids, and compare emails case-sensitively. A full scan
//! therefore costs one call for each 100 sessions of the shop. Sessions that a watermark covers are not
//! listed again: see docs/decisions/lookback.md.

mod fetch;

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use self::fetch::created_since;
use super::account_sync::DETECTOR;
use super::checkpoint::{ListPosition, SyncAttempt};
use super::enqueue_missing::Candidate;
use super::listing::Listing;
use super::ownership::{self, OwnershipRule};
use super::{Customer, Lookback, LookbackError, SyncRequest};
use crate::config::ClientReference;
use crate::email;
use crate::store::{CreatedVia, KnownTenant, LookbackRun, Subscription, SubscriptionFilter, Watermark};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, SessionFilter, StripeError};

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

/// What a scan of one account found.
#[derive(Default)]
pub(super) struct ScanResult {
    pub(super) candidates: Vec<Candidate>,
    /// Calls that Stripe answered.
    pub(super) pages: u64,
    pub(super) unreadable: u64,
    pub(super) too_many: bool,
    /// The account has no such session or no such Stripe customer.
    pub(super) is_unknown: bool,
    /// What ended the scan early.
    pub(super) error: Option<StripeError>,
}

/// What our store knows of the customer of a request.
pub(super) struct KnownCustomer {
    pub(super) rule: OwnershipRule,
    /// The user's subscriptions, newest first.
    subscriptions: Vec<Subscription>,
}

/// The scan of one account.
struct Scan<'a> {
    request: &'a SyncRequest,
    account: Option<&'a str>,
    tenant: Option<&'a KnownTenant>,
    rule: &'a OwnershipRule,
    client_reference: ClientReference,
    stripe: Account,
    /// Ids of sessions that this scan has seen.
    seen_ids: HashSet<String>,
    /// Sessions that are fulfilled, refunded or will never be paid: no longer pending.
    closed: Vec<String>,
    /// Sessions that were refunded in full.
    refunded: Vec<CheckoutSession>,
    result: ScanResult,
}

impl Lookback {
    pub(super) async fn known_customer(&self, request: &SyncRequest) -> Result<KnownCustomer, LookbackError> {
        let subscriptions = match &request.customer {
            Customer::User { id, .. } => {
                let filter = SubscriptionFilter {
                    user: Some(id.clone()),
                    ..SubscriptionFilter::default()
                };
                self.store
                    .subscriptions()
                    .list(&filter, MAX_SUBSCRIPTIONS)
                    .await?
            }
            _ => Vec::new(),
        };
        Ok(KnownCustomer {
            rule: OwnershipRule::of(&request.customer),
            subscriptions,
        })
    }

    /// Scans an account for the customer's sessions. After an error the result contains what was found before
    /// it.
    pub(super) async fn scan_account(
        &self,
        request: &SyncRequest,
        attempt: &mut SyncAttempt<'_>,
        account: Option<&str>,
        (tenants, tenant): (&[KnownTenant], Option<&KnownTenant>),
        known_customer: &KnownCustomer,
    ) -> Result<ScanResult, LookbackError> {
        let run = attempt.run;
        let mut scan = Scan {
            request,
            account,
            tenant,
            rule: &known_customer.rule,
            client_reference: self.client_reference,
            stripe: self.stripe()?.account(account),
            seen_ids: HashSet::new(),
            closed: Vec::new(),
            refunded: Vec::new(),
            result: ScanResult::default(),
        };
        let scanned = match &request.customer {
            Customer::Session(id) => scan.fetch_requested(id).await,
            Customer::StripeCustomer(id) => {
                let filter = SessionFilter {
                    customer: Some(id.clone()),
                    ..created_since(run.from)
                };
                scan.fetch_customer_list(filter).await
            }
            // Scheduled: one call with Stripe's email filter in place of the whole list. For a person's
            // request the whole list is read, because that filter is case-sensitive.
            Customer::Email(email) if request.via == CreatedVia::Lookback => {
                let filter = SessionFilter {
                    email: Some(email.clone()),
                    ..created_since(run.from)
                };
                scan.fetch_list(filter).await
            }
            Customer::User { .. } if request.via != CreatedVia::Support => {
                match self.covering_watermark(account, run.from).await? {
                    Some(mark) => {
                        let own = |one: &&Subscription| is_of_account(one, tenants, account, tenant);
                        let subscriptions: Vec<&Subscription> =
                            known_customer.subscriptions.iter().filter(own).collect();
                        self.scan_since_watermark(&mut scan, attempt, &mark, &subscriptions)
                            .await?
                    }
                    None => self.scan_whole_window(&mut scan, attempt).await?,
                }
            }
            _ => self.scan_whole_window(&mut scan, attempt).await?,
        };
        scan.result.error = scanned.err();
        let refunded = std::mem::take(&mut scan.refunded);
        self.close_cases_of_refunded(scan.account, refunded.iter())
            .await?;
        Ok(scan.result)
    }

    /// The watermark of the account syncs, if it covers the time from `from` until recently.
    async fn covering_watermark(
        &self,
        account: Option<&str>,
        from: DateTime<Utc>,
    ) -> Result<Option<Watermark>, LookbackError> {
        let now = self.clock.now();
        // A watermark in the future was set by a wrong clock.
        let covers = |mark: &Watermark| {
            mark.from <= from && mark.to > from && (now - MAX_WATERMARK_AGE..now).contains(&mark.to)
        };
        let marks = self.records().watermarks().await?;
        let own = |mark: &Watermark| mark.is_of(DETECTOR, account, self.is_test());
        Ok(marks.into_iter().find(|mark| own(mark) && covers(mark)))
    }

    /// Reads the whole window. That may take longer than one attempt: each page is enqueued before the next
    /// is read, and the run stores the position where the next attempt continues.
    async fn scan_whole_window(
        &self,
        scan: &mut Scan<'_>,
        attempt: &mut SyncAttempt<'_>,
    ) -> Result<Result<(), StripeError>, LookbackError> {
        let account = scan.account;
        let ListPosition::After(starting_after) = attempt.position(account) else {
            return Ok(Ok(()));
        };
        let filter = SessionFilter {
            starting_after,
            ..created_since(attempt.run.from)
        };
        let mut pages = Listing::new(&scan.stripe, filter, None);
        let (mut found, mut all_enqueued) = (0, true);
        while found < MAX_SESSIONS {
            let position = match pages.next().await {
                Ok(Some(page)) => {
                    scan.add_page(&page);
                    match page.last_id.filter(|_| page.has_more) {
                        Some(last) => ListPosition::After(Some(last)),
                        None => ListPosition::End,
                    }
                }
                Ok(None) => ListPosition::End,
                Err(error) => return Ok(Err(error)),
            };
            found += scan.result.candidates.len();
            let is_end = matches!(position, ListPosition::End);
            all_enqueued &= self
                .enqueue_candidates(attempt, account, &mut scan.result)
                .await?;
            // Sessions that must be tried again have to be listed again.
            if all_enqueued {
                attempt.set_position(account, position);
            }
            self.save_checkpoint(attempt, &mut scan.result).await?;
            if is_end {
                return Ok(Ok(()));
            }
        }
        scan.result.too_many = true;
        Ok(Ok(()))
    }

    /// Lists the sessions since the watermark. Of older ones, retrieves only those that were pending when
    /// they were listed.
    ///
    /// Also asks Stripe by the user's Stripe customers and verified email. This finds sessions that could not
    /// be assigned to the user while their checkout was open.
    async fn scan_since_watermark(
        &self,
        scan: &mut Scan<'_>,
        attempt: &mut SyncAttempt<'_>,
        mark: &Watermark,
        subscriptions: &[&Subscription],
    ) -> Result<Result<(), StripeError>, LookbackError> {
        let run = attempt.run;
        let mut customers: Vec<&str> = Vec::new();
        for one in subscriptions {
            let customer = one.stripe_customer_id.as_deref();
            customers.extend(customer.filter(|id| !customers.contains(id)));
        }
        let Some(open) = self.pending_sessions_of(scan, run, &customers).await? else {
            return self.scan_whole_window(scan, attempt).await;
        };
        // These sessions have a subscription: they are only counted.
        let newer = subscriptions.iter().filter(|one| one.start_date >= run.from);
        let key = scan.request.customer.key();
        for one in newer {
            scan.seen_ids.insert(one.stripe_session_id.clone());
            let found = Candidate::new(&one.stripe_session_id, key.clone(), None);
            scan.result.candidates.push(found);
        }
        let scanned: Result<(), StripeError> = async {
            scan.fetch_list(created_since(run.from.max(mark.to - OVERLAP)))
                .await?;
            for session in &open {
                if !scan.seen_ids.contains(session) {
                    scan.fetch_session(session).await?;
                }
            }
            for id in customers.iter().take(MAX_CUSTOMERS) {
                let filter = SessionFilter {
                    customer: Some((*id).to_owned()),
                    ..created_since(run.from)
                };
                scan.fetch_optional_list(filter).await?;
            }
            for email in email_spellings(&scan.request.customer) {
                let filter = SessionFilter {
                    email: Some(email),
                    ..created_since(run.from)
                };
                scan.fetch_optional_list(filter).await?;
            }
            Ok(())
        }
        .await;
        let closed: Vec<&str> = scan.closed.iter().map(String::as_str).collect();
        self.records().remove_pending_sessions(&closed).await?;
        Ok(scanned)
    }

    /// The customer's sessions that were pending in an account sync's list and still have no subscription.
    /// `None`: too many.
    async fn pending_sessions_of(
        &self,
        scan: &Scan<'_>,
        run: &LookbackRun,
        customers: &[&str],
    ) -> Result<Option<Vec<String>>, LookbackError> {
        let Customer::User { id, verified_email } = &scan.request.customer else {
            return Ok(None);
        };
        let customers = customers
            .iter()
            .map(|id| Customer::StripeCustomer((*id).to_owned()));
        let email = verified_email.clone().map(Customer::Email);
        let keys = customers.chain(email).map(|one| one.key());
        let keys: Vec<String> = keys.chain([ownership::user_key(id)]).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let records = self.records();
        // Some may have a subscription by now.
        let most = 10 * MAX_PENDING;
        let noted = records
            .pending_sessions(scan.account, &keys, run.from, most)
            .await?;
        let is_all = noted.len() < most as usize;
        let sessions: Vec<&str> = noted.iter().map(String::as_str).collect();
        let fulfilled = self.fulfilled(&sessions, std::iter::empty()).await?;
        let (done, open): (Vec<String>, Vec<String>) = noted
            .into_iter()
            .partition(|session| fulfilled.contains(session, None));
        let done: Vec<&str> = done.iter().map(String::as_str).collect();
        records.remove_pending_sessions(&done).await?;
        Ok(Some(open).filter(|open| is_all && open.len() <= MAX_PENDING as usize))
    }
}

/// The verified email as the token spells it and in its usual spellings: Stripe's filter is case-sensitive.
fn email_spellings(customer: &Customer) -> Vec<String> {
    let Customer::User {
        verified_email: Some(email),
        ..
    } = customer
    else {
        return Vec::new();
    };
    let given = email.trim().to_owned();
    let mut email_spellings = email::spellings(&email::normalize(email));
    if !email_spellings.contains(&given) {
        email_spellings.insert(0, given);
    }
    email_spellings.retain(|email| !email.is_empty());
    email_spellings
}

/// Whether a subscription was sold on the account, and by the tenant if one is requested.
fn is_of_account(
    one: &Subscription,
    tenants: &[KnownTenant],
    account: Option<&str>,
    asked: Option<&KnownTenant>,
) -> bool {
    let seller = tenants.iter().find(|tenant| tenant.id == one.tenant);
    seller.is_some_and(|seller| {
        seller.stripe_account.as_deref() == account && asked.is_none_or(|asked| asked.id == seller.id)
    })
}
