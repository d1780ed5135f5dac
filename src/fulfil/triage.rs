//! Decides which events and sessions are purchases. Pure: used before anything is stored.

use crate::store::CreatedVia;
use crate::stripe::{CheckoutSession, Event, PURCHASE_EVENTS, PaymentStatus, SessionMode, SessionStatus};

use super::purchase::{Origin, Purchase, PurchaseKind, stated};

/// Why an event without `data.object` is ignored: thin events contain no data.
pub const THIN_EVENT: &str = "thin_event";

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

/// Decides what to do with a verified event that arrived by the path of `path_tenant` (a slug), if any. Takes
/// the session out of the event, to avoid a copy.
///
/// "Fulfilment" rule 1: only a complete and paid session is fulfilled. A session whose state cannot be read
/// becomes a purchase that fulfilment rejects, so that a person sees it.
#[must_use]
pub fn triage(event: &mut Event, path_tenant: Option<&str>) -> Triage {
    if event.is_thin {
        return Triage::Ignore(THIN_EVENT);
    }
    if !PURCHASE_EVENTS.contains(&event.kind.as_str()) {
        return Triage::Ignore("other_event_type");
    }
    let Some(session) = event.session.take() else {
        return Triage::Ignore("other_event_type");
    };
    let origin = Origin {
        event_id: Some(&event.id),
        event_created: event.created,
        event_livemode: Some(event.livemode),
        account: event.account.as_deref(),
        path_tenant,
    };
    triage_owned(session, &origin, CreatedVia::Webhook)
}

/// Decides what to do with a session from any source.
#[must_use]
pub fn triage_session(session: &CheckoutSession, origin: &Origin<'_>, created_via: CreatedVia) -> Triage {
    triage_owned(session.clone(), origin, created_via)
}

fn triage_owned(mut session: CheckoutSession, origin: &Origin<'_>, created_via: CreatedVia) -> Triage {
    if session.mode == Some(SessionMode::Setup) {
        return Triage::Ignore("setup_mode");
    }
    let kind = match kind(&session) {
        Ok(kind) => kind,
        Err(OtherPurchase) => return Triage::Ignore("other_purchase_type"),
    };
    match session.payment_status {
        Some(PaymentStatus::Paid | PaymentStatus::NoPaymentRequired) => {}
        Some(PaymentStatus::Unpaid) => return Triage::Ignore("awaiting_payment"),
        Some(PaymentStatus::Other) => return Triage::Ignore("unknown_payment_status"),
        None => note(&mut session, "payment_status"),
    }
    match session.status {
        Some(SessionStatus::Complete) => {}
        Some(_) => return Triage::Ignore("not_complete"),
        // Before API versions of 2021 there is no status; a paid session is complete.
        None if session.payment_status == Some(PaymentStatus::Paid) => {}
        None => note(&mut session, "status"),
    }
    Triage::Fulfil(Purchase::new(session, kind, origin, created_via))
}

/// The purchase that a session would become if it were paid, to find its owner. Not to be enqueued. `None`:
/// not a purchase of a pass.
#[must_use]
pub fn draft(session: &CheckoutSession, origin: &Origin<'_>, created_via: CreatedVia) -> Option<Purchase> {
    if session.mode == Some(SessionMode::Setup) {
        return None;
    }
    let kind = kind(session).ok()?;
    Some(Purchase::new(session.clone(), kind, origin, created_via))
}

/// The purchase of a paid session whose `type` is something else, to find its owner. Not to be enqueued.
#[must_use]
pub fn of_another_type(session: &CheckoutSession, origin: &Origin<'_>) -> Option<Purchase> {
    let is_paid = session.payment_status == Some(PaymentStatus::Paid)
        && session.status == Some(SessionStatus::Complete)
        && session.mode != Some(SessionMode::Setup);
    let is_other = is_paid && kind(session).is_err();
    is_other.then(|| Purchase::new(session.clone(), None, origin, CreatedVia::Status))
}

fn note(session: &mut CheckoutSession, field: &'static str) {
    if !session.unreadable.contains(&field) {
        session.unreadable.push(field);
    }
}

/// The metadata's `type` is not that of a pass.
struct OtherPurchase;

/// `passType` is an older name of `type`. In newer sessions it contains the pass's own type (`multi`), which
/// says nothing here.
fn kind(session: &CheckoutSession) -> Result<Option<PurchaseKind>, OtherPurchase> {
    let said = |name: &str| session.metadata.get(name).and_then(|value| stated(value));
    let named = |value: &str| match value {
        "pass_purchase" => Some(PurchaseKind::Pass),
        "pass_upgrade" => Some(PurchaseKind::Upgrade),
        _ => None,
    };
    match said("type") {
        Some(value) => named(value).map(Some).ok_or(OtherPurchase),
        None => Ok(said("passType").and_then(named)),
    }
}
