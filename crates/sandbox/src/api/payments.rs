//! Payment intents, charges, refunds and disputes.

use std::sync::Arc;

use super::call::{Answer, Call};
use super::catalog::filters;
use super::error::ApiError;
use crate::objects::{Charge, Dispute, PaymentIntent, Progress, Refund};

const REASONS: [&str; 3] = ["duplicate", "fraudulent", "requested_by_customer"];

pub(super) fn list_intents(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["customer"])?;
    call.list(|objects| &mut objects.payment_intents, tags, PaymentIntent::json)
}

pub(super) fn retrieve_intent(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let intent = call.objects().payment_intents.get(id);
    intent
        .map(|intent| intent.json())
        .ok_or_else(|| ApiError::missing("payment_intent", id, "intent"))
}

pub(super) fn list_charges(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["customer", "payment_intent"])?;
    call.list(|objects| &mut objects.charges, tags, Charge::json)
}

pub(super) fn retrieve_charge(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let charge = call.objects().charges.get(id);
    charge
        .map(|charge| charge.json())
        .ok_or_else(|| ApiError::missing("charge", id, "id"))
}

/// Gives money back, all that is left of it unless `amount` says less.
pub(super) fn refund(call: &mut Call<'_>) -> Answer {
    let intent = call.params.text("payment_intent")?;
    let charge = call.params.text("charge")?;
    let amount = call.params.integer("amount")?;
    let reason = call.params.text("reason")?;
    let metadata = call.params.metadata("metadata")?.unwrap_or_default();
    call.params
        .ignore(&["reverse_transfer", "refund_application_fee"]);
    call.params.finish()?;
    if let Some(reason) = &reason
        && !REASONS.contains(&reason.as_str())
    {
        let message = format!("Invalid reason: must be one of {}", REASONS.join(", "));
        return Err(ApiError::invalid(message).param("reason"));
    }
    let charge = refunded_charge(call, intent.as_deref(), charge.as_deref())?;
    if charge.progress != Progress::Succeeded {
        let message = format!("Charge {} has not succeeded and cannot be refunded.", charge.id);
        return Err(ApiError::invalid(message).code("charge_not_refundable"));
    }
    let left = charge.amount - charge.amount_refunded;
    if left == 0 {
        let message = format!("Charge {} has already been refunded.", charge.id);
        return Err(ApiError::invalid(message).code("charge_already_refunded"));
    }
    if charge.disputed {
        let message = format!(
            "Charge {} has been charged back; cannot issue a refund.",
            charge.id
        );
        return Err(ApiError::invalid(message).code("charge_disputed"));
    }
    let amount = amount.unwrap_or(left);
    if amount < 1 || amount > left {
        let message =
            format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
        return Err(ApiError::invalid(message).param("amount"));
    }
    let refund = call
        .world
        .refund(&call.scope, &charge, amount, reason, metadata, &call.cause);
    Ok(refund.json())
}

fn refunded_charge(
    call: &mut Call<'_>,
    intent: Option<&str>,
    charge: Option<&str>,
) -> Result<Arc<Charge>, ApiError> {
    let objects = call.objects();
    let id = match (intent, charge) {
        (Some(intent), _) => objects
            .payment_intents
            .get(intent)
            .ok_or_else(|| ApiError::missing_in_param("payment_intent", intent, "payment_intent"))?
            .latest_charge
            .clone()
            .unwrap_or_default(),
        (None, Some(charge)) => charge.to_owned(),
        (None, None) => {
            let message =
                "One of the following params should be provided for this request: payment_intent or charge.";
            return Err(ApiError::invalid(message));
        }
    };
    let charge = objects.charges.get(&id).cloned();
    charge.ok_or_else(|| ApiError::missing_in_param("charge", &id, "charge"))
}

pub(super) fn list_refunds(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["charge", "payment_intent"])?;
    call.list(|objects| &mut objects.refunds, tags, Refund::json)
}

pub(super) fn retrieve_refund(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let refund = call.objects().refunds.get(id);
    refund
        .map(|refund| refund.json())
        .ok_or_else(|| ApiError::missing("refund", id, "id"))
}

pub(super) fn list_disputes(call: &mut Call<'_>) -> Answer {
    let tags = filters(&mut call.params, &["charge", "payment_intent"])?;
    call.list(|objects| &mut objects.disputes, tags, Dispute::json)
}

pub(super) fn retrieve_dispute(call: &mut Call<'_>, id: &str) -> Answer {
    call.params.finish()?;
    let dispute = call.objects().disputes.get(id);
    dispute
        .map(|dispute| dispute.json())
        .ok_or_else(|| ApiError::missing("dispute", id, "id"))
}
