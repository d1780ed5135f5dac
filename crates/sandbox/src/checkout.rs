//! What happens to a Checkout Session: it is paid, settles later, expires; and what happens to the money after that.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta};
use serde_json::json;

use crate::objects::{
    Buyer, Charge, Customer, Dispute, LineItem, Metadata, Payment, PaymentIntent, Progress, Refund, Session,
    Snapshot, Status,
};
use crate::world::{Cause, Scope, Task, World};

/// How a session is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Card,
    /// Settles later, or fails to.
    Transfer,
}

/// Why a session cannot be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotPayable {
    #[error("there is no such session")]
    Unknown,
    #[error("this session is not open")]
    NotOpen,
    #[error("this session has no bank transfer settling")]
    NotProcessing,
}

const COMPLETED: &str = "checkout.session.completed";
const TRANSFER: &str = "sepa_debit";

impl World {
    /// A session of these line items, to be filled in and then opened.
    pub(crate) fn draft(&mut self, scope: &Scope, line_items: Vec<LineItem>, cause: &Cause) -> Session {
        let id = self.ids.session(scope.livemode);
        let currency = line_items.first().map(|item| item.price.currency.clone());
        Session {
            created: cause.at,
            expires_at: cause.at + OPEN_FOR.num_seconds(),
            livemode: scope.livemode,
            status: Status::Open,
            payment: Payment::Unpaid,
            amount: line_items.iter().map(LineItem::amount).sum(),
            currency: currency.unwrap_or_default(),
            customer: None,
            creates_customer: false,
            customer_email: None,
            buyer: None,
            client_reference_id: None,
            metadata: Metadata::new(),
            payment_metadata: Metadata::new(),
            line_items,
            payment_intent: None,
            payment_method_types: vec!["card".to_owned()],
            locale: None,
            success_url: String::new(),
            cancel_url: None,
            url: format!("{}/pay/{id}", self.settings.base_url),
            id,
        }
    }

    /// Opens a session: from now on it can be paid, until it expires.
    pub(crate) fn open(&mut self, scope: &Scope, session: Session) -> Arc<Session> {
        if let Some(expires) = DateTime::from_timestamp(session.expires_at, 0) {
            self.later(expires, Task::Expire(scope.clone(), session.id.clone()));
        }
        self.objects(scope).sessions.insert(session)
    }

    /// Completes an open session. Answers the events `checkout.session.completed`.
    pub(crate) fn pay(
        &mut self,
        scope: &Scope,
        id: &str,
        method: Method,
        buyer: Buyer,
        cause: &Cause,
    ) -> Result<Vec<String>, NotPayable> {
        let session = self.session(scope, id)?;
        if session.status != Status::Open {
            return Err(NotPayable::NotOpen);
        }
        let mut customer = session.customer.clone();
        if customer.is_none() && session.creates_customer {
            customer = Some(self.customer_of(scope, &buyer, cause));
        }
        let (payment_intent, payment) = match method {
            _ if session.amount == 0 => (None, Payment::NotRequired),
            Method::Card => {
                let intent = self.charge(scope, &session, customer.as_ref(), "card", &buyer, cause);
                self.progress(scope, &intent, Progress::Succeeded, cause);
                (Some(intent), Payment::Paid)
            }
            Method::Transfer => {
                let intent = self.charge(scope, &session, customer.as_ref(), TRANSFER, &buyer, cause);
                self.progress(scope, &intent, Progress::Processing, cause);
                let due = cause.now + self.settings.settle_after;
                self.later(due, Task::Settle(scope.clone(), id.to_owned()));
                (Some(intent), Payment::Unpaid)
            }
        };
        let complete = |session: &mut Session| {
            session.status = Status::Complete;
            session.payment = payment;
            session.payment_intent = payment_intent;
            session.customer = customer;
            session.buyer = Some(buyer);
        };
        self.change_session(scope, id, COMPLETED, complete, cause)
    }

