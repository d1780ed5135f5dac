//! Makes the queue's item from a verified event, whether a webhook or the lookback brought it, and decides which events and
//! sessions are purchases. The next step of the walk is `crates/queue/src/scripts/enqueue.lua`.

use std::time::Duration;

use crate::event_log;
use crate::fulfil::{Purchase, PurchaseKind, SessionSource, TenantPath, stated};
use crate::queue::{Item, QueueError};
use crate::store::CreatedVia;
use crate::stripe::{
    CheckoutSession, Event, EventObject, PURCHASE_EVENTS, PaymentStatus, SessionMode, SessionStatus,
};

/// The dead letters of purchases that came without a tenant's path, or by another tenant's.
const REVIVED_BY_PATH: &str = "unresolved_tenant,tenant_mismatch";

/// Why an event without `data.object` is ignored: thin events contain no data.
pub const THIN_EVENT: &str = "thin_event";

/// An event, ready to be enqueued.
#[derive(Debug)]
pub struct Ingested {
    /// The purchase's job, if there is one, and the entry for the event log. The event's id is its dedupe key.
    pub item: Item,
    /// Why there is no job.
    pub ignored: Option<&'static str>,
}

/// What to do about an event or a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for each event and taken apart at once; a box would cost an allocation for each purchase"
)]
pub enum Triage {
    Fulfil(Purchase),
    /// Ignore it, for this reason (a stable code).
    Ignore(&'static str),
}

/// Makes an item of a verified event and its raw body. `path` is the tenant's path by which it arrived, if any. `remember`: how
/// long the same event counts as a duplicate.
///
/// # Errors
/// [`QueueError::Encode`].
pub fn ingest(
    event: &Event,
    body: &[u8],
    path: Option<TenantPath<'_>>,
    via: CreatedVia,
    remember: Duration,
) -> Result<Ingested, QueueError> {
    let (item, ignored) = match triage(event, path, via) {
        Triage::Fulfil(purchase) => {
            let job = Item::job(&purchase)?.group(purchase.group());
            // The path names the tenant, which an event on another path, or the lookback, may not have known.
            let job = match path {
                Some(_) => job.revive_of(REVIVED_BY_PATH),
                None => job,
            };
            (job, None)
        }
        Triage::Ignore(why) => (Item::default(), Some(why)),
    };
    // Stripe sends one event to every endpoint of an account: a delivery on one path is no duplicate of one on another.
    let key = match path {
        Some(path) => ["event:", path.slug, ":", &event.id].concat(),
        None => ["event:", &event.id].concat(),
    };
    let item = item.dedupe(key, remember);
    let item = match via {
        CreatedVia::Webhook => item,
        _ => item.polled(),
    };
    let item = event_log::attach(item, event, path.map(|path| path.slug), ignored, body)?;
    Ok(Ingested { item, ignored })
}

/// Decides what to do with a verified event.
#[must_use]
pub fn triage(event: &Event, path: Option<TenantPath<'_>>, via: CreatedVia) -> Triage {
    let session = match &event.object {
        EventObject::Missing => return Triage::Ignore(THIN_EVENT),
        EventObject::Session(session) if PURCHASE_EVENTS.contains(&event.kind.as_str()) => session,
        EventObject::Session(_) | EventObject::Other => return Triage::Ignore("other_event_type"),
    };
    triage_session(session, &SessionSource::event(event, path, via))
}

/// Decides what to do with a session from any source.
///
/// "Fulfilment" rule 1: only a complete and paid session is fulfilled. A session whose state cannot be read becomes a purchase
/// that fulfilment rejects, so that a person sees it.
#[must_use]
pub fn triage_session(session: &CheckoutSession, source: &SessionSource<'_>) -> Triage {
    if session.mode == Some(SessionMode::Setup) {
        return Triage::Ignore("setup_mode");
    }
    let Ok(kind) = kind(session) else {
        return Triage::Ignore("other_purchase_type");
    };
    let bad_payment_status = match session.payment_status {
        Some(PaymentStatus::Paid | PaymentStatus::NoPaymentRequired) => None,
        Some(PaymentStatus::Unpaid) => return Triage::Ignore("awaiting_payment"),
        Some(PaymentStatus::Other) => return Triage::Ignore("unknown_payment_status"),
        None => Some("payment_status"),
    };
    let bad_status = match session.status {
        Some(SessionStatus::Complete) => None,
        Some(_) => return Triage::Ignore("not_complete"),
        // Before API versions of 2021 there is no status; a paid session is complete.
        None if session.payment_status == Some(PaymentStatus::Paid) => None,
        None => Some("status"),
    };
    let mut purchase = Purchase::new(session, kind, source);
    for field in [bad_payment_status, bad_status].into_iter().flatten() {
        if !session.unreadable.contains(&field) {
            purchase.unreadable.push(field.into());
        }
    }
    Triage::Fulfil(purchase)
}

/// The purchase that a session would become if it were paid, to find its owner. Not to be enqueued. `None`: not a purchase of a
/// pass.
#[must_use]
pub fn draft(session: &CheckoutSession, source: &SessionSource<'_>) -> Option<Purchase> {
    if session.mode == Some(SessionMode::Setup) {
        return None;
    }
    Some(Purchase::new(session, kind(session).ok()?, source))
}

/// The purchase of a paid session whose `type` is something else, to find its owner. Not to be enqueued.
#[must_use]
pub fn of_another_type(session: &CheckoutSession, source: &SessionSource<'_>) -> Option<Purchase> {
    let is_paid = session.payment_status == Some(PaymentStatus::Paid)
        && session.status == Some(SessionStatus::Complete)
        && session.mode != Some(SessionMode::Setup);
    let is_other = is_paid && kind(session).is_err();
    is_other.then(|| Purchase::new(session, None, source))
}

/// The metadata's `type` is not that of a pass.
struct OtherPurchase;

/// `passType` is an older name of `type`. In newer sessions it contains the pass's own type (`multi`), which says nothing here.
fn kind(session: &CheckoutSession) -> Result<Option<PurchaseKind>, OtherPurchase> {
    let value_of = |name: &str| session.metadata.get(name).and_then(|value| stated(value));
    let named = |value: &str| match value {
        "pass_purchase" => Some(PurchaseKind::Pass),
        "pass_upgrade" => Some(PurchaseKind::Upgrade),
        _ => None,
    };
    match value_of("type") {
        Some(value) => named(value).map(Some).ok_or(OtherPurchase),
        None => Ok(value_of("passType").and_then(named)),
    }
}
