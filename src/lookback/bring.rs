//! A session was found: what has no subscription goes to the queue of purchases.

use std::collections::HashSet;
use std::time::Duration;

use super::cases::Case;
use super::{Lookback, LookbackError};
use crate::config::ClientReference;
use crate::fulfil::{
    Origin, Purchase, TENANT_MISMATCH, Triage, UNRESOLVED_PASS, UNRESOLVED_TENANT, draft, is_session_id,
    triage_session,
};
use crate::queue::{Enqueued, Item, JobStatus, QueueError};
use crate::store::{CreatedVia, FoundSession, HeldPurchase, SessionState};
use crate::stripe::{CheckoutSession, SessionStatus};

/// Behind whom what is found lines up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// Among the tenant's fresh purchases: somebody waits for it.
    Fresh,
    /// In a line of its own beside them, which has its turn after them: however much a sweep finds, a fresh purchase
    /// waits for one round of it at most.
    Own,
}

impl Line {
    fn stand(self, purchase: &Purchase) -> Result<Item, QueueError> {
        let item = Item::job(purchase)?.group(purchase.group());
        Ok(match self {
            Self::Fresh => item,
            Self::Own => item.lane("lookback"),
        })
    }
}

/// What a listed session comes to.
#[derive(Debug)]
pub(super) enum Listed {
    Purchase(Purchase),
    /// Only its line items can tell what was bought, and the list has not carried all of them.
    Incomplete(Purchase),
    /// Not paid for, but it may be yet: open, or a bank has not confirmed. What it would be, which tells whose it is.
    Unpaid(Purchase),
    /// All of its money was given back. What it was, which tells whose it was.
    Refunded(Purchase),
    /// Never to be paid for, or none of ours.
    Other,
    /// Not even its id can be read.
    Unreadable,
}

/// What a session of `account` comes to.
pub(super) fn listed(
    session: &CheckoutSession,
    account: Option<&str>,
    via: CreatedVia,
    reference: ClientReference,
) -> Listed {
    let mut listed = as_it_is(session, account, via);
    if let Listed::Purchase(purchase)
    | Listed::Incomplete(purchase)
    | Listed::Unpaid(purchase)
    | Listed::Refunded(purchase) = &mut listed
        && reference == ClientReference::Ignore
    {
        purchase.client_reference_id = None;
    }
    listed
}

fn as_it_is(session: &CheckoutSession, account: Option<&str>, via: CreatedVia) -> Listed {
    let origin = Origin {
        account,
        ..Origin::default()
    };
    if !session.id.as_deref().is_some_and(is_session_id) {
        return Listed::Unreadable;
    }
    // Who has all of the money back and never had the pass does not get it now.
    if session.is_refunded() {
        return draft(session, &origin, via).map_or(Listed::Other, Listed::Refunded);
    }
    match triage_session(session, &origin, via) {
        Triage::Fulfil(purchase)
            if session.more_line_items && purchase.pass_id.is_none() && purchase.pass_name.is_none() =>
        {
            Listed::Incomplete(purchase)
        }
        Triage::Fulfil(purchase) => Listed::Purchase(purchase),
        Triage::Ignore(_) if session.status == Some(SessionStatus::Expired) => Listed::Other,
        Triage::Ignore(_) => draft(session, &origin, via).map_or(Listed::Other, Listed::Unpaid),
    }
}

/// Which of the purchases have made a subscription.
#[derive(Debug, Default)]
pub(super) struct Held {
    sessions: HashSet<String>,
    payments: HashSet<String>,
}

impl Held {
    /// Whether the session has, or the payment of its purchase. A payment that is missing fits nothing.
    pub(super) fn has(&self, session: &str, purchase: Option<&Purchase>) -> bool {
        let payment = purchase.and_then(|purchase| purchase.payment_intent.as_ref());
        self.sessions.contains(session) || payment.is_some_and(|payment| self.payments.contains(payment))
    }
}

