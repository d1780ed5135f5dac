//! Events of the last 30 days.

use super::call::{Answer, Call, created};
use super::error::ApiError;
use crate::delivery::API_VERSION;
use crate::objects::covers;
use crate::table::Tag;

/// How long Stripe shows an event, in seconds.
const SHOWN_FOR: i64 = 30 * 86_400;
/// Every type that the sandbox makes.
const TYPES: [&str; 15] = [
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.failed",
    "charge.pending",
    "charge.refunded",
    "charge.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "customer.created",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "refund.created",
];

pub(super) fn list(call: &mut Call<'_>) -> Answer {
    let one = call.params.text("type")?;
    let several = call.params.texts("types")?;
    if one.is_some() && !several.is_empty() {
        let message = "You may only specify one of these parameters: type, types.";
        return Err(ApiError::invalid(message).param("types"));
    }
    if several.len() > 20 {
        let error = ApiError::invalid("You may specify at most 20 types.");
        return Err(error.param("types"));
    }
    let mut tags: Vec<Vec<Tag>> = Vec::new();
    if let Some(wanted) = one {
        let types = TYPES.into_iter().filter(|kind| covers(&wanted, kind));
        tags.push(types.map(|kind| ("type", kind.to_owned())).collect());
    } else if !several.is_empty() {
        tags.push(several.into_iter().map(|kind| ("type", kind)).collect());
    }
    if let Some(delivered) = call.params.boolean("delivery_success")? {
        tags.push(vec![("delivery_success", delivered.to_string())]);
    }
    let (first, last) = created(&mut call.params)?;
    let first = first.max(call.cause.now.timestamp() - SHOWN_FOR);
    call.list_created(
        |objects| &mut objects.events,
        (first, last),
        tags,
        |event| event.json(API_VERSION, false),
    )
}

pub(super) fn retrieve(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let oldest = call.cause.now.timestamp() - SHOWN_FOR;
    let event = call.objects().events.get(id);
    event
        .filter(|event| event.created >= oldest)
        .map(|event| event.json(API_VERSION, false))
        .ok_or_else(|| ApiError::missing("event", id, "id"))
}
