//! Enqueues paid sessions that have no subscription as `fulfil` jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::cases::Case;
use super::{Lookback, LookbackError};
use crate::config::ClientReference;
use crate::fulfil::{
    Purchase, SessionSource, TENANT_MISMATCH, UNRESOLVED_PASS, UNRESOLVED_TENANT, is_session_id,
};
use crate::ingest::{Triage, draft, triage_session};
use crate::queue::{Enqueued, Item, JobStatus, QueueError};
use crate::store::{CreatedVia, FoundSession, SessionState};
use crate::stripe::{CheckoutSession, SessionStatus};

/// The fairness group in which a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The group of the tenant's fresh purchases: a customer is waiting for it.
    Fresh,
    /// A group of its own, served in turn with the fresh one. However much an account sync finds, a fresh
    /// purchase waits for one round of it at most.
    Lookback,
}

impl Lane {
    fn item(self, purchase: &Purchase) -> Result<Item, QueueError> {
        let item = Item::job(purchase)?.group(purchase.group());
        Ok(match self {
            Self::Fresh => item,
            Self::Lookback => item.lane("lookback"),
        })
    }
}

/// What a session that Stripe returned means to us.
#[derive(Debug)]
pub(super) enum SessionClass {
    /// A purchase, or what may become one. It says who owns it.
    Purchase(Box<Purchase>, Payment),
    /// It will never be paid, or is not a purchase of a pass.
    Other,
    /// Its id is missing or invalid.
    Unreadable,
}

/// Whether a purchase is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payment {
    Paid,
    /// Paid. But only the line items can say what was bought, and the list does not carry all of them.
    PaidIncomplete,
    /// It may still be paid: the checkout is open, or a bank transfer is pending.
    Unpaid,
    /// Refunded in full, perhaps before fulfilment: no pass is due any more.
    Refunded,
}

/// Classifies a session of `account`.
pub(super) fn classify(
    session: &CheckoutSession,
    account: Option<&str>,
    via: CreatedVia,
    reference: ClientReference,
) -> SessionClass {
    let source = SessionSource::api(account, via);
    if !session.id.as_deref().is_some_and(is_session_id) {
        return SessionClass::Unreadable;
    }
    let (purchase, payment) = if session.is_refunded() {
        (draft(session, &source), Payment::Refunded)
    } else {
        match triage_session(session, &source) {
            Triage::Fulfil(purchase) => {
                let is_named = purchase.pass_id.is_some() || purchase.pass_name.is_some();
                let payment = if session.more_line_items && !is_named {
                    Payment::PaidIncomplete
                } else {
                    Payment::Paid
                };
                (Some(purchase), payment)
            }
            Triage::Ignore(_) if session.status == Some(SessionStatus::Expired) => (None, Payment::Unpaid),
            Triage::Ignore(_) => (draft(session, &source), Payment::Unpaid),
        }
    };
    let Some(mut purchase) = purchase else {
        return SessionClass::Other;
    };
    if reference == ClientReference::Ignore {
        purchase.client_reference_id = None;
    }
    SessionClass::Purchase(Box::new(purchase), payment)
}

/// The sessions and payments that already have a subscription.
#[derive(Debug, Default)]
pub(super) struct Fulfilled {
    /// With the layer that created the subscription.
    sessions: HashMap<String, CreatedVia>,
    payments: HashSet<String>,
}

impl Fulfilled {
    /// Which layer created the session's own subscription.
    pub(super) fn via(&self, session: &str) -> Option<CreatedVia> {
        self.sessions.get(session).copied()
    }

    /// Whether the session has a subscription, or the payment of its purchase does. A missing payment matches
    /// nothing.
    pub(super) fn contains(&self, session: &str, purchase: Option<&Purchase>) -> bool {
        let payment = purchase.and_then(|purchase| purchase.payment_intent.as_ref());
        self.sessions.contains_key(session) || payment.is_some_and(|payment| self.payments.contains(payment))
    }
}

/// Sessions or payments in one query.
const BATCH_SIZE: usize = 500;

impl Lookback {
    /// Which of these sessions, and of the purchases' payments, have a subscription.
    pub(super) async fn fulfilled(
        &self,
        sessions: &[&str],
        purchases: impl Iterator<Item = &Purchase>,
    ) -> Result<Fulfilled, LookbackError> {
        let payments: Vec<&str> = purchases
            .filter_map(|one| one.payment_intent.as_deref())
            .collect();
        let mut all = Fulfilled::default();
        let (mut sessions, mut payments) = (sessions.chunks(BATCH_SIZE), payments.chunks(BATCH_SIZE));
        loop {
            let (some, others) = (sessions.next(), payments.next());
            if some.is_none() && others.is_none() {
                break;
            }
            let (some, others) = (some.unwrap_or_default(), others.unwrap_or_default());
            for held in self.store.subscriptions().fulfilled(some, others).await? {
                all.sessions.insert(held.session, held.via);
                all.payments.extend(held.payment);
            }
        }
        Ok(all)
    }

