//! Adds pages of sessions to a reconciliation.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, Utc};

use super::Options;
use super::balance::{AccountBalance, Balance};
use super::compare::{differences, paid};
use super::delay::DelayStats;
use super::finding::Finding;
use super::owner::{self, OwnerCheck};
use crate::fulfil::{ExpectedSubscription, FulfilmentRules, Purchase, SessionSource};
use crate::ingest::{Triage, triage_session};
use crate::store::{CreatedVia, Resolution, Store, StoreError, Subscription, UnmatchedPayment};
use crate::stripe::CheckoutSession;

pub(super) struct Reconciler<'a> {
    pub(super) rules: &'a FulfilmentRules,
    pub(super) store: &'a Store,
    pub(super) options: &'a Options,
    /// Only the tenant with this id.
    pub(super) only: Option<&'a str>,
    pub(super) balance: Balance,
    delays: DelayStats,
    listed: SeenSessions,
    doubled_payments: HashSet<String>,
    /// Of the page that is being added.
    pub(super) owner_checks: Vec<OwnerCheck>,
}

/// The listed sessions, in eight bytes each. Of a million, two have the same hash with a chance of 1 in 37
/// million. Then an unknown session could be missed.
#[derive(Debug, Default)]
struct SeenSessions {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl SeenSessions {
    fn add(&mut self, session: &str) {
        self.hashes.insert(self.hasher.hash_one(session));
    }

    fn has(&self, session: &str) -> bool {
        self.hashes.contains(&self.hasher.hash_one(session))
    }
}

/// A page's subscriptions by session and payment.
struct PageSubscriptions<'a> {
    by_session: HashMap<&'a str, &'a Subscription>,
    by_payment: HashMap<&'a str, Vec<&'a Subscription>>,
    cases: HashMap<&'a str, &'a UnmatchedPayment>,
}

impl<'a> PageSubscriptions<'a> {
    fn new(all: &'a [Subscription], cases: &'a [UnmatchedPayment]) -> Self {
        let mut held = Self {
            cases: cases.iter().map(|case| (case.session.as_str(), case)).collect(),
            by_session: HashMap::with_capacity(all.len()),
            by_payment: HashMap::with_capacity(all.len()),
        };
        for one in all {
            held.by_session.insert(&one.stripe_session_id, one);
            if let Some(payment) = &one.stripe_payment_id {
                held.by_payment.entry(payment).or_default().push(one);
            }
        }
        held
    }

    /// The session's own first, then others of its payment. A missing payment intent matches nothing.
    fn of(&self, session: &str, payment: Option<&str>) -> Vec<&'a Subscription> {
        let own = self.by_session.get(session).copied();
        let paid = payment.and_then(|payment| self.by_payment.get(payment));
        let others = paid.into_iter().flatten().copied();
        own.into_iter()
            .chain(others.filter(|one| one.stripe_session_id != session))
            .collect()
    }
}

/// A paid session and what fulfilment makes of it.
struct PaidSession<'a> {
    session: &'a CheckoutSession,
    purchase: &'a Purchase,
    due: &'a ExpectedSubscription,
    tenant: Option<String>,
    paid_at: Option<DateTime<Utc>>,
}

impl PaidSession<'_> {
    fn finding(&self, subscriptions: &[&Subscription]) -> Finding {
        Finding {
            session: self.purchase.session_id.clone(),
            account: self.purchase.account.clone(),
            tenant: self.tenant.clone(),
            payment_intent: self.purchase.payment_intent.clone(),
            amount: paid(self.purchase),
            paid_at: self.paid_at,
            subscriptions: subscriptions.iter().map(|one| one.id.clone()).collect(),
            ..Finding::default()
        }
    }

    fn is_disputed(&self) -> bool {
        let payment = self.session.payment.as_ref();
        payment.is_some_and(|payment| payment.disputed == Some(true))
    }
}

