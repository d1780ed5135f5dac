//! The page's message about a purchase or a sync, when the page is rendered.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;

use super::address::{ATTEMPTS, Bought, Synced};
use super::format;
use super::i18n::fill;
use super::language::Reader;
use super::{Page, Visit};
use crate::customer::{CustomerError, Status, Support};
use crate::store::KnownTenant;

/// How long the page waits for a status. Most take milliseconds; a call of Stripe goes on without the page, and the next look
/// finds its answer.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// A message, with its state for the script and the styles.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// `data-state` of the element.
    pub(super) state: &'static str,
    pub(super) text: String,
    /// The page reloads by itself.
    pub(super) goes_on: bool,
}

impl Message {
    fn end(state: &'static str, text: &str) -> Self {
        Self {
            state,
            text: text.to_owned(),
            goes_on: false,
        }
    }
}

/// The message about a purchase.
pub(super) async fn message(page: &Page, reader: &Reader<'_>, visit: &Visit, bought: &Bought) -> Message {
    let customers = page.api.customers.clone();
    let (customer, tenant) = (visit.customer.clone(), visit.known.clone());
    let session = bought.session.clone();
    // A task of its own: cancelled between its steps, it could mark a sync as requested that is not.
    let reading = tokio::spawn(async move { customers.status(&customer, &tenant, &session).await });
    let status = in_time(reading).await;
    let now = page.api.customers.clock.now();
    of_status(reader, status.as_ref(), bought.attempt, now)
}

/// The same for a caller who has only the session's id: all that is not active is shown as waiting.
pub(super) async fn message_without_sign_in(
    page: &Page,
    reader: &Reader<'_>,
    tenant: &KnownTenant,
    bought: &Bought,
) -> Message {
    let customers = page.api.customers.clone();
    let (tenant, session) = (tenant.clone(), bought.session.clone());
    let reading = tokio::spawn(async move { customers.is_active(&tenant, &session).await });
    if in_time(reading).await == Some(true) {
        return Message::end("active", &reader.words().script.active);
    }
    of_status(reader, None, bought.attempt, page.api.customers.clock.now())
}

/// `None`: there is no result yet.
async fn in_time<T>(reading: JoinHandle<Result<T, CustomerError>>) -> Option<T> {
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(Ok(status))) => Some(status),
        Ok(Ok(Err(error))) => {
            tracing::warn!(%error, "status of a purchase could not be read; the page polls again");
            None
        }
        Ok(Err(_)) | Err(_) => None,
    }
}

fn of_status(reader: &Reader, status: Option<&Status>, attempt: u32, now: DateTime<Utc>) -> Message {
    let words = &reader.words().script;
    let (state, text) = match status {
        Some(Status::Active(held)) if !held.is_active => return Message::end("active", &words.exchanged),
        Some(Status::Active(held)) if held.end_date <= now => {
            return Message::end("active", &words.has_ended);
        }
        Some(Status::Active(_)) => return Message::end("active", &words.active),
        Some(Status::Pending) => return Message::end("pending", &words.pending),
        Some(Status::Declined) => return Message::end("declined", &words.declined),
        Some(Status::Unpaid) => return Message::end("unpaid", &words.unpaid),
        Some(Status::Expired) => return Message::end("expired", &words.expired),
        Some(Status::NotAPass) => return Message::end("not_a_pass", &words.not_a_pass),
        Some(Status::Unmatched(support)) => {
            return Message::end("unmatched", &with_contact(&words.unmatched, support));
        }
        Some(Status::Closed(support)) => {
            return Message::end("unmatched", &with_contact(&words.closed, support));
        }
        Some(Status::Refunded(support)) => {
            return Message::end("refunded", &with_contact(&words.refunded, support));
        }
        // If the sync has not helped, waiting does not, either.
        Some(Status::Failed { synced, support }) if !synced || attempt > ATTEMPTS => {
            let text = match support.reference {
                Some(_) => &words.problem_quoted,
                None => &words.problem,
            };
            return Message::end("failed", &with_contact(text, support));
        }
        Some(Status::Failed { .. }) => ("syncing", words.syncing.clone()),
        Some(Status::Processing(_) | Status::Unknown) | None => {
            let number = |count: u32| format::count(&reader.locale, count.into());
            let values = [("n", &*number(attempt)), ("of", &*number(ATTEMPTS))];
            ("confirming", fill(&words.confirming, &values))
        }
    };
    if attempt > ATTEMPTS {
        return Message::end("late", &words.late);
    }
    Message {
        state,
        text,
        goes_on: true,
    }
}

fn with_contact(text: &str, support: &Support) -> String {
    let values = [
        ("reference", support.reference.as_deref().unwrap_or_default()),
        ("contact", support.whom_to_ask()),
    ];
    fill(text, &values)
}

/// The message about a sync by the form.
pub(super) fn of_sync(reader: &Reader, synced: Option<Synced>) -> Message {
    let words = &reader.words().script;
    match synced {
        None => Message::end("idle", ""),
        Some(Synced::Found(count)) => {
            let text = reader.language.form(&words.found, count);
            let number = format::count(&reader.locale, count);
            Message::end("synced", &fill(text, &[("n", &number)]))
        }
        Some(Synced::Already) => Message::end("synced", &words.already),
        Some(Synced::None) => Message::end("synced", &words.none),
        Some(Synced::Failed) => Message::end("failed", &words.failed),
        Some(Synced::UnderWay) => Message::end("syncing", &words.under_way),
    }
}