    /// Enqueues the candidates that have no subscription, and sets the state of each: `Existing`, `Ignored`,
    /// `Refunded`, `Enqueued`, `Dead` or `Failed`; `Staged` if it must be tried again, with the reason. A
    /// candidate without a known purchase is retrieved from Stripe.
    ///
    /// If this process dies after Redis took the jobs and before the states are stored, the sessions are
    /// found again, and their dedupe keys are taken.
    ///
    /// # Errors
    /// The store's and the queue's. An error of one session only is stored with that session.
    pub(super) async fn enqueue_missing(
        &self,
        account: Option<&str>,
        via: CreatedVia,
        lane: Lane,
        candidates: &mut [Candidate],
    ) -> Result<(), LookbackError> {
        let sessions: Vec<&str> = candidates.iter().map(|one| one.row.session.as_str()).collect();
        let purchases = candidates.iter().filter_map(|one| one.purchase.as_ref());
        let fulfilled = self.fulfilled(&sessions, purchases).await?;
        let cases = self.cases(&sessions).await?;
        let mut missing = Vec::new();
        for (n, one) in candidates.iter_mut().enumerate() {
            if fulfilled.contains(&one.row.session, one.purchase.as_ref()) {
                one.set_state(SessionState::Existing, None);
                continue;
            }
            if one.is_refunded {
                one.set_state(SessionState::Refunded, None);
                continue;
            }
            // An open case is enqueued again: its price may be in the catalog by now.
            if cases.of(&one.row.session) == Some(Case::Closed) {
                one.set_state(SessionState::Ignored, None);
                continue;
            }
            if one.purchase.is_none() {
                one.retrieve(self, account, via).await?;
            }
            if one.purchase.is_some() {
                missing.push(n);
            }
        }
        let items: Vec<Item> = missing
            .iter()
            .filter_map(|n| candidates[*n].purchase.as_ref())
            .map(|purchase| Ok(lane.item(purchase)?.revive()))
            .collect::<Result<_, LookbackError>>()?;
        let answers = self.fulfil.enqueue(&items).await?;
        for (n, answer) in missing.into_iter().zip(answers) {
            let one = &mut candidates[n];
            let death = match (answer, &one.purchase) {
                (Enqueued::Dead, Some(purchase)) => self.dead_letter_reason(purchase).await?,
                _ => None,
            };
            match death {
                Some(reason) => one.set_state(SessionState::Dead, Some(reason)),
                None => one.set_state(SessionState::Enqueued, None),
            }
        }
        Ok(())
    }

    /// Why the purchase's job stays a dead letter. Returns `None` if the job runs again, with the new data
    /// from Stripe.
    async fn dead_letter_reason(&self, purchase: &Purchase) -> Result<Option<String>, LookbackError> {
        let id = purchase.job_key();
        let Some(JobStatus::Dead { reason, .. }) =
            self.fulfil.job_statuses(std::slice::from_ref(&id)).await?.pop()
        else {
            // Another process has changed it since.
            return Ok(None);
        };
        let before: Option<Purchase> = self.fulfil.payload(&id).await?;
        if before.is_some_and(|before| has_new_evidence(purchase, &before, &reason)) {
            let item = Item::job(purchase)?
                .group(purchase.group())
                .revive_of(RESOLVED_BY_STRIPE);
            self.fulfil.enqueue(&[item]).await?;
            return Ok(None);
        }
        Ok(Some(dead_letter_message(&id, &reason)))
    }
}

/// The failures that data from Stripe's API may resolve.
const RESOLVED_BY_STRIPE: &str = "unresolved_pass,unresolved_tenant,tenant_mismatch";

/// Whether Stripe's API returned what `before` failed for: line items that the webhook did not carry, or the
/// right tenant of an event that arrived by another tenant's path. True once: from then on the job has the
/// data.
fn has_new_evidence(now: &Purchase, before: &Purchase, reason: &str) -> bool {
    match reason {
        UNRESOLVED_PASS | UNRESOLVED_TENANT => before.price_ids.is_empty() && !now.price_ids.is_empty(),
        TENANT_MISMATCH => before.path_tenant.is_some() && now.path_tenant.is_none(),
        _ => false,
    }
}

