//! Products and prices: as much of them as line items need.

use super::call::{Answer, Call};
use super::error::ApiError;
use super::params::Params;
use crate::objects::{Price, Product};
use crate::table::Tag;

pub(super) fn create_product(call: &mut Call<'_>) -> Answer {
    let product = read_product(call)?;
    Ok(call.objects().products.insert(product).json())
}

fn read_product(call: &mut Call<'_>) -> Result<Product, ApiError> {
    let params = &mut call.params;
    let name = params.required("name")?;
    let description = params.text("description")?;
    let active = params.boolean("active")?.unwrap_or(true);
    let metadata = params.metadata("metadata")?.unwrap_or_default();
    let id = params.text("id")?;
    params.ignore(&["images", "url", "shippable", "type", "unit_label"]);
    params.finish()?;
    Ok(Product {
        id: id.unwrap_or_else(|| call.world.ids.short("prod_")),
        created: call.cause.at,
        livemode: call.scope.livemode,
        name,
        description,
        active,
        metadata,
    })
}

pub(super) fn create_price(call: &mut Call<'_>) -> Answer {
    let mut params = std::mem::take(&mut call.params);
    let nickname = params.text("nickname")?;
    let active = params.boolean("active")?.unwrap_or(true);
    let metadata = params.metadata("metadata")?.unwrap_or_default();
    params.ignore(&["tax_behavior", "lookup_key", "billing_scheme"]);
    let mut price = price_of(call, &mut params)?;
    price.nickname = nickname;
    price.active = active;
    price.metadata = metadata;
    Ok(call.objects().prices.insert(price).json())
}

/// What `price_data` of a line item and a price have in common: the amount, and a product that is there or is made.
pub(super) fn price_of(call: &mut Call<'_>, params: &mut Params) -> Result<Price, ApiError> {
    let currency = params.required("currency")?.to_lowercase();
    if currency.len() != 3 || !currency.chars().all(|letter| letter.is_ascii_lowercase()) {
        let error = ApiError::invalid(format!("Invalid currency: {currency}"));
        return Err(error.param(params.name("currency")));
    }
    let unit_amount = params.required("unit_amount")?;
    let amount: Option<i64> = unit_amount.parse().ok();
    // Stripe's largest amount.
    let unit_amount = amount
        .filter(|amount| (0..=99_999_999).contains(amount))
        .ok_or_else(|| {
            ApiError::invalid(format!("Invalid non-negative integer: {unit_amount}"))
                .code("parameter_invalid_integer")
                .param(params.name("unit_amount"))
        })?;
    if params.is_object("recurring") {
        let message = "This sandbox knows only prices that are paid once: leave `recurring` out.";
        return Err(ApiError::invalid(message).param(params.name("recurring")));
    }
    params.ignore(&["tax_behavior"]);
    let data = params.object("product_data")?;
    let product = match data {
        Some(data) => {
            params.finish()?;
            new_product(call, data)?
        }
        None => known_product(call, params)?,
    };
    Ok(Price {
        id: call.world.ids.long("price_1"),
        created: call.cause.at,
        livemode: call.scope.livemode,
        product,
        unit_amount,
        currency,
        nickname: None,
        active: true,
        metadata: crate::objects::Metadata::new(),
    })
}

fn new_product(call: &mut Call<'_>, mut data: Params) -> Result<String, ApiError> {
    let name = data.required("name")?;
    let description = data.text("description")?;
    let metadata = data.metadata("metadata")?.unwrap_or_default();
    data.ignore(&["images", "tax_code", "unit_label"]);
    data.finish()?;
    let product = Product {
        id: call.world.ids.short("prod_"),
        created: call.cause.at,
        livemode: call.scope.livemode,
        name,
        description,
        active: true,
        metadata,
    };
    Ok(call.objects().products.insert(product).id.clone())
}

fn known_product(call: &mut Call<'_>, params: &mut Params) -> Result<String, ApiError> {
    let id = params.required("product")?;
    params.finish()?;
    if call.objects().products.get(&id).is_none() {
        return Err(ApiError::missing_in_param("product", &id, params.name("product")));
    }
    Ok(id)
}

pub(super) fn retrieve_product(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let product = call.objects().products.get(id);
    product
        .map(|product| product.json())
        .ok_or_else(|| ApiError::missing("product", id, "id"))
}

pub(super) fn retrieve_price(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let price = call.objects().prices.get(id);
    price
        .map(|price| price.json())
        .ok_or_else(|| ApiError::missing("price", id, "price"))
}

pub(super) fn list_products(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["active"])?;
    call.list(|objects| &mut objects.products, tags, Product::json)
}

pub(super) fn list_prices(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["active", "product", "currency"])?;
    call.list(|objects| &mut objects.prices, tags, Price::json)
}

/// The filters of a list that are tags under their own names.
pub(super) fn filters(params: &mut Params, names: &[&'static str]) -> Result<Vec<Vec<Tag>>, ApiError> {
    let mut tags = Vec::new();
    for name in names {
        if let Some(value) = params.text(name)? {
            tags.push(vec![(*name, value)]);
        }
    }
    Ok(tags)
}
