//! Which events and sessions are purchases. Pure: the intake asks it before anything is stored.

use crate::store::CreatedVia;
use crate::stripe::{CheckoutSession, Event, PaymentStatus, SessionMode, SessionStatus};

use super::purchase::{Origin, Purchase, PurchaseKind, told};

/// Why an event without `data.object` is ignored: Stripe's thin events tell only that something happened.
pub const THIN_EVENT: &str = "thin_event";

/// What to do about an event or a session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for each event and taken apart at once; a box would cost an allocation for each purchase"
)]
pub enum Triage {
    Fulfil(Purchase),
    /// Nothing to do, and why, in a few stable words.
    Ignore(&'static str),
}

/// Decides what to do about a verified event that came in by the path of `path_tenant` (a slug), if any. Takes the event's
/// session: a purchase is made of its parts, once for each webhook.
///
/// "Fulfilment" rule 1: only a session that is complete and paid for is fulfilled. A session whose state cannot be read
/// goes on as a purchase that fulfilment refuses, so that a person learns of it.
#[must_use]
pub fn triage(event: &mut Event, path_tenant: Option<&str>) -> Triage {
    if event.is_thin {
        return Triage::Ignore(THIN_EVENT);
    }
    if !matches!(
        event.kind.as_str(),
        "checkout.session.completed" | "checkout.session.async_payment_succeeded"
    ) {
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

/// Decides what to do about a session, wherever it was learned of.
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
        // Payloads of API versions before 2021 have no status; money that is there says as much.
        None if session.payment_status == Some(PaymentStatus::Paid) => {}
        None => note(&mut session, "status"),
    }
    Triage::Fulfil(Purchase::new(session, kind, origin, created_via))
}

/// What a session would be as a purchase, were it paid for: tells whose it is. Not to be handed in; `None`: it is none of
/// ours, whatever becomes of it.
#[must_use]
pub fn draft(session: &CheckoutSession, origin: &Origin<'_>, created_via: CreatedVia) -> Option<Purchase> {
    if session.mode == Some(SessionMode::Setup) {
        return None;
    }
    let kind = kind(session).ok()?;
    Some(Purchase::new(session.clone(), kind, origin, created_via))
}

/// What a paid session would be as a purchase whose `type` says that it is something else: tells whose it is. Not to be
/// handed in.
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

/// The metadata's `type` says that something else than a pass was bought.
struct OtherPurchase;

/// `passType` is an older name of `type`, but newer sessions hold the pass' own type (`multi`) in it, which says nothing.
fn kind(session: &CheckoutSession) -> Result<Option<PurchaseKind>, OtherPurchase> {
    let said = |name: &str| session.metadata.get(name).and_then(|value| told(value));
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