/// How a report describes a dead letter.
pub(super) fn dead_letter_message(id: &str, reason: &str) -> String {
    format!("{reason}: its job is a dead letter; see `surepass jobs show {id}`")
}

/// Counts sessions that must be tried again.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    count: usize,
    first: Option<String>,
    put_off: Duration,
    failed: bool,
}

impl Unfinished {
    /// Counts the candidates that [`Lookback::enqueue_missing`] left `Staged`.
    pub(super) fn add(&mut self, candidates: &[Candidate]) {
        for one in candidates
            .iter()
            .filter(|one| one.row.state == SessionState::Staged)
        {
            self.count += 1;
            self.failed |= one.put_off.is_none();
            self.put_off = self.put_off.max(one.put_off.unwrap_or_default());
            if self.first.is_none() {
                self.first.clone_from(&one.row.error);
            }
        }
    }

    pub(super) fn into_result(self) -> Result<(), LookbackError> {
        if self.count == 0 {
            return Ok(());
        }
        Err(LookbackError::Unfinished {
            count: self.count,
            first: self.first.unwrap_or_default(),
            put_off: (!self.failed).then_some(self.put_off),
        })
    }
}

/// A session of a run, and its purchase if known.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) row: FoundSession,
    pub(super) purchase: Option<Purchase>,
    /// Refunded in full: it is never enqueued.
    pub(super) is_refunded: bool,
    /// It must still be retrieved, and the Stripe rate limit allows that after this time.
    put_off: Option<Duration>,
}

impl Candidate {
    /// A session to enqueue if it has no subscription.
    pub(super) fn new(session: &str, customer: String, purchase: Option<Purchase>) -> Self {
        Self {
            row: FoundSession {
                session: session.to_owned(),
                customer,
                purchase: None,
                state: SessionState::Staged,
                error: None,
            },
            purchase,
            is_refunded: false,
            put_off: None,
        }
    }

    /// A purchase that Stripe returned. If it is incomplete it is retrieved when it turns out to be missing.
    pub(super) fn listed(customer: String, purchase: Purchase, payment: Payment) -> Self {
        let session = purchase.session_id.clone();
        let purchase = Some(purchase).filter(|_| payment == Payment::Paid);
        Self {
            is_refunded: payment == Payment::Refunded,
            ..Self::new(&session, customer, purchase)
        }
    }

    /// The row to store. It contains the purchase while that is needed.
    pub(super) fn row(&self) -> Result<FoundSession, LookbackError> {
        let is_needed = matches!(self.row.state, SessionState::Staged | SessionState::Enqueued);
        let purchase = self.purchase.as_ref().filter(|_| is_needed);
        let purchase = purchase
            .map(serde_json::to_string)
            .transpose()
            .map_err(QueueError::from)?;
        Ok(FoundSession {
            purchase,
            ..self.row.clone()
        })
    }

    fn set_state(&mut self, state: SessionState, error: Option<String>) {
        self.row.state = state;
        self.row.error = error;
    }

    /// Reads the purchase from Stripe, with all line items.
    async fn retrieve(
        &mut self,
        lookback: &Lookback,
        account: Option<&str>,
        via: CreatedVia,
    ) -> Result<(), LookbackError> {
        let stripe = lookback.stripe()?.account(account);
        match stripe.session(&self.row.session).await {
            Ok(Some(session)) => match classify(&session, account, via, lookback.client_reference) {
                SessionClass::Purchase(purchase, Payment::Paid | Payment::PaidIncomplete) => {
                    self.purchase = Some(*purchase);
                }
                SessionClass::Purchase(_, Payment::Refunded) => self.set_state(SessionState::Refunded, None),
                SessionClass::Purchase(_, Payment::Unpaid) | SessionClass::Other => {
                    self.set_state(SessionState::Ignored, None);
                }
                SessionClass::Unreadable => {
                    self.set_state(SessionState::Failed, Some("stripe_answer".to_owned()));
                }
            },
            // Stripe does not know it, so it was not paid: a test event, or another installation's.
            Ok(None) => self.set_state(SessionState::Ignored, None),
            Err(error) if error.is_transient() => {
                self.put_off = error.is_busy().then(|| error.retry_after()).flatten();
                self.set_state(SessionState::Staged, Some(format!("{}: {error}", error.reason())));
            }
            Err(error) => {
                self.set_state(SessionState::Failed, Some(format!("{}: {error}", error.reason())));
            }
        }
        Ok(())
    }
}
