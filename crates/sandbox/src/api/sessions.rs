//! Checkout Sessions.

use std::sync::Arc;

use serde_json::json;

use super::call::{Answer, Call};
use super::catalog::{filters, price_of};
use super::customers::customer;
use super::error::ApiError;
use super::params::{Params, merge};
use crate::objects::{Buyer, LineItem, Metadata, Price, Session, Status};

/// What changes nothing that the sandbox does.
const IGNORED: [&str; 18] = [
    "adaptive_pricing",
    "after_expiration",
    "allow_promotion_codes",
    "automatic_tax",
    "billing_address_collection",
    "consent_collection",
    "custom_fields",
    "custom_text",
    "customer_update",
    "invoice_creation",
    "payment_method_collection",
    "payment_method_options",
    "phone_number_collection",
    "saved_payment_method_options",
    "shipping_address_collection",
    "submit_type",
    "tax_id_collection",
    "integration_identifier",
];
/// The ways to pay that the hosted page has: the first at once, the others later.
pub(crate) const METHODS: [&str; 4] = ["card", "sepa_debit", "bacs_debit", "us_bank_account"];

pub(super) fn create(call: &mut Call<'_>) -> Answer {
    let mut params = std::mem::take(&mut call.params);
    let given = NewSession::read(&mut params)?;
    let items = params.objects("line_items")?;
    params.ignore(&IGNORED);
    params.finish()?;
    if items.is_empty() {
        let message = "You must provide at least one line item for a Checkout Session of the mode `payment`.";
        return Err(ApiError::invalid(message)
            .code("parameter_missing")
            .param("line_items"));
    }
    let buyer = match &given.customer {
        None => None,
        Some(id) => {
            let customer = call.objects().customers.get(id);
            let customer = customer.ok_or_else(|| ApiError::missing_in_param("customer", id, "customer"))?;
            Some(Buyer {
                email: customer.email.clone(),
                name: customer.name.clone(),
            })
        }
    };
    let at = call.cause.at;
    if let Some(expires) = given.expires_at
        && !(at + 30 * 60..=at + 24 * 3_600).contains(&expires)
    {
        let message = "The `expires_at` timestamp must be from 30 minutes to 24 hours after the creation.";
        return Err(ApiError::invalid(message).param("expires_at"));
    }
    let line_items = read_items(call, items)?;
    let session = call.world.draft(&call.scope, line_items, &call.cause);
    let session = given.put_into(Session { buyer, ..session });
    Ok(call.world.open(&call.scope, session).json())
}

/// What a caller says of a new session, besides what is bought.
struct NewSession {
    success_url: String,
    cancel_url: Option<String>,
    customer: Option<String>,
    customer_email: Option<String>,
    creates_customer: bool,
    client_reference_id: Option<String>,
    metadata: Metadata,
    payment_metadata: Metadata,
    payment_method_types: Vec<String>,
    locale: Option<String>,
    expires_at: Option<i64>,
}

impl NewSession {
    fn read(params: &mut Params) -> Result<Self, ApiError> {
        let mode = params.text("mode")?;
        if mode.as_deref().unwrap_or("payment") != "payment" {
            let message = "This sandbox knows only Checkout Sessions of the mode `payment`.";
            return Err(ApiError::invalid(message).param("mode"));
        }
        let ui_mode = params.text("ui_mode")?;
        if !matches!(ui_mode.as_deref(), None | Some("hosted" | "hosted_page")) {
            let message = "This sandbox knows only the hosted page: leave `ui_mode` out.";
            return Err(ApiError::invalid(message).param("ui_mode"));
        }
        let success_url = params.required("success_url")?;
        let cancel_url = params.text("cancel_url")?.filter(|url| !url.is_empty());
        let urls = [
            ("success_url", Some(&success_url)),
            ("cancel_url", cancel_url.as_ref()),
        ];
        for (name, given) in urls {
            if given.is_some_and(|given| !is_web_address(given)) {
                let error = ApiError::invalid("Not a valid URL");
                return Err(error.code("url_invalid").param(name));
            }
        }
        let customer = params.text("customer")?.filter(|id| !id.is_empty());
        let customer_email = params.text("customer_email")?.filter(|email| !email.is_empty());
        if customer.is_some() && customer_email.is_some() {
            let message = "You may only specify one of these parameters: customer, customer_email.";
            return Err(ApiError::invalid(message).param("customer_email"));
        }
        let client_reference_id = params.text("client_reference_id")?.filter(|id| !id.is_empty());
        if client_reference_id
            .as_ref()
            .is_some_and(|id| id.chars().count() > 200)
        {
            let message = "Invalid string: must be at most 200 characters";
            return Err(ApiError::invalid(message).param("client_reference_id"));
        }
        let payment_metadata = match params.object("payment_intent_data")? {
            Some(mut data) => data.metadata("metadata")?.unwrap_or_default(),
            None => Metadata::new(),
        };
        let mut payment_method_types = params.texts("payment_method_types")?;
        if payment_method_types.is_empty() {
            payment_method_types.push("card".to_owned());
        }
        let unknown = |kind: &&String| !METHODS.contains(&kind.as_str());
        if let Some(kind) = payment_method_types.iter().find(unknown) {
            let message = format!(
                "Invalid payment_method_types: {kind}. This sandbox knows {}.",
                METHODS.join(", ")
            );
            return Err(ApiError::invalid(message).param("payment_method_types"));
        }
        Ok(Self {
            success_url,
            cancel_url,
            customer,
            customer_email,
            creates_customer: params.text("customer_creation")?.as_deref() == Some("always"),
            client_reference_id,
            metadata: params.metadata("metadata")?.unwrap_or_default(),
            payment_metadata,
            payment_method_types,
            locale: params.text("locale")?,
            expires_at: params.integer("expires_at")?,
        })
    }

