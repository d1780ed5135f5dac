//! `POST /api/user/subscription-status`: what became of a purchase.

use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::visit::Credential;
use super::{Door, Refusal};
use crate::customer::{self, Processing, Status, Support};
use crate::store::{CreatedVia, Subscription};

#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "sessionId")]
    session: String,
}

pub(super) async fn show(
    door: web::Data<Door>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = door.credential(&request).await?;
    let session = session(body);
    if credential == Credential::None && session.is_ok() {
        return alone(&door, &request, &session?).await;
    }
    let customer = door.customer(&request, &credential).await?;
    let tenant = door.tenant(&request).await?;
    let status = door.customers.status(&customer, &tenant, &session?).await?;
    Ok(HttpResponse::Ok().json(told(&status, door.customers.clock.now())))
}

/// A caller with nothing but the session's id learns whether its purchase is active, and nothing else.
async fn alone(door: &Door, request: &HttpRequest, session: &str) -> Result<HttpResponse, Refusal> {
    door.within_limits(request).await?;
    let tenant = door.tenant(request).await?;
    let active = door.customers.is_active(&tenant, session).await?;
    Ok(HttpResponse::Ok().json(active_alone(active)))
}

pub(super) fn active_alone(active: bool) -> Value {
    if active {
        json!({"found": true, "subscription": {"isActive": true}, "message": ACTIVE})
    } else {
        unknown()
    }
}

fn session(body: Result<web::Bytes, actix_web::Error>) -> Result<String, Refusal> {
    let body = body.map_err(|error| Refusal::of_body(&error))?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|_| Refusal::NoSession)?;
    let session = asked.session.trim();
    if !customer::is_session_id(session) {
        return Err(Refusal::NoSession);
    }
    Ok(session.to_owned())
}

const ACTIVE: &str = "Your pass is active.";

/// As the contract has it. `state` is a superset: one stable word for each case.
pub(super) fn told(status: &Status, now: DateTime<Utc>) -> Value {
    match status {
        Status::Active(subscription) => json!({
            "found": true,
            "state": "active",
            "subscription": shown(subscription, now),
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
                "nextAttemptAt": next.map(instant),
                "message": "Your payment is being processed. Please wait...",
            })
        }
        Status::Failed { synced, support } => failed(*synced, support),
        Status::Pending => json!({
            "found": false,
            "processing": true,
            "state": "pending",
            "message": "Your bank transfer is being processed, usually 1–3 days. Your pass appears here as soon as it arrives. You can \
                        close this page.",
        }),
        Status::Declined => waiting(
            "declined",
            "You were not charged: your bank declined this payment. Please try again, or pay in another way.",
        ),
        Status::Unpaid => waiting(
            "unpaid",
            "This purchase is not paid yet, and you were not charged. Please finish the payment in the shop.",
        ),
        Status::Expired => waiting(
            "expired",
            "You were not charged: this checkout has expired. Please start again in the shop.",
        ),
        Status::Unmatched(support) => with(
            support,
            waiting(
                "unmatched",
                &format!(
                    "We received your payment, and you won't be charged again. We could not tell which pass you bought, so the \
                     shop is checking it. Questions? {}",
                    ask(support)
                ),
            ),
        ),
        Status::Closed(support) => {
            let mut told = waiting(
                "unmatched",
                &format!(
                    "We received your payment, and you won't be charged again. The shop has checked it and closed the case, so no \
                     pass appears here. Questions? {}",
                    ask(support)
                ),
            );
            told["closed"] = true.into();
            with(support, told)
        }
        Status::Refunded(support) => with(
            support,
            waiting(
                "refunded",
                &format!(
                    "This payment was refunded in full, so there is no pass for it. Questions? Contact {}.",
                    support.whom_to_ask()
                ),
            ),
        ),
        Status::NotAPass => waiting(
            "not_a_pass",
            "We received your payment. It was not for a pass, so no pass appears here.",
        ),
        Status::Unknown => unknown(),
    }
}

/// `webhookError` and `error` are what the existing page reads.
fn failed(synced: bool, support: &Support) -> Value {
    let next = match (&support.reference, synced) {
        (None, true) => "We are trying again.".to_owned(),
        _ => ask(support),
    };
    let told = json!({
        "found": false,
        "webhookError": true,
        "state": "failed",
        "error": "Your pass could not be activated yet.",
        "message": format!(
            "We received your payment but couldn't activate your pass yet. You won't be charged again. {next}"
        ),
    });
    with(support, told)
}

fn ask(support: &Support) -> String {
    let contact = support.whom_to_ask();
    match &support.reference {
        Some(reference) => format!("Contact {contact} and quote {reference}."),
        None => format!("Contact {contact}."),
    }
}

/// Adds whom to ask.
fn with(support: &Support, mut told: Value) -> Value {
    if let Some(reference) = &support.reference {
        told["reference"] = reference.as_str().into();
    }
    let contact = &support.contact;
    told["supportEmail"] = json!(contact.support_email);
    told["supportUrl"] = json!(contact.support_url);
    told["shopUrl"] = json!(contact.shop_url);
    told["contact"] = support.whom_to_ask().into();
    told
}

fn unknown() -> Value {
    waiting("unknown", "Waiting for payment confirmation...")
}

fn waiting(state: &str, message: &str) -> Value {
    json!({"found": false, "processing": false, "state": state, "message": message})
}

fn shown(subscription: &Subscription, now: DateTime<Utc>) -> Value {
    let mut shown = json!({
        "_id": subscription.id,
        "type": subscription.kind,
        "passName": subscription.pass_name,
        "startDate": instant(subscription.start_date),
        "endDate": instant(subscription.end_date),
        "isActive": subscription.is_active,
        "isExpired": subscription.end_date <= now,
        "createdViaWebhook": subscription.created_via == CreatedVia::Webhook,
    });
    if let Some(clips) = subscription.remaining_clips {
        shown["remainingClips"] = clips.into();
    }
    shown
}

/// As browsers write it: `2026-11-23T22:00:00.000Z`.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
