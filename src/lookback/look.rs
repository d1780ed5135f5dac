//! One customer's sessions in one account: what Stripe is asked for, and what need not be asked.
//!
//! Stripe's lists know neither our users nor emails without regard to case, so by themselves they must be read whole: a call
//! for each 100 sessions of the shop. What the sweeps have proven need not be: see docs/decisions/lookback.md, "A customer's own
//! look".

mod reading;

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use self::reading::since;
use super::attempt::{Attempt, Place};
use super::enqueue_missing::Candidate;
use super::listing::Listing;
use super::ownership::{self, OwnershipRule};
use super::sweep::DETECTOR;
use super::{Customer, Lookback, LookbackError, SyncRequest};
use crate::config::ClientReference;
use crate::email;
use crate::store::{CreatedVia, KnownTenant, LookbackMark, LookbackRun, Subscription, SubscriptionFilter};
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Account, SessionFilter, StripeError};

/// So many of a user's subscriptions are looked at.
const MOST_SUBSCRIPTIONS: u32 = 1_000;
/// More sessions than any customer has in one account's window; what is beyond it is left to the sweep, which streams.
const MOST_SESSIONS: usize = 10_000;
/// By how much a listing begins before the mark. The mark is by our clocks and `created` by Stripe's; and a session that was
/// just made may have been missing in the sweep's list. Generous: it costs a page only where a shop sells 100 in this time.
const OVERLAP: TimeDelta = TimeDelta::minutes(15);
/// A mark that is older is not relied on: the sweeps stand still, and somebody should find out by more than the mark. More
/// than a day, as it may be that only the night raises it.
const FRESH: TimeDelta = TimeDelta::hours(26);
/// So many of their open sessions are retrieved one by one. Who has more (by abandoning as many checkouts in a day) is
/// looked for in the whole list.
const MOST_OPEN: u32 = 20;
/// So many of a user's Stripe customers are asked after, those of the newest subscriptions.
const MOST_CUSTOMERS: usize = 3;

/// What a look into one account came to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) found: Vec<Candidate>,
    /// Calls that were answered.
    pub(super) pages: u64,
    pub(super) unreadable: u64,
    pub(super) too_many: bool,
    /// The account has no such session, or no such Stripe customer.
    pub(super) is_unknown: bool,
    /// What broke it off.
    pub(super) error: Option<StripeError>,
}

/// Whom a request is about, as far as our own store knows.
pub(super) struct Asker {
    pub(super) rule: OwnershipRule,
    /// What the user holds, newest first.
    held: Vec<Subscription>,
}

/// One look.
struct Look<'a> {
    request: &'a SyncRequest,
    account: Option<&'a str>,
    tenant: Option<&'a KnownTenant>,
    rule: &'a OwnershipRule,
    client_reference: ClientReference,
    stripe: Account,
    /// Sessions that it has come across.
    met: HashSet<String>,
    /// Sessions that are paid for or never will be: nobody has to look at them again for being unpaid.
    closed: Vec<String>,
    /// Sessions whose money was given back in full.
    refunded: Vec<CheckoutSession>,
    seen: Seen,
}

impl Lookback {
    pub(super) async fn asker(&self, request: &SyncRequest) -> Result<Asker, LookbackError> {
        let held = match &request.customer {
            Customer::User { id, .. } => {
                let filter = SubscriptionFilter {
                    user: Some(id.clone()),
                    ..SubscriptionFilter::default()
                };
                self.store.subscriptions(&filter, MOST_SUBSCRIPTIONS).await?
            }
            _ => Vec::new(),
        };
        Ok(Asker {
            rule: OwnershipRule::of(&request.customer),
            held,
        })
    }

