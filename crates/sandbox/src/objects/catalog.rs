use serde_json::{Value, json};

use super::Metadata;
use crate::table::{Record, Tag};

#[derive(Debug, Clone)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) active: bool,
    pub(crate) metadata: Metadata,
}

/// What one of a product costs, once. Prices that recur are not known here.
#[derive(Debug, Clone)]
pub(crate) struct Price {
    pub(crate) id: String,
    pub(crate) created: i64,
    pub(crate) livemode: bool,
    pub(crate) product: String,
    /// Minor units.
    pub(crate) unit_amount: i64,
    pub(crate) currency: String,
    pub(crate) nickname: Option<String>,
    pub(crate) active: bool,
    pub(crate) metadata: Metadata,
}

impl Product {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "product", "active": self.active, "created": self.created,
            "default_price": null, "description": self.description, "images": [], "livemode": self.livemode,
            "marketing_features": [], "metadata": self.metadata, "name": self.name, "package_dimensions": null,
            "shippable": null, "statement_descriptor": null, "tax_code": null, "type": "service",
            "unit_label": null, "updated": self.created, "url": null
        })
    }
}

impl Price {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "price", "active": self.active, "billing_scheme": "per_unit",
            "created": self.created, "currency": self.currency, "custom_unit_amount": null,
            "livemode": self.livemode, "lookup_key": null, "metadata": self.metadata, "nickname": self.nickname,
            "product": self.product, "recurring": null, "tax_behavior": "unspecified", "tiers_mode": null,
            "transform_quantity": null, "type": "one_time", "unit_amount": self.unit_amount,
            "unit_amount_decimal": self.unit_amount.to_string()
        })
    }
}

impl Record for Product {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        vec![("active", self.active.to_string())]
    }
}

impl Record for Price {
    fn id(&self) -> &str {
        &self.id
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn tags(&self) -> Vec<Tag> {
        vec![
            ("active", self.active.to_string()),
            ("product", self.product.clone()),
            ("currency", self.currency.clone()),
        ]
    }
}
