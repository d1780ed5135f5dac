//! `POST /{tenant}/subscriptions`: the button "Missing Pass?" without a script, a form.

use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};

use super::address::{self, PageQuery, Synced};
use super::{Page, Refused, Visit};
use crate::http::customer::{Refusal, sync};
use crate::lookback::Report;
use crate::store::RunPhase;

/// How long the response waits for the sync's report; after it the sync goes on by itself.
const PATIENCE: Duration = Duration::from_secs(8);

/// Syncs, and redirects to the page, which shows the outcome.
pub(super) async fn sync(
    page: web::Data<Page>,
    slug: web::Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let query = PageQuery::read(&request);
    let reader = page.languages.reader(&request, query.lang.as_deref());
    let synced = async {
        let visit = page.visit(&request, &slug).await?;
        match page.sync(&visit).await {
            // The passes can be shown all the same.
            Err(Refusal::NoKey | Refusal::Unavailable) => Ok(Synced::Failed),
            Err(why) => Err(Refused::of(why, Some(visit.tenant.clone()))),
            Ok(synced) => Ok(synced),
        }
    };
    let synced = match synced.await {
        Ok(synced) => Some(synced),
        // The page says where to sign in.
        Err(Refused {
            why: Refusal::Unauthorized,
            ..
        }) => None,
        Err(refused) => return page.refuse(&reader, &refused, Some(&slug), &query),
    };
    let back = address::page(&slug, &reader, None, synced);
    HttpResponse::SeeOther()
        .insert_header((LOCATION, back))
        .insert_header((CACHE_CONTROL, "no-store"))
        .finish()
}

impl Page {
    async fn sync(&self, visit: &Visit) -> Result<Synced, Refusal> {
        let (customer, tenant) = (&visit.customer, &visit.known);
        sync::within_limit(&self.api, customer).await?;
        let report = self.api.customers.sync(customer, tenant, PATIENCE).await?;
        Ok(report.as_ref().map_or(Synced::UnderWay, outcome))
    }
}

fn outcome(report: &Report) -> Synced {
    if report.created_count > 0 {
        Synced::Found(report.created_count)
    } else if !report.done {
        Synced::UnderWay
    } else if report.phase == RunPhase::Failed || report.error_count > 0 {
        Synced::Failed
    } else if report.skipped_count > 0 {
        Synced::Already
    } else {
        Synced::None
    }
}