impl<'a> Reconciler<'a> {
    pub(super) fn new(
        rules: &'a FulfilmentRules,
        store: &'a Store,
        options: &'a Options,
        only: Option<&'a str>,
    ) -> Self {
        Self {
            rules,
            store,
            options,
            only,
            balance: Balance {
                from: options.from,
                to: options.to,
                payments_read: true,
                ..Balance::default()
            },
            delays: DelayStats::default(),
            listed: SeenSessions::default(),
            doubled_payments: HashSet::new(),
            owner_checks: Vec::new(),
        }
    }

    /// Adds a page of an account's sessions.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing of the page was added.
    pub(super) async fn add_page(
        &mut self,
        tally: &mut AccountBalance,
        page: &[CheckoutSession],
    ) -> Result<(), StoreError> {
        let sessions: Vec<_> = page.iter().filter_map(|one| one.id.as_deref()).collect();
        let payments: Vec<_> = page
            .iter()
            .filter_map(|one| one.payment_intent.as_deref())
            .collect();
        let all = self.store.subscriptions().of(&sessions, &payments).await?;
        let cases = self.store.unmatched().unmatched_of(&sessions).await?;
        let held = PageSubscriptions::new(&all, &cases);
        for session in page {
            self.add_session(tally, session, &held);
        }
        self.add_owner_differences().await
    }

    fn add_session(
        &mut self,
        tally: &mut AccountBalance,
        session: &CheckoutSession,
        held: &PageSubscriptions<'_>,
    ) {
        let id = session.id.as_deref().unwrap_or_default();
        self.listed.add(id);
        tally.sessions += 1;
        self.balance.sessions += 1;
        tally.back_to = [tally.back_to, session.created].into_iter().flatten().min();
        match triage(session, tally.account.as_deref()) {
            Triage::Fulfil(purchase) => {
                let purchase = purchase.read_as(self.options.client_reference);
                let case = held.cases.get(id).copied();
                let held = held.of(id, purchase.payment_intent.as_deref());
                self.add_purchase(tally, session, &purchase, &held, case);
            }
            Triage::Ignore(why) => {
                let own = held.of(id, None).into_iter().next();
                if let Some(own) = own.filter(|own| self.is_active(own) && self.counts(Some(&own.tenant))) {
                    self.balance.unpaid_active.add(Finding {
                        session: id.to_owned(),
                        account: tally.account.clone(),
                        why: Some(why.to_owned()),
                        ..subscription_finding(own)
                    });
                }
            }
        }
    }

    fn add_purchase(
        &mut self,
        tally: &mut AccountBalance,
        session: &CheckoutSession,
        purchase: &Purchase,
        held: &[&Subscription],
        case: Option<&UnmatchedPayment>,
    ) {
        let due = self.rules.expected(purchase, self.options.to);
        if held.is_empty() && (purchase.is_trial || matches!(due, ExpectedSubscription::NotAPass(_))) {
            return;
        }
        let tenant = match (held.first(), &due) {
            (Some(held), _) => Some(held.tenant.clone()),
            (None, ExpectedSubscription::Subscription(due)) => Some(due.tenant.clone()),
            (None, _) => self.rules.tenant(purchase).map(|tenant| tenant.id.clone()),
        };
        if !self.counts(tenant.as_deref()) {
            return;
        }
        let entry = PaidSession {
            session,
            purchase,
            due: &due,
            tenant,
            paid_at: session
                .payment
                .as_ref()
                .and_then(|payment| payment.paid_at)
                .or(purchase.created),
        };
        tally.paid += 1;
        self.balance.paid += 1;
        match held {
            [] => self.add_unfulfilled(tally, &entry, case),
            [first, others @ ..] => self.add_fulfilled(&entry, first, others),
        }
    }

    fn add_unfulfilled(
        &mut self,
        tally: &mut AccountBalance,
        entry: &PaidSession<'_>,
        case: Option<&UnmatchedPayment>,
    ) {
        let mut finding = entry.finding(&[]);
        if let ExpectedSubscription::Refused(refusal) = entry.due {
            finding.why = Some(format!("{}: {refusal}", refusal.code()));
        }
        let grace = chrono::TimeDelta::from_std(self.options.grace).unwrap_or_default();
        let is_young = entry
            .paid_at
            .is_some_and(|paid_at| self.options.to - paid_at < grace);
        let balance = &mut self.balance;
        let resolution = case.and_then(|case| case.resolution);
        if entry.session.is_refunded() || resolution == Some(Resolution::Refund) {
            balance.refunded_unfulfilled.add(finding);
        } else if resolution == Some(Resolution::Person) {
            balance.closed_unfulfilled.add(finding);
        } else if is_young {
            balance.in_flight.add(finding);
        } else {
            tally.missing += 1;
            balance.missing.add(finding);
        }
    }