    /// Looks for what may be the customer's. What was seen before an error is told with it.
    pub(super) async fn look_into(
        &self,
        request: &SyncRequest,
        attempt: &mut Attempt<'_>,
        account: Option<&str>,
        (tenants, tenant): (&[KnownTenant], Option<&KnownTenant>),
        asker: &Asker,
    ) -> Result<Seen, LookbackError> {
        let run = attempt.run;
        let mut look = Look {
            request,
            account,
            tenant,
            rule: &asker.rule,
            client_reference: self.client_reference,
            stripe: self.stripe()?.account(account),
            met: HashSet::new(),
            closed: Vec::new(),
            refunded: Vec::new(),
            seen: Seen::default(),
        };
        let looked = match &request.customer {
            Customer::Session(id) => look.asked(id).await,
            Customer::StripeCustomer(id) => {
                let filter = SessionFilter {
                    customer: Some(id.clone()),
                    ..since(run.from)
                };
                look.known(filter).await
            }
            // By schedule: one call instead of the whole list. A person who asks gets the list, as Stripe compares emails
            // letter by letter.
            Customer::Email(email) if request.via == CreatedVia::Lookback => {
                let filter = SessionFilter {
                    email: Some(email.clone()),
                    ..since(run.from)
                };
                look.list(filter).await
            }
            Customer::User { .. } if request.via != CreatedVia::Support => {
                match self.proven(account, run.from).await? {
                    Some(mark) => {
                        let own = |one: &&Subscription| is_sold_by(one, tenants, account, tenant);
                        let held: Vec<&Subscription> = asker.held.iter().filter(own).collect();
                        self.look_briefly(&mut look, attempt, &mark, &held).await?
                    }
                    None => self.look_through(&mut look, attempt).await?,
                }
            }
            _ => self.look_through(&mut look, attempt).await?,
        };
        look.seen.error = looked.err();
        let refunded = std::mem::take(&mut look.refunded);
        self.close_cases_of_refunded(look.account, refunded.iter())
            .await?;
        Ok(look.seen)
    }

    /// The mark of the account's sweeps, if it covers the time from `from` to a while ago.
    async fn proven(
        &self,
        account: Option<&str>,
        from: DateTime<Utc>,
    ) -> Result<Option<LookbackMark>, LookbackError> {
        let now = self.clock.now();
        // One that ends in the future was raised by a wrong clock.
        let covers = |mark: &LookbackMark| {
            mark.from <= from && mark.to > from && (now - FRESH..now).contains(&mark.to)
        };
        let marks = self.records().marks().await?;
        let own = |mark: &LookbackMark| mark.is_of(DETECTOR, account, self.is_test());
        Ok(marks.into_iter().find(|mark| own(mark) && covers(mark)))
    }

    /// Reads the window whole. That may take longer than an attempt has: what a page holds is handed in before the next one,
    /// and the run says from where the next attempt goes on.
    async fn look_through(
        &self,
        look: &mut Look<'_>,
        attempt: &mut Attempt<'_>,
    ) -> Result<Result<(), StripeError>, LookbackError> {
        let account = look.account;
        let Place::After(starting_after) = attempt.place(account) else {
            return Ok(Ok(()));
        };
        let filter = SessionFilter {
            starting_after,
            ..since(attempt.run.from)
        };
        let mut pages = Listing::new(&look.stripe, filter);
        let (mut found, mut all_handed_in) = (0, true);
        while found < MOST_SESSIONS {
            let place = match pages.next().await {
                Ok(Some(page)) => {
                    look.read(&page);
                    match page.last_id.filter(|_| page.has_more) {
                        Some(last) => Place::After(Some(last)),
                        None => Place::End,
                    }
                }
                Ok(None) => Place::End,
                Err(error) => return Ok(Err(error)),
            };
            found += look.seen.found.len();
            let is_end = matches!(place, Place::End);
            all_handed_in &= self.hand_in(attempt, account, &mut look.seen).await?;
            // What must be looked at again is found again.
            if all_handed_in {
                attempt.put(account, place);
            }
            self.take_down(attempt, &mut look.seen).await?;
            if is_end {
                return Ok(Ok(()));
            }
        }
        look.seen.too_many = true;
        Ok(Ok(()))
    }

