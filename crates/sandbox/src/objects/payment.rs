use serde_json::{Value, json};

use super::Metadata;
use crate::table::{Record, Tag};

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Processing,
    Succeeded,
    Failed,
}

#[derive(Debug, Clone)]
pub(crate) struct PaymentIntent {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    /// Minor units.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) customer: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) progress: Progress,
    pub(crate) latest_charge: Option<String>,
    pub(crate) method: &'static str,
    /// What comes after `_secret_` in the client secret.
    pub(crate) client_secret: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Charge {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) amount: i64,
    pub(crate) amount_refunded: i64,
    pub(crate) currency: String,
    pub(crate) customer: Option<String>,
    pub(crate) payment_intent: String,
    pub(crate) progress: Progress,
    pub(crate) disputed: bool,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) method: &'static str,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone)]
pub(crate) struct Refund {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) charge: String,
    pub(crate) payment_intent: String,
    pub(crate) reason: Option<String>,
    pub(crate) metadata: Metadata,
}

#[derive(Debug, Clone)]
pub(crate) struct Dispute {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) charge: String,
    pub(crate) payment_intent: String,
    /// `needs_response`, `won` or `lost`.
    pub(crate) status: &'static str,
}

impl PaymentIntent {
    pub(crate) fn json(&self) -> Value {
        let (status, received) = match self.progress {
            Progress::Processing => ("processing", 0),
            Progress::Succeeded => ("succeeded", self.amount),
            Progress::Failed => ("requires_payment_method", 0),
        };
        let last_payment_error = match self.progress {
            Progress::Failed => {
                json!({"code": "payment_intent_payment_attempt_failed", "type": "invalid_request_error",
                "message": "The payment failed."})
            }
            _ => Value::Null,
        };
        json!({
            "id": self.id, "object": "payment_intent", "amount": self.amount, "amount_capturable": 0,
            "amount_details": {"tip": {}}, "amount_received": received, "application": null,
            "application_fee_amount": null, "automatic_payment_methods": null, "canceled_at": null,
            "cancellation_reason": null, "capture_method": "automatic_async",
            "client_secret": format!("{}_secret_{}", self.id, self.client_secret),
            "confirmation_method": "automatic", "created": self.created, "currency": self.currency,
            "customer": self.customer, "description": null, "last_payment_error": last_payment_error,
            "latest_charge": self.latest_charge, "livemode": self.livemode, "metadata": self.metadata,
            "next_action": null, "on_behalf_of": null, "payment_method": null,
            "payment_method_configuration_details": null, "payment_method_options": {},
            "payment_method_types": [self.method], "processing": null, "receipt_email": null, "review": null,
            "setup_future_usage": null, "shipping": null, "source": null, "statement_descriptor": null,
            "statement_descriptor_suffix": null, "status": status, "transfer_data": null, "transfer_group": null
        })
    }
}

impl Charge {
    pub(crate) fn json(&self) -> Value {
        let succeeded = self.progress == Progress::Succeeded;
        let status = match self.progress {
            Progress::Processing => "pending",
            Progress::Succeeded => "succeeded",
            Progress::Failed => "failed",
        };
        let failed = self.progress == Progress::Failed;
        json!({
            "id": self.id, "object": "charge", "amount": self.amount,
            "amount_captured": if succeeded { self.amount } else { 0 }, "amount_refunded": self.amount_refunded,
            "application": null, "application_fee": null, "application_fee_amount": null,
            "balance_transaction": null,
            "billing_details": {"address": {"city": null, "country": "NO", "line1": null, "line2": null,
                "postal_code": null, "state": null}, "email": self.email, "name": self.name, "phone": null,
                "tax_id": null},
            "calculated_statement_descriptor": "SANDBOX", "captured": !failed, "created": self.created,
            "currency": self.currency, "customer": self.customer, "description": null, "disputed": self.disputed,
            "failure_balance_transaction": null,
            "failure_code": failed.then_some("payment_method_provider_decline"),
            "failure_message": failed.then_some("The payment failed."), "fraud_details": {},
            "livemode": self.livemode, "metadata": self.metadata, "on_behalf_of": null, "outcome": null,
            "paid": !failed, "payment_intent": self.payment_intent, "payment_method": null,
            "payment_method_details": {"type": self.method}, "receipt_email": null, "receipt_number": null,
            "receipt_url": null,
            "refunded": self.amount_refunded == self.amount && self.amount > 0, "review": null, "shipping": null,
            "source": null, "source_transfer": null, "statement_descriptor": null,
            "statement_descriptor_suffix": null, "status": status, "transfer_data": null, "transfer_group": null
        })
    }
}

impl Refund {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "refund", "amount": self.amount, "balance_transaction": null,
            "charge": self.charge, "created": self.created, "currency": self.currency,
            "destination_details": {"card": {"type": "refund"}, "type": "card"}, "metadata": self.metadata,
            "payment_intent": self.payment_intent, "reason": self.reason, "receipt_number": null,
            "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null
        })
    }
}

impl Dispute {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "dispute", "amount": self.amount, "balance_transactions": [],
            "charge": self.charge, "created": self.created, "currency": self.currency, "evidence": {},
            "evidence_details": {"due_by": self.created + 7 * 86_400, "has_evidence": false, "past_due": false,
                "submission_count": 0},
            "is_charge_refundable": false, "livemode": self.livemode, "metadata": {},
            "payment_intent": self.payment_intent, "reason": "fraudulent", "status": self.status
        })
    }
}

impl Record for PaymentIntent {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        named("customer", self.customer.as_ref()).collect()
    }
}

impl Record for Charge {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        let intent = named("payment_intent", Some(&self.payment_intent));
        intent.chain(named("customer", self.customer.as_ref())).collect()
    }
}

impl Record for Refund {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        let intent = named("payment_intent", Some(&self.payment_intent));
        intent.chain(named("charge", Some(&self.charge))).collect()
    }
}

impl Record for Dispute {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        let intent = named("payment_intent", Some(&self.payment_intent));
        intent.chain(named("charge", Some(&self.charge))).collect()
    }
}

pub(super) fn named(name: &'static str, value: Option<&String>) -> impl Iterator<Item = Tag> + use<> {
    value.map(|value| (name, value.clone())).into_iter()
}
