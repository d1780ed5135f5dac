use std::sync::Arc;

use serde_json::{Value, json};

use super::payment::named;
use super::{Metadata, Price};
use crate::table::{Record, Tag};

/// A Checkout Session of the mode `payment`.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) expires_at: i64,
    pub(crate) livemode: bool,
    pub(crate) status: Status,
    pub(crate) payment: Payment,
    /// Minor units.
    pub(crate) amount: i64,
    pub(crate) currency: String,
    pub(crate) customer: Option<String>,
    /// Whether a customer is made at the payment where none was given.
    pub(crate) creates_customer: bool,
    /// What the seller filled in.
    pub(crate) customer_email: Option<String>,
    /// What the buyer typed.
    pub(crate) buyer: Option<Buyer>,
    pub(crate) client_reference_id: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) payment_metadata: Metadata,
    pub(crate) line_items: Vec<LineItem>,
    pub(crate) payment_intent: Option<String>,
    pub(crate) payment_method_types: Vec<String>,
    pub(crate) locale: Option<String>,
    pub(crate) success_url: String,
    pub(crate) cancel_url: Option<String>,
    /// The hosted page.
    pub(crate) url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Open,
    Complete,
    Expired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payment {
    Paid,
    Unpaid,
    NotRequired,
}

#[derive(Debug, Clone)]
pub(crate) struct Buyer {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct LineItem {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) quantity: i64,
    pub(crate) price: Arc<Price>,
}

impl LineItem {
    /// Minor units.
    pub(crate) fn amount(&self) -> i64 {
        self.price.unit_amount * self.quantity
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "item", "adjustable_quantity": null, "amount_discount": 0,
            "amount_subtotal": self.amount(), "amount_tax": 0, "amount_total": self.amount(),
            "currency": self.price.currency, "description": self.description, "metadata": {},
            "price": self.price.json(), "quantity": self.quantity
        })
    }
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Complete => "complete",
            Self::Expired => "expired",
        }
    }
}

impl Payment {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Unpaid => "unpaid",
            Self::NotRequired => "no_payment_required",
        }
    }
}

impl Session {
    /// What the buyer typed, else what the seller filled in.
    pub(crate) fn email(&self) -> Option<&String> {
        let typed = self.buyer.as_ref().and_then(|buyer| buyer.email.as_ref());
        typed.or(self.customer_email.as_ref())
    }

    /// Without line items, which are there only when they are expanded.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "checkout.session", "adaptive_pricing": {"enabled": false},
            "after_expiration": null, "allow_promotion_codes": null, "amount_subtotal": self.amount,
            "amount_total": self.amount,
            "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
            "billing_address_collection": null, "cancel_url": self.cancel_url,
            "client_reference_id": self.client_reference_id, "client_secret": null, "collected_information": null,
            "consent": null, "consent_collection": null, "created": self.created, "currency": self.currency,
            "currency_conversion": null, "custom_fields": [],
            "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
                "terms_of_service_acceptance": null},
            "customer": self.customer,
            "customer_creation": if self.creates_customer { "always" } else { "if_required" },
            "customer_details": self.details(), "customer_email": self.customer_email, "discounts": [],
            "expires_at": self.expires_at, "invoice": null,
            "invoice_creation": {"enabled": false, "invoice_data": {"account_tax_ids": null, "custom_fields": null,
                "description": null, "footer": null, "issuer": null, "metadata": {}, "rendering_options": null}},
            "livemode": self.livemode, "locale": self.locale, "metadata": self.metadata, "mode": "payment",
            "origin_context": null, "payment_intent": self.payment_intent, "payment_link": null,
            "payment_method_collection": "if_required", "payment_method_configuration_details": null,
            "payment_method_options": {}, "payment_method_types": self.payment_method_types,
            "payment_status": self.payment.as_str(), "permissions": null,
            "phone_number_collection": {"enabled": false}, "recovered_from": null,
            "saved_payment_method_options": null, "setup_intent": null, "shipping_address_collection": null,
            "shipping_cost": null, "shipping_options": [], "status": self.status.as_str(), "submit_type": null,
            "subscription": null, "success_url": self.success_url,
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted",
            "url": (self.status == Status::Open).then_some(&self.url), "wallet_options": null
        })
    }

    fn details(&self) -> Value {
        let Some(buyer) = &self.buyer else {
            return Value::Null;
        };
        json!({
            "address": {"city": null, "country": "NO", "line1": null, "line2": null, "postal_code": null,
                "state": null},
            "business_name": null, "email": buyer.email, "individual_name": null, "name": buyer.name,
            "phone": null, "tax_exempt": "none", "tax_ids": []
        })
    }
}

impl Record for Session {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        let typed = self.buyer.as_ref().and_then(|buyer| buyer.email.as_ref());
        // The case of an email makes no difference.
        let email = typed.map(|email| email.to_lowercase());
        named("status", Some(&self.status.as_str().to_owned()))
            .chain(named("customer", self.customer.as_ref()))
            .chain(named("customer_details.email", email.as_ref()))
            .chain(named("payment_intent", self.payment_intent.as_ref()))
            .collect()
    }
}