    /// A bank transfer arrives, or fails to.
    pub(crate) fn settle(
        &mut self,
        scope: &Scope,
        id: &str,
        arrives: bool,
        cause: &Cause,
    ) -> Result<Vec<String>, NotPayable> {
        let session = self.session(scope, id)?;
        let intent = session.payment_intent.as_ref().ok_or(NotPayable::NotProcessing)?;
        let processing = self.find(scope, |objects| {
            let intent = objects.payment_intents.get(intent)?;
            Some(intent.progress == Progress::Processing)
        });
        if processing != Some(true) {
            return Err(NotPayable::NotProcessing);
        }
        if arrives {
            self.progress(scope, intent, Progress::Succeeded, cause);
            let paid = |session: &mut Session| session.payment = Payment::Paid;
            self.change_session(scope, id, "checkout.session.async_payment_succeeded", paid, cause)
        } else {
            self.progress(scope, intent, Progress::Failed, cause);
            self.change_session(scope, id, "checkout.session.async_payment_failed", |_| (), cause)
        }
    }

    /// Closes an open session.
    pub(crate) fn expire(
        &mut self,
        scope: &Scope,
        id: &str,
        cause: &Cause,
    ) -> Result<Vec<String>, NotPayable> {
        if self.session(scope, id)?.status != Status::Open {
            return Err(NotPayable::NotOpen);
        }
        let expired = |session: &mut Session| {
            session.status = Status::Expired;
            session.expires_at = session.expires_at.min(cause.at);
        };
        self.change_session(scope, id, "checkout.session.expired", expired, cause)
    }

    /// Gives `amount` minor units of a charge back; the charge must have them left.
    pub(crate) fn refund(
        &mut self,
        scope: &Scope,
        charge: &Charge,
        amount: i64,
        reason: Option<String>,
        metadata: Metadata,
        cause: &Cause,
    ) -> Arc<Refund> {
        let refund = Refund {
            id: self.ids.long("re_3"),
            created: cause.at,
            amount,
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            payment_intent: charge.payment_intent.clone(),
            reason,
            metadata,
        };
        let refund = self.objects(scope).refunds.insert(refund);
        let before = json!({
            "amount_refunded": charge.amount_refunded,
            "refunded": charge.amount_refunded == charge.amount
        });
        let give_back = |charge: &mut Charge| charge.amount_refunded += amount;
        if let Some(charge) = self.objects(scope).charges.change(&charge.id, give_back) {
            let charge = Snapshot::Charge(charge);
            self.emit(scope, cause, "charge.refunded", &charge, Some(&before));
        }
        let made = Snapshot::Refund(refund.clone());
        self.emit(scope, cause, "refund.created", &made, None);
        refund
    }

    /// The buyer's bank takes a charge back; while it is disputed, and after it is lost, the money is gone.
    pub(crate) fn dispute(&mut self, scope: &Scope, charge: &Charge, cause: &Cause) -> Arc<Dispute> {
        let dispute = Dispute {
            id: self.ids.long("du_1"),
            created: cause.at,
            livemode: scope.livemode,
            amount: charge.amount - charge.amount_refunded,
            currency: charge.currency.clone(),
            charge: charge.id.clone(),
            payment_intent: charge.payment_intent.clone(),
            status: "needs_response",
        };
        let objects = self.objects(scope);
        objects
            .charges
            .change(&charge.id, |charge| charge.disputed = true);
        let dispute = objects.disputes.insert(dispute);
        let made = Snapshot::Dispute(dispute.clone());
        self.emit(scope, cause, "charge.dispute.created", &made, None);
        dispute
    }

    /// A dispute ends, for the seller or against them.
    pub(crate) fn close_dispute(
        &mut self,
        scope: &Scope,
        id: &str,
        won: bool,
        cause: &Cause,
    ) -> Option<Arc<Dispute>> {
        let status = if won { "won" } else { "lost" };
        let objects = self.objects(scope);
        let closed = objects.disputes.change(id, |dispute| dispute.status = status)?;
        let snapshot = Snapshot::Dispute(closed.clone());
        self.emit(scope, cause, "charge.dispute.closed", &snapshot, None);
        Some(closed)
    }

