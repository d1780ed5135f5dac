//! `POST /api/user/sync-subscriptions`: looks for what the customer has paid for and does not have.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Door, Refusal};
use crate::customer::CustomerError;
use crate::identity::Customer;
use crate::lookback::Report;
use crate::queue::RateLimit;
use crate::store::RunPhase;

/// How long a page waits for the result; beyond it the sync goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// What a page may say of the sync that it asks for.
#[derive(Default, Deserialize)]
struct Wish {
    /// It is a visit's, which nobody has asked for: at most one a minute, and told what the last one came to.
    #[serde(default)]
    quiet: bool,
}

pub(super) async fn run(
    door: web::Data<Door>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = door.credential(&request).await?;
    let customer = door.customer(&request, &credential).await?;
    let tenant = door.tenant(&request).await?;
    let body = body.map_err(|error| match Refusal::of_body(&error) {
        refusal @ Refusal::TooSlow => refusal,
        _ => Refusal::TooLarge,
    })?;
    // Pages of old send nothing, or anything.
    let wish: Wish = serde_json::from_slice(&body).unwrap_or_default();
    let customers = &door.customers;
    let report = if wish.quiet {
        customers.quiet_sync(&customer, &tenant, PATIENCE).await?
    } else {
        within_limit(&door, &customer).await?;
        customers.sync(&customer, &tenant, PATIENCE).await?
    };
    Ok(HttpResponse::Ok().json(match report {
        Some(report) => told(&report),
        None => under_way(0, 0, 0),
    }))
}

/// Counts a sync that a customer asks for.
pub(in crate::http) async fn within_limit(door: &Door, customer: &Customer) -> Result<(), Refusal> {
    let limit = RateLimit {
        name: "syncs",
        per_minute: door.settings.syncs_per_minute,
    };
    let refused = door.customers.limit(customer, limit).await;
    match refused.map_err(CustomerError::from)? {
        Some(wait) => Err(Refusal::TooMany(wait)),
        None => Ok(()),
    }
}

/// As the contract has it. What stands in the way is told in words for a customer: the rest is for those who run the shop.
fn told(report: &Report) -> Value {
    if !report.done {
        return under_way(
            report.created_count,
            report.skipped_count,
            report.total_sessions_found,
        );
    }
    let mut errors: Vec<String> = report
        .errors
        .iter()
        .map(|failed| format!("Session {}: the shop must check this purchase", failed.session))
        .collect();
    if report.error.is_some() {
        errors.push("Not all purchases could be read".to_owned());
    }
    let (created, skipped, failed) = (report.created_count, report.skipped_count, report.error_count);
    let mut message = format!("Synced {created} missing subscriptions, skipped {skipped} existing ones");
    if failed > 0 {
        message = format!("{message}, {failed} errors");
    }
    json!({
        "success": report.phase != RunPhase::Failed,
        "message": message,
        "createdCount": created,
        "skippedCount": skipped,
        "errorCount": failed,
        "errors": errors,
        "totalSessionsFound": report.total_sessions_found,
    })
}

fn under_way(created: u64, skipped: u64, found: u64) -> Value {
    json!({
        "success": true,
        "processing": true,
        "message": "We are still checking your payments. Missing passes appear by themselves.",
        "createdCount": created,
        "skippedCount": skipped,
        "errorCount": 0,
        "errors": [],
        "totalSessionsFound": found,
    })
}