    fn add_fulfilled(&mut self, entry: &PaidSession<'_>, first: &Subscription, others: &[&Subscription]) {
        self.balance.fulfilled += 1;
        if !others.is_empty() && self.is_first_of_its_payment(entry.purchase) {
            let all: Vec<_> = std::iter::once(first).chain(others.iter().copied()).collect();
            self.balance.doubled.add(entry.finding(&all));
        }
        // Otherwise another session of this payment was fulfilled; its findings cover the rest.
        if first.stripe_session_id == entry.purchase.session_id {
            if let Some(paid_at) = entry.paid_at {
                let session = &entry.purchase.session_id;
                self.delays
                    .add(session, first.created_via, paid_at, first.created_at);
            }
            let check = owner::check(entry.purchase, first, entry.finding(&[first]));
            self.owner_checks.extend(check);
            let differences = differences(entry.purchase, entry.due, first);
            if !differences.is_empty() {
                self.balance.wrong.add(Finding {
                    differences,
                    ..entry.finding(&[first])
                });
            }
        }
        if self.is_active(first) {
            self.balance.active += 1;
            if entry.session.is_refunded() {
                self.balance.refunded_active.add(entry.finding(&[first]));
            } else if entry.is_disputed() {
                self.balance.disputed_active.add(entry.finding(&[first]));
            }
        }
    }

    /// Two sessions of one payment have the same subscriptions: report them once.
    fn is_first_of_its_payment(&mut self, purchase: &Purchase) -> bool {
        match &purchase.payment_intent {
            Some(payment) => self.doubled_payments.insert(payment.clone()),
            None => true,
        }
    }

    fn is_active(&self, subscription: &Subscription) -> bool {
        subscription.is_active && subscription.end_date > self.options.to
    }

    /// Whether this tenant is included. A purchase without a tenant counts only if all tenants are.
    pub(super) fn counts(&self, tenant: Option<&str>) -> bool {
        self.only.is_none_or(|only| tenant == Some(only))
    }

    pub(super) fn is_listed(&self, session: &str) -> bool {
        self.listed.has(session)
    }

    /// Whether the ten line items in a list do not identify the pass.
    pub(super) fn needs_all_line_items(&self, session: &CheckoutSession, account: Option<&str>) -> bool {
        session.more_line_items
            && matches!(triage(session, account), Triage::Fulfil(purchase)
                if !matches!(self.rules.expected(&purchase, self.options.to), ExpectedSubscription::Subscription(_)))
    }

    pub(super) fn finish(self) -> Balance {
        let mut balance = self.balance;
        (balance.delay, balance.layers) = self.delays.read();
        let accounts = &balance.accounts;
        balance.complete = balance.failed.is_none()
            && balance.unreadable == 0
            && accounts.iter().all(|account| account.failed.is_none());
        let found = [&balance.missing, &balance.doubled, &balance.unmatched];
        balance.ok = balance.complete && found.iter().all(|findings| findings.count == 0);
        balance
    }
}

/// A finding from a subscription alone.
pub(super) fn subscription_finding(subscription: &Subscription) -> Finding {
    Finding {
        session: subscription.stripe_session_id.clone(),
        tenant: Some(subscription.tenant.clone()),
        payment_intent: subscription.stripe_payment_id.clone(),
        amount: Some(subscription.purchase_price),
        paid_at: Some(subscription.start_date),
        subscriptions: vec![subscription.id.clone()],
        ..Finding::default()
    }
}

fn triage(session: &CheckoutSession, account: Option<&str>) -> Triage {
    triage_session(session, &SessionSource::api(account, CreatedVia::Lookback))
}
