//! What the page says of a purchase, or of a sync, at the moment at which it is rendered.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::address::{ATTEMPTS, Bought, Synced};
use super::format;
use super::language::Reader;
use super::words::fill;
use super::{Page, Visit};
use crate::customer::{CustomerError, Status, Support};
use crate::store::KnownTenant;

/// How long the page waits for a status. Most take milliseconds; where Stripe must be asked, it goes on without the page, and
/// the next look finds the answer.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// A message, and what it means to the script and to styles.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// `data-state` of the element.
    pub(super) state: &'static str,
    pub(super) text: String,
    /// The page is to look again by itself.
    pub(super) goes_on: bool,
}

impl Told {
    fn end(state: &'static str, text: &str) -> Self {
        Self {
            state,
            text: text.to_owned(),
            goes_on: false,
        }
    }
}

/// What became of a purchase.
pub(super) async fn told(page: &Page, reader: &Reader<'_>, visit: &Visit, bought: &Bought) -> Told {
    let customers = page.api.customers.clone();
    let (customer, tenant) = (visit.customer.clone(), visit.known.clone());
    let session = bought.session.clone();
    // A task of its own: cut off between its steps, it could leave a sync noted that nobody has asked for.
    let asking = tokio::spawn(async move { customers.status(&customer, &tenant, &session).await });
    let status = heard(asking).await;
    let now = page.api.customers.clock.now();
    of_status(reader, status.as_ref(), bought.attempt, now)
}

/// The same for who has nothing but the session's id. What is not active waits, whatever it is.
pub(super) async fn told_alone(
    page: &Page,
    reader: &Reader<'_>,
    tenant: &KnownTenant,
    bought: &Bought,
) -> Told {
    let customers = page.api.customers.clone();
    let (tenant, session) = (tenant.clone(), bought.session.clone());
    let asking = tokio::spawn(async move { customers.is_active(&tenant, &session).await });
    if heard(asking).await == Some(true) {
        return Told::end("active", &reader.words().script.active);
    }
    of_status(reader, None, bought.attempt, page.api.customers.clock.now())
}

/// `None`: it is not known yet.
async fn heard<T>(asking: JoinHandle<Result<T, CustomerError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(Ok(status))) => Some(status),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "status of a purchase could not be read; the page polls again");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

fn of_status(reader: &Reader, status: Option<&Status>, attempt: u32, now: DateTime<Utc>) -> Told {
    let words = &reader.words().script;
    let (state, text) = match status {
        Some(Status::Active(held)) if !held.is_active => return Told::end("active", &words.exchanged),
        Some(Status::Active(held)) if held.end_date <= now => return Told::end("active", &words.has_ended),
        Some(Status::Active(_)) => return Told::end("active", &words.active),
        Some(Status::Pending) => return Told::end("pending", &words.pending),
        Some(Status::Declined) => return Told::end("declined", &words.declined),
        Some(Status::Unpaid) => return Told::end("unpaid", &words.unpaid),
        Some(Status::Expired) => return Told::end("expired", &words.expired),
        Some(Status::NotAPass) => return Told::end("not_a_pass", &words.not_a_pass),
        Some(Status::Unmatched(support)) => {
            return Told::end("unmatched", &asking(&words.unmatched, support));
        }
        Some(Status::Closed(support)) => return Told::end("unmatched", &asking(&words.closed, support)),
        Some(Status::Refunded(support)) => return Told::end("refunded", &asking(&words.refunded, support)),
        // Where the sync has mended nothing, waiting does not, either.
        Some(Status::Failed { synced, support }) if !synced || attempt > ATTEMPTS => {
            let text = match support.reference {
                Some(_) => &words.problem_quoted,
                None => &words.problem,
            };
            return Told::end("failed", &asking(text, support));
        }
        Some(Status::Failed { .. }) => ("syncing", words.syncing.clone()),
        Some(Status::Processing(_) | Status::Unknown) | None => {
            let number = |count: u32| format::count(&reader.locale, count.into());
            let values = [("n", &*number(attempt)), ("of", &*number(ATTEMPTS))];
            ("confirming", fill(&words.confirming, &values))
        }
    };
    if attempt > ATTEMPTS {
        return Told::end("late", &words.late);
    }
    Told {
        state,
        text,
        goes_on: true,
    }
}

fn asking(text: &str, support: &Support) -> String {
    let values = [
        ("reference", support.reference.as_deref().unwrap_or_default()),
        ("contact", support.whom_to_ask()),
    ];
    fill(text, &values)
}

/// What a sync came to that was asked for by the form.
pub(super) fn of_sync(reader: &Reader, synced: Option<Synced>) -> Told {
    let words = &reader.words().script;
    match synced {
        None => Told::end("idle", ""),
        Some(Synced::Found(count)) => {
            let text = reader.language.form(&words.found, count);
            let number = format::count(&reader.locale, count);
            Told::end("synced", &fill(text, &[("n", &number)]))
        }
        Some(Synced::Already) => Told::end("synced", &words.already),
        Some(Synced::None) => Told::end("synced", &words.none),
        Some(Synced::Failed) => Told::end("failed", &words.failed),
        Some(Synced::UnderWay) => Told::end("syncing", &words.under_way),
    }
}
