//! Checkout Session events as Stripe's documentation shows them, for the demo, the tests and the benchmarks.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

/// A paid session of the sample catalog, to be varied.
#[derive(Debug, Clone)]
pub struct SampleSession {
    /// What makes its ids unlike any other's: letters and digits.
    pub unique: String,
    pub created: DateTime<Utc>,
    pub metadata: Vec<(&'static str, String)>,
    pub amount: i64,
    pub payment_status: &'static str,
    pub client_reference_id: Option<String>,
    pub email: String,
    /// `cus_…`; `None`: a guest checkout.
    pub customer: Option<String>,
    /// The connected account that it happened on.
    pub account: Option<String>,
}

impl SampleSession {
    /// Ten classes for 1500 NOK, with all the metadata that the contract names.
    #[must_use]
    pub fn ten_classes(unique: impl Into<String>, created: DateTime<Utc>) -> Self {
        let unique = unique.into();
        let metadata = vec![
            ("type", "pass_purchase".to_owned()),
            ("passId", "pass-10".to_owned()),
            ("passName", "10 classes".to_owned()),
            ("userId", format!("user_{unique}")),
            ("tenantId", "tenant-1".to_owned()),
        ];
        Self {
            email: format!("{}@example.com", unique.to_lowercase()),
            customer: None,
            unique,
            created,
            metadata,
            amount: 150_000,
            payment_status: "paid",
            client_reference_id: None,
            account: None,
        }
    }

    /// `cs_test_…`
    #[must_use]
    pub fn session_id(&self) -> String {
        // As long as Stripe's own.
        format!("cs_test_a1{:0>56}", self.unique)
    }

    /// `evt_…`, the `nth` of this session.
    #[must_use]
    pub fn event_id(&self, nth: u32) -> String {
        format!("evt_{nth}{:0>23}", self.unique)
    }

    /// Sets a metadata key, or takes it out.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: Option<&str>) -> Self {
        self.metadata.retain(|(name, _)| *name != key);
        self.metadata.extend(value.map(|value| (key, value.to_owned())));
        self
    }

    /// The body of its `nth` event, of type `kind`: about 3.4 kB, two spaces of indent, as Stripe sends it.
    #[must_use]
    pub fn event(&self, kind: &str, nth: u32) -> Vec<u8> {
        let created = self.created.timestamp();
        let payment_intent = match self.payment_status {
            "no_payment_required" => Value::Null,
            _ => json!(format!("pi_3{:0>23}", self.unique)),
        };
        let metadata: Map<String, Value> = self
            .metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let mut session = json!({
            "id": self.session_id(), "object": "checkout.session", "adaptive_pricing": {"enabled": true},
            "after_expiration": null, "allow_promotion_codes": null, "amount_subtotal": self.amount,
            "amount_total": self.amount,
            "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
            "billing_address_collection": null,
            "cancel_url": "https://studio.example.com/studio/passes?canceled=true",
            "client_reference_id": self.client_reference_id, "client_secret": null, "collected_information": null,
            "consent": null, "consent_collection": null, "created": created, "currency": "nok",
            "currency_conversion": null, "custom_fields": []
        });
        let rest = json!({
            "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
                "terms_of_service_acceptance": null},
            "customer": self.customer, "customer_creation": "if_required",
            "customer_details": {"address": {"city": "Oslo", "country": "NO", "line1": null, "line2": null,
                "postal_code": "0150", "state": null}, "email": self.email, "name": "Kari Nordmann", "phone": null,
                "tax_exempt": "none", "tax_ids": []},
            "customer_email": null, "discounts": [], "expires_at": created + 86_400, "invoice": null,
            "invoice_creation": {"enabled": false, "invoice_data": {"account_tax_ids": null, "custom_fields": null,
                "description": null, "footer": null, "issuer": null, "metadata": {}, "rendering_options": null}},
            "livemode": false, "locale": "nb", "metadata": metadata, "mode": "payment",
            "origin_context": null, "payment_intent": payment_intent, "payment_link": null,
            "payment_method_collection": "if_required", "payment_method_configuration_details": null,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"], "payment_status": self.payment_status, "permissions": null,
            "phone_number_collection": {"enabled": false}, "recovered_from": null,
            "saved_payment_method_options": null, "setup_intent": null, "shipping_address_collection": null,
            "shipping_cost": null, "shipping_options": [], "status": "complete", "submit_type": null,
            "subscription": null,
            "success_url":
                "https://studio.example.com/studio/subscriptions?success=true&session_id={CHECKOUT_SESSION_ID}",
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0}, "ui_mode": "hosted",
            "url": null, "wallet_options": null
        });
        if let (Value::Object(session), Value::Object(rest)) = (&mut session, rest) {
            session.extend(rest);
        }
        let mut event = json!({
            "id": self.event_id(nth), "object": "event", "api_version": "2025-03-31.basil",
            "created": created + 2, "data": {"object": session}, "livemode": false, "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null}, "type": kind
        });
        if let Some(account) = &self.account {
            event["account"] = json!(account);
        }
        format!("{event:#}").into_bytes()
    }
}
