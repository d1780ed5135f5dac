//! Recorded event bodies of six API versions, each with its expected outcome. They are none of the project's and are not
//! in it; `SUREPASS_EVENTS` names the folder.

use std::collections::BTreeSet;
use std::path::PathBuf;

const OTHER: &str = "ignored: other_event_type";
const NO_PASS: &str = "fulfil, unmatched: items_unread";

/// What becomes of each: what the intake says and, where it is a purchase, what fulfilment makes of it.
pub const EXPECTED: [(&str, &str); 45] = [
    (
        "2023-08-16__checkout.session.completed.subscription.json",
        NO_PASS,
    ),
    ("acacia__checkout.session.completed.json", NO_PASS),
    ("basil__checkout.session.completed.json", NO_PASS),
    ("basil__checkout.session.expired.json", OTHER),
    (
        "derived__checkout.session.async_payment_failed.unpaid.json",
        OTHER,
    ),
    (
        "derived__checkout.session.async_payment_succeeded.paid.json",
        NO_PASS,
    ),
    (
        "derived__checkout.session.completed.unpaid.json",
        "ignored: awaiting_payment",
    ),
    ("openapi_fixtures3.json", "malformed_event"),
    ("pay__charge.refunded.json", "malformed_event"),
    ("pay__charge.succeeded.json", "malformed_event"),
    ("pay__checkout.session.completed.json", "malformed_event"),
    ("srm__charge.dispute.closed.json", OTHER),
    ("srm__charge.dispute.created.json", OTHER),
    ("srm__charge.failed.json", OTHER),
    ("srm__charge.refund.updated.json", OTHER),
    ("srm__charge.refunded.json", OTHER),
    ("srm__charge.succeeded.json", OTHER),
    ("srm__checkout.session.completed.json", NO_PASS),
    ("srm__checkout.session.completed.payment_mode.json", NO_PASS),
    (
        "srm__checkout.session.completed.setup_mode.json",
        "ignored: setup_mode",
    ),
    ("srm__customer.deleted.json", OTHER),
    ("srm__customer.subscription.created.json", OTHER),
    ("srm__customer.subscription.deleted.json", OTHER),
    ("srm__customer.subscription.updated.json", OTHER),
    ("srm__invoice.paid.json", OTHER),
    ("srm__invoice.payment_action_required.json", OTHER),
    ("srm__invoice.payment_failed.json", OTHER),
    ("srm__invoice.payment_succeeded.json", OTHER),
    ("srm__payment_intent.payment_failed.json", OTHER),
    ("srm__payment_intent.succeeded.json", OTHER),
    ("srm__payment_link.created.json", OTHER),
    ("srm__payout.paid.json", OTHER),
    ("sse__charge_dispute_created.json", OTHER),
    ("sse__charge_expired.json", OTHER),
    ("sse__charge_refunded.json", OTHER),
    (
        "sse__checkout_session_completed.json",
        "fulfil, dead: livemode_mismatch",
    ),
    ("sse__customer_deleted.json", OTHER),
    ("sse__early_fraud_warning_created.json", OTHER),
    ("sse__invoice_paid.json", OTHER),
    ("sse__invoice_payment_paid.json", OTHER),
    ("sse__payment_intent_succeeded.json", OTHER),
    ("sse__refund_created.json", OTHER),
    ("sse__refund_failed.json", OTHER),
    ("sse__subscription_deleted.json", OTHER),
    ("sse__subscription_updated.json", OTHER),
];

/// What becomes of the recorded purchases once their metadata names a pass.
pub const WITH_A_PASS: [(&str, &str); 7] = [
    (
        "2023-08-16__checkout.session.completed.subscription.json",
        "fulfil, created",
    ),
    ("acacia__checkout.session.completed.json", "fulfil, created"),
    ("basil__checkout.session.completed.json", "fulfil, created"),
    (
        "derived__checkout.session.async_payment_succeeded.paid.json",
        "fulfil, existing",
    ),
    ("srm__checkout.session.completed.json", "fulfil, created"),
    (
        "srm__checkout.session.completed.payment_mode.json",
        "fulfil, created",
    ),
    (
        "sse__checkout_session_completed.json",
        "fulfil, dead: livemode_mismatch",
    ),
];

/// The body of each file of a table above, with its name and what it is expected to become; `None`, and a line that says
/// so, where the folder is absent.
pub fn read(table: &[(&'static str, &'static str)]) -> Option<Vec<(&'static str, Vec<u8>, &'static str)>> {
    let folder = std::env::var_os("SUREPASS_EVENTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/events")),
        PathBuf::from,
    );
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("{} is absent: nothing to check", folder.display());
        return None;
    };
    let there: BTreeSet<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let listed: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed, "every file has its expected outcome in the table");
    let read = |&(name, expected): &(&'static str, &'static str)| {
        (name, std::fs::read(folder.join(name)).unwrap(), expected)
    };
    Some(table.iter().map(read).collect())
}
