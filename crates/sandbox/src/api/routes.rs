//! Every call that the sandbox knows, a line each.

use actix_web::http::Method;

use super::call::{Answer, Call};
use super::error::ApiError;
use super::{accounts, catalog, customers, endpoints, events, payments, sessions};

/// Does what a call asks for.
pub(super) fn route(method: &Method, call: &mut Call<'_>) -> Answer {
    let steps: Vec<&str> = call.path.split('/').skip(2).collect();
    match (method.as_str(), steps.as_slice()) {
        ("POST", ["checkout", "sessions"]) => sessions::create(call),
        ("GET", ["checkout", "sessions"]) => sessions::list(call),
        ("GET", ["checkout", "sessions", id]) => sessions::retrieve(call, id),
        ("POST", ["checkout", "sessions", id]) => sessions::update(call, id),
        ("POST", ["checkout", "sessions", id, "expire"]) => sessions::expire(call, id),
        ("GET", ["checkout", "sessions", id, "line_items"]) => sessions::line_items(call, id),

        ("POST", ["customers"]) => customers::create(call),
        ("GET", ["customers"]) => customers::list(call),
        ("GET", ["customers", id]) => customers::retrieve(call, id),
        ("POST", ["customers", id]) => customers::update(call, id),
        ("DELETE", ["customers", id]) => customers::delete(call, id),

        ("GET", ["payment_intents"]) => payments::list_intents(call),
        ("GET", ["payment_intents", id]) => payments::retrieve_intent(call, id),
        ("GET", ["charges"]) => payments::list_charges(call),
        ("GET", ["charges", id]) => payments::retrieve_charge(call, id),
        ("POST", ["refunds"]) => payments::refund(call),
        ("GET", ["refunds"]) => payments::list_refunds(call),
        ("GET", ["refunds", id]) => payments::retrieve_refund(call, id),
        ("GET", ["disputes"]) => payments::list_disputes(call),
        ("GET", ["disputes", id]) => payments::retrieve_dispute(call, id),

        ("POST", ["products"]) => catalog::create_product(call),
        ("GET", ["products"]) => catalog::list_products(call),
        ("GET", ["products", id]) => catalog::retrieve_product(call, id),
        ("POST", ["prices"]) => catalog::create_price(call),
        ("GET", ["prices"]) => catalog::list_prices(call),
        ("GET", ["prices", id]) => catalog::retrieve_price(call, id),

        ("GET", ["events"]) => events::list(call),
        ("GET", ["events", id]) => events::retrieve(call, id),

        ("POST", ["webhook_endpoints"]) => endpoints::create(call),
        ("GET", ["webhook_endpoints"]) => endpoints::list(call),
        ("GET", ["webhook_endpoints", id]) => endpoints::retrieve(call, id),
        ("POST", ["webhook_endpoints", id]) => endpoints::update(call, id),
        ("DELETE", ["webhook_endpoints", id]) => endpoints::delete(call, id),

        ("GET", ["account"]) => accounts::own(call),
        ("POST", ["accounts"]) => accounts::create(call),
        ("GET", ["accounts"]) => accounts::list(call),
        ("GET", ["accounts", id]) => accounts::retrieve(call, id),
        ("GET", ["balance"]) => accounts::balance(call),

        _ => {
            let message = format!(
                "Unrecognized request URL ({method}: {}). Please see https://stripe.com/docs; this sandbox knows only \
                 what Checkout's payments need.",
                call.path
            );
            Err(ApiError::new(404, "invalid_request_error", message))
        }
    }
}
