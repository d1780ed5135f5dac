use std::sync::Arc;

use serde_json::{Value, json};

use super::{Charge, Customer, Dispute, PaymentIntent, Refund, Session};
use crate::table::{Record, Tag};

/// Something that happened, with the object as it was then.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) kind: &'static str,
    pub(crate) object: Snapshot,
    /// The values that changed, as they were before.
    pub(crate) previous: Option<Value>,
    /// The connected account that it happened on.
    pub(crate) account: Option<String>,
    /// The API request that caused it, and its idempotency key.
    pub(crate) request: (Option<String>, Option<String>),
    /// The deliveries that no endpoint has answered with 2xx.
    pub(crate) pending: u32,
}

/// Shared with the table until the object changes there: a hundred thousand events cost little.
#[derive(Debug, Clone)]
pub(crate) enum Snapshot {
    Session(Arc<Session>),
    PaymentIntent(Arc<PaymentIntent>),
    Charge(Arc<Charge>),
    Refund(Arc<Refund>),
    Dispute(Arc<Dispute>),
    Customer(Arc<Customer>),
}

impl Snapshot {
    fn json(&self) -> Value {
        match self {
            Self::Session(session) => session.json(),
            Self::PaymentIntent(intent) => intent.json(),
            Self::Charge(charge) => charge.json(),
            Self::Refund(refund) => refund.json(),
            Self::Dispute(dispute) => dispute.json(),
            Self::Customer(customer) => customer.json(),
        }
    }
}

impl Event {
    /// As the account that it happened on sees it; only `to_platform` says which account that is.
    pub(crate) fn json(&self, api_version: &str, to_platform: bool) -> Value {
        let mut data = json!({"object": self.object.json()});
        if let Some(previous) = &self.previous {
            data["previous_attributes"] = previous.clone();
        }
        let (request, key) = &self.request;
        let mut event = json!({
            "id": self.id, "object": "event", "api_version": api_version, "created": self.created, "data": data,
            "livemode": self.livemode, "pending_webhooks": self.pending,
            "request": {"id": request, "idempotency_key": key}, "type": self.kind
        });
        if let Some(account) = self.account.as_ref().filter(|_| to_platform) {
            event["account"] = json!(account);
        }
        event
    }
}

impl Record for Event {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        vec![
            ("type", self.kind.to_owned()),
            ("delivery_success", (self.pending == 0).to_string()),
        ]
    }
}