    fn put_into(self, session: Session) -> Session {
        Session {
            success_url: self.success_url,
            cancel_url: self.cancel_url,
            customer: self.customer,
            customer_email: self.customer_email,
            creates_customer: self.creates_customer,
            client_reference_id: self.client_reference_id,
            metadata: self.metadata,
            payment_metadata: self.payment_metadata,
            payment_method_types: self.payment_method_types,
            locale: self.locale,
            expires_at: self.expires_at.unwrap_or(session.expires_at),
            ..session
        }
    }
}

fn is_web_address(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn read_items(call: &mut Call<'_>, items: Vec<Params>) -> Result<Vec<LineItem>, ApiError> {
    let mut read: Vec<LineItem> = Vec::new();
    for mut params in items {
        let quantity = params.integer("quantity")?.unwrap_or(1);
        if !(1..=999_999).contains(&quantity) {
            let error = ApiError::invalid(format!("Invalid positive integer: {quantity}"));
            return Err(error.param(params.name("quantity")));
        }
        params.ignore(&["adjustable_quantity", "tax_rates", "dynamic_tax_rates"]);
        let price = read_price(call, &mut params)?;
        params.finish()?;
        if let Some(first) = read.first()
            && first.price.currency != price.currency
        {
            let message = "All line items must have the same currency.";
            return Err(ApiError::invalid(message).param("line_items"));
        }
        let product = call.objects().products.get(&price.product);
        let description = product.map(|product| product.name.clone());
        read.push(LineItem {
            id: call.world.ids.long("li_1"),
            description: description.unwrap_or_default(),
            quantity,
            price,
        });
    }
    Ok(read)
}

/// A price that is there, or one that is made of `price_data` for this session.
fn read_price(call: &mut Call<'_>, params: &mut Params) -> Result<Arc<Price>, ApiError> {
    if let Some(mut data) = params.object("price_data")? {
        let price = price_of(call, &mut data)?;
        return Ok(call.objects().prices.insert(Price {
            active: false,
            ..price
        }));
    }
    let name = params.name("price");
    let id = params.required("price")?;
    let price = call.objects().prices.get(&id).cloned();
    let price = price.ok_or_else(|| ApiError::missing_in_param("price", &id, name.clone()))?;
    if !price.active {
        let message = "The price specified is inactive. This field only accepts active prices.";
        return Err(ApiError::invalid(message).param(name));
    }
    Ok(price)
}

pub(super) fn list(call: &mut Call<'_>) -> Answer {
    let mut tags = filters(&mut call.params, &["customer", "payment_intent", "status"])?;
    for tag in tags.iter().flatten() {
        let known = match tag {
            ("status", status) => {
                let all = [Status::Open, Status::Complete, Status::Expired];
                if !all.iter().any(|one| one.as_str() == status) {
                    let message = "Invalid status: must be one of open, complete, or expired";
                    return Err(ApiError::invalid(message).param("status"));
                }
                true
            }
            ("customer", id) => customer(call.world.objects(&call.scope), id).is_some(),
            (_, id) => call.world.objects(&call.scope).payment_intents.get(id).is_some(),
        };
        if !known {
            return Err(ApiError::missing_in_param(tag.0, &tag.1, tag.0));
        }
    }
    if let Some(mut details) = call.params.object("customer_details")? {
        let email = details.required("email")?.to_lowercase();
        details.finish()?;
        tags.push(vec![("customer_details.email", email)]);
    }
    // No session here has either.
    for name in ["payment_link", "subscription"] {
        if let Some(id) = call.params.text(name)? {
            return Err(ApiError::missing_in_param(name, &id, name));
        }
    }
    call.list(|objects| &mut objects.sessions, tags, Session::json)
}

pub(super) fn retrieve(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    Ok(find(call, id)?.json())
}

/// Only the metadata can be changed.
pub(super) fn update(call: &mut Call<'_>, id: &str) -> Answer {
    let changes = call.params.metadata("metadata")?;
    call.params.finish()?;
    let change = |session: &mut Session| match changes {
        Some(changes) if changes.is_empty() => session.metadata.clear(),
        Some(changes) => merge(&mut session.metadata, changes),
        None => {}
    };
    let session = call.objects().sessions.change(id, change);
    session.map(|session| session.json()).ok_or_else(|| unknown(id))
}

pub(super) fn expire(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let status = find(call, id)?.status;
    if call.world.expire(&call.scope, id, &call.cause).is_err() {
        let message = format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of \
             `{}`.",
            status.as_str()
        );
        return Err(ApiError::invalid(message));
    }
    Ok(find(call, id)?.json())
}

pub(super) fn line_items(call: &mut Call<'_>, id: &str) -> Answer {
    let limit = call.limit()?;
    let after = call.params.text("starting_after")?.filter(|id| !id.is_empty());
    call.params.finish()?;
    let session = find(call, id)?;
    let begin = match &after {
        None => 0,
        Some(after) => {
            let found = session.line_items.iter().position(|item| item.id == *after);
            let error = || ApiError::missing_in_param("line item", after, "starting_after");
            found.ok_or_else(error)? + 1
        }
    };
    let rest = &session.line_items[begin..];
    let data: Vec<_> = rest.iter().take(limit).map(LineItem::json).collect();
    Ok(json!({"object": "list", "data": data, "has_more": rest.len() > limit, "url": call.path}))
}

fn find(call: &mut Call<'_>, id: &str) -> Result<Arc<Session>, ApiError> {
    call.objects()
        .sessions
        .get(id)
        .cloned()
        .ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::missing("checkout.session", id, "session")
}
