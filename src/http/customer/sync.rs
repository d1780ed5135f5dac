//! `POST /api/user/sync-subscriptions`: finds and fulfils the customer's paid sessions that have no pass.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CustomerApi, Refusal};
use crate::customer::CustomerError;
use crate::identity::Customer;
use crate::lookback::Report;
use crate::queue::RateLimit;
use crate::store::RunPhase;

/// How long a request waits for the report; after it the sync goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// The body of the request. Older pages send nothing, or anything.
#[derive(Default, Deserialize)]
struct SyncBody {
    /// A visit's own sync, not the button's: at most one a minute; more requests get the report of the last one.
    #[serde(default)]
    quiet: bool,
}

pub(super) async fn run(
    api: web::Data<CustomerApi>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> Result<HttpResponse, Refusal> {
    let credential = api.credential(&request).await?;
    let customer = api.customer(&request, &credential).await?;
    let tenant = api.tenant(&request).await?;
    let body = body.map_err(|error| match Refusal::of_body(&error) {
        refusal @ Refusal::TooSlow => refusal,
        _ => Refusal::TooLarge,
    })?;
    let sync: SyncBody = serde_json::from_slice(&body).unwrap_or_default();
    let customers = &api.customers;
    let report = if sync.quiet {
        customers.quiet_sync(&customer, &tenant, PATIENCE).await?
    } else {
        within_limit(&api, &customer).await?;
        customers.sync(&customer, &tenant, PATIENCE).await?
    };
    Ok(HttpResponse::Ok().json(match report {
        Some(report) => report_json(&report),
        None => unfinished_json(0, 0, 0),
    }))
}

/// Counts a sync against the customer's limit.
pub(in crate::http) async fn within_limit(api: &CustomerApi, customer: &Customer) -> Result<(), Refusal> {
    let limit = RateLimit {
        name: "syncs",
        per_minute: *api.settings.syncs_per_minute,
    };
    let refused = api.customers.limit(customer, limit).await;
    match refused.map_err(CustomerError::from)? {
        Some(wait) => Err(Refusal::TooMany(wait)),
        None => Ok(()),
    }
}

/// The contract's JSON of a report. Errors are worded for customers; operators find the details in the log.
fn report_json(report: &Report) -> Value {
    if !report.done {
        return unfinished_json(
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

fn unfinished_json(created: u64, skipped: u64, found: u64) -> Value {
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