    /// Lists what was made since the mark, and of what was made before it only what had no end when it was listed.
    ///
    /// Besides, Stripe is asked by the user's Stripe customers and verified email. That finds again what is theirs
    /// and in order; and it finds what nobody could tell to be theirs while its checkout was open.
    async fn look_briefly(
        &self,
        look: &mut Look<'_>,
        attempt: &mut Attempt<'_>,
        mark: &LookbackMark,
        held: &[&Subscription],
    ) -> Result<Result<(), StripeError>, LookbackError> {
        let run = attempt.run;
        let mut customers: Vec<&str> = Vec::new();
        for one in held {
            let customer = one.stripe_customer_id.as_deref();
            customers.extend(customer.filter(|id| !customers.contains(id)));
        }
        let Some(open) = self.open_of(look, run, &customers).await? else {
            return self.look_through(look, attempt).await;
        };
        // What they hold was looked at by whoever made it theirs.
        let newer = held.iter().filter(|one| one.start_date >= run.from);
        let key = look.request.customer.key();
        for one in newer {
            look.met.insert(one.stripe_session_id.clone());
            let found = Candidate::new(&one.stripe_session_id, key.clone(), None);
            look.seen.found.push(found);
        }
        let looked: Result<(), StripeError> = async {
            look.list(since(run.from.max(mark.to - OVERLAP))).await?;
            for session in &open {
                if !look.met.contains(session) {
                    look.one(session).await?;
                }
            }
            for id in customers.iter().take(MOST_CUSTOMERS) {
                let filter = SessionFilter {
                    customer: Some((*id).to_owned()),
                    ..since(run.from)
                };
                look.also(filter).await?;
            }
            for email in emails(&look.request.customer) {
                let filter = SessionFilter {
                    email: Some(email),
                    ..since(run.from)
                };
                look.also(filter).await?;
            }
            Ok(())
        }
        .await;
        let closed: Vec<&str> = look.closed.iter().map(String::as_str).collect();
        self.records().close_sessions(&closed).await?;
        Ok(looked)
    }

    /// Their sessions that had no end when a sweep listed them, and that have no subscription since; `None`: too many.
    async fn open_of(
        &self,
        look: &Look<'_>,
        run: &LookbackRun,
        customers: &[&str],
    ) -> Result<Option<Vec<String>>, LookbackError> {
        let Customer::User { id, verified_email } = &look.request.customer else {
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
        // Those that have their subscription by now may be among them.
        let most = 10 * MOST_OPEN;
        let noted = records.open_sessions(look.account, &keys, run.from, most).await?;
        let is_all = noted.len() < most as usize;
        let sessions: Vec<&str> = noted.iter().map(String::as_str).collect();
        let fulfilled = self.fulfilled(&sessions, std::iter::empty()).await?;
        let (done, open): (Vec<String>, Vec<String>) = noted
            .into_iter()
            .partition(|session| fulfilled.contains(session, None));
        let done: Vec<&str> = done.iter().map(String::as_str).collect();
        records.close_sessions(&done).await?;
        Ok(Some(open).filter(|open| is_all && open.len() <= MOST_OPEN as usize))
    }
}

/// The verified email as the token has it, and as people type it: Stripe compares letter by letter.
fn emails(customer: &Customer) -> Vec<String> {
    let Customer::User {
        verified_email: Some(email),
        ..
    } = customer
    else {
        return Vec::new();
    };
    let given = email.trim().to_owned();
    let mut emails = email::spellings(&email::folded(email));
    if !emails.contains(&given) {
        emails.insert(0, given);
    }
    emails.retain(|email| !email.is_empty());
    emails
}

/// Whether a subscription is of the account, and of the tenant where one is asked for.
fn is_sold_by(
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