    fn session(&self, scope: &Scope, id: &str) -> Result<Arc<Session>, NotPayable> {
        self.find(scope, |objects| objects.sessions.get(id).cloned())
            .ok_or(NotPayable::Unknown)
    }

    fn change_session(
        &mut self,
        scope: &Scope,
        id: &str,
        kind: &'static str,
        change: impl FnOnce(&mut Session),
        cause: &Cause,
    ) -> Result<Vec<String>, NotPayable> {
        let changed = self.objects(scope).sessions.change(id, change);
        let session = Snapshot::Session(changed.ok_or(NotPayable::Unknown)?);
        Ok(self.emit(scope, cause, kind, &session, None))
    }

    fn customer_of(&mut self, scope: &Scope, buyer: &Buyer, cause: &Cause) -> String {
        let customer = Customer {
            id: self.ids.short("cus_"),
            created: cause.at,
            livemode: scope.livemode,
            email: buyer.email.clone(),
            name: buyer.name.clone(),
            phone: None,
            description: None,
            metadata: Metadata::new(),
        };
        self.add_customer(scope, customer, cause)
    }

    pub(crate) fn add_customer(&mut self, scope: &Scope, customer: Customer, cause: &Cause) -> String {
        let customer = self.objects(scope).customers.insert(customer);
        let id = customer.id.clone();
        self.emit(
            scope,
            cause,
            "customer.created",
            &Snapshot::Customer(customer),
            None,
        );
        id
    }

    /// A payment intent with its charge, still processing.
    fn charge(
        &mut self,
        scope: &Scope,
        session: &Session,
        customer: Option<&String>,
        method: &'static str,
        buyer: &Buyer,
        cause: &Cause,
    ) -> String {
        let intent = PaymentIntent {
            id: self.ids.long("pi_3"),
            created: cause.at,
            livemode: scope.livemode,
            amount: session.amount,
            currency: session.currency.clone(),
            customer: customer.cloned(),
            metadata: session.payment_metadata.clone(),
            progress: Progress::Processing,
            latest_charge: Some(self.ids.long("ch_3")),
            method,
            client_secret: self.ids.next("", 25),
        };
        let charge = Charge {
            id: intent.latest_charge.clone().unwrap_or_default(),
            created: cause.at,
            livemode: scope.livemode,
            amount: session.amount,
            amount_refunded: 0,
            currency: session.currency.clone(),
            customer: customer.cloned(),
            payment_intent: intent.id.clone(),
            progress: Progress::Processing,
            disputed: false,
            email: buyer.email.clone(),
            name: buyer.name.clone(),
            method,
            metadata: session.payment_metadata.clone(),
        };
        let objects = self.objects(scope);
        objects.charges.insert(charge);
        objects.payment_intents.insert(intent).id.clone()
    }

    /// Moves a payment intent and its charge on.
    fn progress(&mut self, scope: &Scope, intent: &str, progress: Progress, cause: &Cause) {
        let (of_charge, of_intent) = match progress {
            Progress::Processing => ("charge.pending", "payment_intent.processing"),
            Progress::Succeeded => ("charge.succeeded", "payment_intent.succeeded"),
            Progress::Failed => ("charge.failed", "payment_intent.payment_failed"),
        };
        let objects = self.objects(scope);
        let intent = objects
            .payment_intents
            .change(intent, |intent| intent.progress = progress);
        let Some(intent) = intent else { return };
        let charge = intent
            .latest_charge
            .as_ref()
            .and_then(|id| objects.charges.change(id, |charge| charge.progress = progress));
        if let Some(charge) = charge {
            self.emit(scope, cause, of_charge, &Snapshot::Charge(charge), None);
        }
        self.emit(scope, cause, of_intent, &Snapshot::PaymentIntent(intent), None);
    }
}

/// How long a session is open unless the seller says otherwise.
pub(crate) const OPEN_FOR: TimeDelta = TimeDelta::hours(24);
