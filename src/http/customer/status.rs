//! `POST /api/user/subscription-status`: the status of a purchase.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Credential;
use super::{CustomerApi, Refusal};
use crate::customer::{self, Processing, Status, Support};
use crate::store::{CreatedVia, Subscription};

#[derive(Deserialize)]
struct StatusRequest {
    #[serde(rename = "sessionId")]
    session: String,
}

pub(super) async fn show(
    api: web::Data<CustomerApi>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = api.credential(&request).await?;
    let session = session(body);
    if credential == Credential::None && session.is_ok() {
        return show_without_sign_in(&api, &request, &session?).await;
    }
    let customer = api.customer(&request, &credential).await?;
    let tenant = api.tenant(&request).await?;
    let status = api.customers.status(&customer, &tenant, &session?).await?;
    Ok(HttpResponse::Ok().json(status_json(&status, api.customers.clock.now())))
}

/// For a caller who has only the session's id: whether its purchase is active, and nothing else.
async fn show_without_sign_in(
    api: &CustomerApi,
    request: &HttpRequest,
    session: &str,
) -> Result<HttpResponse, Refusal> {
    api.within_limits(request).await?;
    let tenant = api.tenant(request).await?;
    let active = api.customers.is_active(&tenant, session).await?;
    Ok(HttpResponse::Ok().json(json_without_sign_in(active)))
}

pub(super) fn json_without_sign_in(active: bool) -> Value {
    if active {
        json!({"found": true, "subscription": {"isActive": true}, "message": ACTIVE})
    } else {
        unknown_json()
    }
}

fn session(body: Result<web::Bytes, actix_web::Error>) -> Result<String, Refusal> {
    let body = body.map_err(|error| Refusal::of_body(&error))?;
    let request: StatusRequest = serde_json::from_slice(&body).map_err(|_| Refusal::NoSession)?;
    let session = request.session.trim();
    if !customer::is_session_id(session) {
        return Err(Refusal::NoSession);
    }
    Ok(session.to_owned())
}

const ACTIVE: &str = "Your pass is active.";

/// The contract's JSON of a status. `state` is one stable word for each case.
pub(super) fn status_json(status: &Status, now: DateTime<Utc>) -> Value {
    match status {
        Status::Active(subscription) => json!({
            "found": true,
            "state": "active",
            "subscription": subscription_json(subscription, now),
            "message": if !subscription.is_active {
                "This pass has been exchanged for another one."
            } else if subscription.end_date <= now {
                "This pass has expired."
            } else {
                ACTIVE
            },
        }),
        Status::Processing(processing) => {
            let (state, attempt, next) = match processing {
                Processing::Queued => ("queued", 0, None),
                Processing::Running { attempt } => ("running", *attempt, None),
                Processing::Retrying { attempts, next } => ("retrying", *attempts, *next),
            };
            json!({
                "found": false,
                "processing": true,
                "state": state,
                "attempt": attempt,
                "nextAttemptAt": next.map(timestamp),
                "message": "Your payment is being processed. Please wait...",
            })
        }
        Status::Failed { synced, support } => failed_json(*synced, support),
        Status::Pending => json!({
            "found": false,
            "processing": true,
            "state": "pending",
            "message": "Your bank transfer is being processed, usually 1–3 days. Your pass appears here as soon as it arrives. You can \
                        close this page.",
        }),
        Status::Declined => message_json(
            "declined",
            "You were not charged: your bank declined this payment. Please try again, or pay in another way.",
        ),
        Status::Unpaid => message_json(
            "unpaid",
            "This purchase is not paid yet, and you were not charged. Please finish the payment in the shop.",
        ),
        Status::Expired => message_json(
            "expired",
            "You were not charged: this checkout has expired. Please start again in the shop.",
        ),
        Status::Unmatched(support) => with_support(
            support,
            message_json(
                "unmatched",
                &format!(
                    "We received your payment, and you won't be charged again. We could not tell which pass you bought, so the \
                     shop is checking it. Questions? {}",
                    contact_sentence(support)
                ),
            ),
        ),
        Status::Closed(support) => {
            let mut json = message_json(
                "unmatched",
                &format!(
                    "We received your payment, and you won't be charged again. The shop has checked it and closed the case, so no \
                     pass appears here. Questions? {}",
                    contact_sentence(support)
                ),
            );
            json["closed"] = true.into();
            with_support(support, json)
        }
        Status::Refunded(support) => with_support(
            support,
            message_json(
                "refunded",
                &format!(
                    "This payment was refunded in full, so there is no pass for it. Questions? Contact {}.",
                    support.whom_to_ask()
                ),
            ),
        ),
        Status::NotAPass => message_json(
            "not_a_pass",
            "We received your payment. It was not for a pass, so no pass appears here.",
        ),
        Status::Unknown => unknown_json(),
    }
}

/// The existing page reads `webhookError` and `error`.
fn failed_json(synced: bool, support: &Support) -> Value {
    let next = match (&support.reference, synced) {
        (None, true) => "We are trying again.".to_owned(),
        _ => contact_sentence(support),
    };
    let json = json!({
        "found": false,
        "webhookError": true,
        "state": "failed",
        "error": "Your pass could not be activated yet.",
        "message": format!(
            "We received your payment but couldn't activate your pass yet. You won't be charged again. {next}"
        ),
    });
    with_support(support, json)
}

fn contact_sentence(support: &Support) -> String {
    let contact = support.whom_to_ask();
    match &support.reference {
        Some(reference) => format!("Contact {contact} and quote {reference}."),
        None => format!("Contact {contact}."),
    }
}

/// Adds the shop's contact and the reference.
fn with_support(support: &Support, mut json: Value) -> Value {
    if let Some(reference) = &support.reference {
        json["reference"] = reference.as_str().into();
    }
    let contact = &support.contact;
    json["supportEmail"] = json!(contact.support_email);
    json["supportUrl"] = json!(contact.support_url);
    json["shopUrl"] = json!(contact.shop_url);
    json["contact"] = support.whom_to_ask().into();
    json
}

fn unknown_json() -> Value {
    message_json("unknown", "Waiting for payment confirmation...")
}

fn message_json(state: &str, message: &str) -> Value {
    json!({"found": false, "processing": false, "state": state, "message": message})
}

fn subscription_json(subscription: &Subscription, now: DateTime<Utc>) -> Value {
    let mut json = json!({
        "_id": subscription.id,
        "type": subscription.kind,
        "passName": subscription.pass_name,
        "startDate": timestamp(subscription.start_date),
        "endDate": timestamp(subscription.end_date),
        "isActive": subscription.is_active,
        "isExpired": subscription.end_date <= now,
        "createdViaWebhook": subscription.created_via == CreatedVia::Webhook,
    });
    if let Some(clips) = subscription.remaining_clips {
        json["remainingClips"] = clips.into();
    }
    json
}

/// RFC 3339 as browsers write it: `2026-11-23T22:00:00.000Z`.
pub(super) fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
