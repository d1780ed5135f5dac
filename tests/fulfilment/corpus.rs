//! Recorded event bodies of six API versions, each with its expected outcome. They are none of the project's and are not
//! in it; `SUREPASS_EVENTS` names the folder.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use surepass::fulfil::{Triage, triage};
use surepass::stripe::Event;

use crate::shop::{Shop, tenant};

const OTHER: &str = "ignored: other_event_type";
const NO_PASS: &str = "fulfil, ignored: no_pass_named";

/// What becomes of each: what the intake says and, where it is a purchase, what fulfilment makes of it.
const EXPECTED: [(&str, &str); 45] = [
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
    ("sse__checkout_session_completed.json", NO_PASS),
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

async fn outcome(shop: &Shop, body: &[u8]) -> String {
    match Event::parse(body) {
        Err(_) => "malformed_event".to_owned(),
        Ok(event) => match triage(&event, None) {
            Triage::Ignore(why) => format!("ignored: {why}"),
            Triage::Fulfil(purchase) => format!("fulfil, {}", shop.fulfil(&purchase).await),
        },
    }
}

fn folder() -> PathBuf {
    std::env::var_os("SUREPASS_EVENTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/events")),
        PathBuf::from,
    )
}

#[tokio::test]
async fn every_recorded_event_has_its_expected_outcome() {
    let folder = folder();
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("{} is absent: nothing to check", folder.display());
        return;
    };
    let there: BTreeSet<String> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    let listed: BTreeSet<String> = EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, listed);
    let shop = Shop::open(&[tenant("t1")]).await;
    for (name, expected) in EXPECTED {
        let body = std::fs::read(folder.join(name)).unwrap();
        assert_eq!(outcome(&shop, &body).await, expected, "{name}");
    }
    assert!(shop.subscriptions().await.is_empty());
}

/// What becomes of the recorded purchases once their metadata names a pass.
const WITH_A_PASS: [(&str, &str); 7] = [
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

#[tokio::test]
async fn every_recorded_purchase_of_every_api_version_would_be_fulfilled_if_it_named_a_pass() {
    let folder = folder();
    if !folder.exists() {
        println!("{} is absent: nothing to check", folder.display());
        return;
    }
    let shop = Shop::open(&[tenant("t1")]).await;
    for (name, expected) in WITH_A_PASS {
        let body = std::fs::read(folder.join(name)).unwrap();
        let mut event: Value = serde_json::from_slice(&body).unwrap();
        event["data"]["object"]["metadata"] = json!({"type": "pass_purchase", "passId": "pass-10"});
        assert_eq!(
            outcome(&shop, event.to_string().as_bytes()).await,
            expected,
            "{name}"
        );
    }
    assert_eq!(shop.subscriptions().await.len(), 5);
}
