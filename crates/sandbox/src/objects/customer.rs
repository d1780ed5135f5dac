use serde_json::{Value, json};

use super::Metadata;
use crate::table::{Record, Tag};

#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) metadata: Metadata,
}

impl Customer {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "customer", "address": null, "balance": 0, "created": self.created,
            "currency": null, "default_source": null, "delinquent": false, "description": self.description,
            "discount": null, "email": self.email, "invoice_prefix": self.id[self.id.len().saturating_sub(8)..],
            "invoice_settings": {"custom_fields": null, "default_payment_method": null, "footer": null,
                "rendering_options": null},
            "livemode": self.livemode, "metadata": self.metadata, "name": self.name, "next_invoice_sequence": 1,
            "phone": self.phone, "preferred_locales": [], "shipping": null, "tax_exempt": "none",
            "test_clock": null
        })
    }
}

impl Record for Customer {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    /// Stripe compares customers' emails to the letter.
    fn tags(&self) -> Vec<Tag> {
        self.email.iter().map(|email| ("email", email.clone())).collect()
    }
}
