//! Refunds that Stripe's events report: a full one closes the case of its payment.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::body;
use crate::fulfil::Mode;
use crate::store::{LoggedEvent, RefundedPayments, Store, StoreError};

#[derive(Deserialize)]
struct Event {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Charge,
}

#[derive(Deserialize)]
struct Charge {
    payment_intent: Option<String>,
    /// All of it was given back.
    refunded: bool,
}

/// Closes the cases whose payment was refunded in full, by verified events. `livemode`: that of the key or the setting.
///
/// # Errors
/// [`StoreError`]; asking again is safe.
pub(super) async fn close_refunded(
    store: &Store,
    livemode: Option<bool>,
    events: &[LoggedEvent],
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    for event in events.iter().filter(|event| event.kind == "charge.refunded") {
        let Some(payment) = refunded(event) else {
            continue;
        };
        // "Fulfilment" rule 9: a test refund gives nobody's money back.
        if !Mode::read(store, livemode).await?.accepts(event.livemode) {
            tracing::warn!(
                event = event.id,
                livemode = event.livemode,
                "refund ignored: it is of the other mode (live or test) than this system"
            );
            continue;
        }
        let refunded = RefundedPayments {
            account: event.account.as_deref(),
            path_tenant: event.tenant_slug.as_deref(),
            payments: &[&payment],
            sessions: &[],
            at,
        };
        if store.unmatched().close_refunded(&refunded).await? > 0 {
            tracing::info!(
                payment,
                event = event.id,
                "unmatched payment closed: refunded in full"
            );
        }
    }
    Ok(())
}

fn refunded(event: &LoggedEvent) -> Option<String> {
    let body = body(event).ok().flatten()?;
    let event: Event = serde_json::from_slice(&body).ok()?;
    event
        .data
        .object
        .payment_intent
        .filter(|_| event.data.object.refunded)
}
