use serde_json::{Value, json};

/// The platform's own account, or one that is connected to it.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) email: Option<String>,
}

impl Account {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "account", "business_profile": {"name": null, "url": null},
            "charges_enabled": true, "country": "NO", "created": self.created, "default_currency": "nok",
            "details_submitted": true, "email": self.email, "metadata": {}, "payouts_enabled": true,
            "type": "standard"
        })
    }
}