impl FromIterator<HeldPurchase> for Held {
    fn from_iter<I: IntoIterator<Item = HeldPurchase>>(held: I) -> Self {
        let mut all = Self::default();
        for HeldPurchase { session, payment, .. } in held {
            all.sessions.insert(session);
            all.payments.extend(payment);
        }
        all
    }
}

/// Asked of the store in one go.
const TOGETHER: usize = 500;

impl Lookback {
    /// Which of these sessions, and of the purchases' payments, have made a subscription.
    pub(super) async fn held(
        &self,
        sessions: &[&str],
        purchases: impl Iterator<Item = &Purchase>,
    ) -> Result<Held, LookbackError> {
        let payments: Vec<&str> = purchases
            .filter_map(|one| one.payment_intent.as_deref())
            .collect();
        let mut held = Vec::new();
        let (mut sessions, mut payments) = (sessions.chunks(TOGETHER), payments.chunks(TOGETHER));
        loop {
            let (some, others) = (sessions.next(), payments.next());
            if some.is_none() && others.is_none() {
                break;
            }
            let (some, others) = (some.unwrap_or_default(), others.unwrap_or_default());
            held.extend(self.records().held(some, others).await?);
        }
        Ok(held.into_iter().collect())
    }

    /// Hands in what has no subscription, and notes in `found` what became of each: [`SessionState::Existing`],
    /// `Ignored`, `Refunded`, `Enqueued`, `Dead` or `Failed`; `Staged` where it must be looked at again, with the reason. A session
    /// of which no purchase is known is retrieved.
    ///
    /// Redis may have taken what is not noted any more when we die here: it is found again, and its key is taken.
    ///
    /// # Errors
    /// The store's and the queue's. What fails for one session only stands with that session.
    pub(super) async fn bring(
        &self,
        account: Option<&str>,
        via: CreatedVia,
        line: Line,
        found: &mut [Found],
    ) -> Result<(), LookbackError> {
        let sessions: Vec<&str> = found.iter().map(|one| one.row.session.as_str()).collect();
        let purchases = found.iter().filter_map(|one| one.purchase.as_ref());
        let held = self.held(&sessions, purchases).await?;
        let cases = self.cases(&sessions).await?;
        let mut missing = Vec::new();
        for (n, one) in found.iter_mut().enumerate() {
            if held.has(&one.row.session, one.purchase.as_ref()) {
                one.settle(SessionState::Existing, None);
                continue;
            }
            if one.is_refunded {
                one.settle(SessionState::Refunded, None);
                continue;
            }
            // An open one is handed in again: the catalogue may know its price by now.
            if cases.of(&one.row.session) == Some(Case::Settled) {
                one.settle(SessionState::Ignored, None);
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
            .filter_map(|n| found[*n].purchase.as_ref())
            .map(|purchase| Ok(line.stand(purchase)?.revive()))
            .collect::<Result<_, LookbackError>>()?;
        let answers = self.fulfil.enqueue(&items).await?;
        for (n, answer) in missing.into_iter().zip(answers) {
            let one = &mut found[n];
            let death = match (answer, &one.purchase) {
                (Enqueued::Dead, Some(purchase)) => self.dead(purchase).await?,
                _ => None,
            };
            match death {
                Some(reason) => one.settle(SessionState::Dead, Some(reason)),
                None => one.settle(SessionState::Enqueued, None),
            }
        }
        Ok(())
    }

    /// Why the purchase's job stays dead; `None` where it runs again: with what Stripe says now, where the job died without it.
    async fn dead(&self, purchase: &Purchase) -> Result<Option<String>, LookbackError> {
        let id = purchase.job_key();
        let Some(JobStatus::Dead { reason, .. }) =
            self.fulfil.job_statuses(std::slice::from_ref(&id)).await?.pop()
        else {
            // It has moved on since.
            return Ok(None);
        };
        let before: Option<Purchase> = self.fulfil.payload(&id).await?;
        if before.is_some_and(|before| says_more(purchase, &before, &reason)) {
            let item = Item::job(purchase)?
                .group(purchase.group())
                .revive_of(TOLD_BY_STRIPE);
            self.fulfil.enqueue(&[item]).await?;
            return Ok(None);
        }
        Ok(Some(dead_letter(&id, &reason)))
    }
}

/// Of what a purchase may have died that Stripe's API settles.
const TOLD_BY_STRIPE: &str = "unresolved_pass,unresolved_tenant,tenant_mismatch";

/// Whether what Stripe's API says may settle what the purchase `before` died of: line items that its webhook did not carry, or
/// whose it is, where it came by another tenant's path. Once: from then on the job knows it.
fn says_more(now: &Purchase, before: &Purchase, reason: &str) -> bool {
    match reason {
        UNRESOLVED_PASS | UNRESOLVED_TENANT => before.price_ids.is_empty() && !now.price_ids.is_empty(),
        TENANT_MISMATCH => before.path_tenant.is_some() && now.path_tenant.is_none(),
        _ => false,
    }
}

/// What is told of a dead letter.
pub(super) fn dead_letter(id: &str, reason: &str) -> String {
    format!("{reason}: its job is a dead letter, which a person must look at (`surepass jobs show {id}`)")
}

/// Sessions that must be looked at again.
#[derive(Debug, Default)]
pub(super) struct Unfinished {
    count: usize,
    first: Option<String>,
    put_off: Duration,
    failed: bool,
}

impl Unfinished {
    /// Adds those of `found`, which were brought.
    pub(super) fn add(&mut self, found: &[Found]) {
        for one in found.iter().filter(|one| one.row.state == SessionState::Staged) {
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

/// A session of a run, and its purchase where it is known.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) row: FoundSession,
    pub(super) purchase: Option<Purchase>,
    /// All of its money was given back: it is never handed in.
    pub(super) is_refunded: bool,
    /// It is still to be retrieved, and its turn at Stripe's limit comes after so long.
    put_off: Option<Duration>,
}

impl Found {
    /// One that is to be brought.
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

    /// One whose money was given back.
    pub(super) fn refunded(session: &str, customer: String) -> Self {
        Self {
            is_refunded: true,
            ..Self::new(session, customer, None)
        }
    }

    /// As it lies in the store, with its purchase while that is needed.
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

    fn settle(&mut self, state: SessionState, error: Option<String>) {
        self.row.state = state;
        self.row.error = error;
    }

    /// Reads its purchase from Stripe, with all its line items.
    async fn retrieve(
        &mut self,
        lookback: &Lookback,
        account: Option<&str>,
        via: CreatedVia,
    ) -> Result<(), LookbackError> {
        let stripe = lookback.stripe()?.account(account);
        match stripe.session(&self.row.session).await {
            Ok(Some(session)) => match listed(&session, account, via, lookback.client_reference) {
                Listed::Purchase(purchase) | Listed::Incomplete(purchase) => self.purchase = Some(purchase),
                Listed::Unpaid(_) | Listed::Other => self.settle(SessionState::Ignored, None),
                Listed::Refunded(_) => self.settle(SessionState::Refunded, None),
                Listed::Unreadable => self.settle(SessionState::Failed, Some("stripe_answer".to_owned())),
            },
            // What Stripe has never heard of was not paid for: a test's event, or another installation's.
            Ok(None) => self.settle(SessionState::Ignored, None),
            Err(error) if error.is_transient() => {
                self.put_off = error.is_busy().then(|| error.retry_after()).flatten();
                self.settle(SessionState::Staged, Some(format!("{}: {error}", error.reason())));
            }
            Err(error) => {
                self.settle(SessionState::Failed, Some(format!("{}: {error}", error.reason())));
            }
        }
        Ok(())
    }
}
