//! What was paid and has no subscription.

use chrono::TimeDelta;
use serde_json::json;
use surepass::store::CreatedVia;

use crate::reconcile::fixture::{Fixture, listed};

#[tokio::test]
async fn a_paid_session_without_a_subscription_is_missing_with_its_ids_and_the_exit_status_is_1_until_it_has_one()
 {
    let fixture = Fixture::open().await;
    fixture.sell("A", 30).await;
    fixture.sell("B", 3).await;
    let lost = Fixture::sold("C", 2);
    fixture.stripe.add("", listed(&lost));

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.sessions("missing"), [lost.session_id()]);
    assert_eq!((ledger.count("paid"), ledger.count("fulfilled")), (3, 2));
    let finding = &ledger.json["missing"]["items"][0];
    assert_eq!(finding["paymentIntent"], "pi_30000000000000000000000C");
    assert_eq!(finding["tenant"], "tenant-1");
    assert_eq!(finding["account"], json!(null));
    assert_eq!(finding["amount"], json!({"amount": 150_000, "currency": "nok"}));
    assert_eq!(
        finding["paidAt"].as_str().unwrap(),
        lost.created.format("%FT%TZ").to_string()
    );
    assert_eq!(ledger.stderr, "surepass: 1 missing, 0 doubled.\n");

    fixture
        .fulfil(&lost, CreatedVia::Lookback, TimeDelta::hours(2))
        .await;
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    ledger.finds_nothing();
    assert_eq!((ledger.count("paid"), ledger.count("active")), (3, 3));
    assert_eq!(ledger.stderr, "");
}

#[tokio::test]
async fn what_was_paid_just_now_is_in_flight_and_not_missing_whenever_its_session_was_created() {
    let fixture = Fixture::open().await;
    let slow = Fixture::sold("SLOW", 20);
    let mut session = listed(&slow);
    let just_now = support::shop::now() - TimeDelta::minutes(2);
    session["payment_intent"]["latest_charge"]["created"] = json!(just_now.timestamp());
    fixture.stripe.add("", session);

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.sessions("inFlight"), [slow.session_id()]);
    let ledger = fixture.reconcile(&["--grace", "1"]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.sessions("missing"), [slow.session_id()]);
}

#[tokio::test]
async fn a_missing_one_tells_why_fulfilment_refuses_it_and_what_became_of_its_job() {
    let mut fixture = Fixture::open().await;
    let nameless = Fixture::sold("N", 5)
        .with("passId", Some("pass-unheard-of"))
        .with("passName", None);
    fixture.stripe.add("", listed(&nameless));
    fixture.shop.start_server().await;
    fixture.shop.start_worker().await;
    fixture.shop.buy(&nameless).await;
    fixture.shop.settled().await;

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.sessions("missing"), [nameless.session_id()]);
    let finding = &ledger.json["missing"]["items"][0];
    let why = finding["why"].as_str().unwrap();
    assert!(why.starts_with("unresolved_pass: "), "{why}");
    assert_eq!(finding["job"], "dead: unresolved_pass");
}

#[tokio::test]
async fn a_dead_letter_of_a_moment_ago_is_missing_and_not_in_flight() {
    let mut fixture = Fixture::open().await;
    let nameless = Fixture::sold("N", 5)
        .with("passId", Some("pass-unheard-of"))
        .with("passName", None);
    let mut session = listed(&nameless);
    let just_now = support::shop::now() - TimeDelta::minutes(2);
    session["payment_intent"]["latest_charge"]["created"] = json!(just_now.timestamp());
    fixture.stripe.add("", session);
    fixture.shop.start_server().await;
    fixture.shop.start_worker().await;
    fixture.shop.buy(&nameless).await;
    fixture.shop.settled().await;

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.sessions("missing"), [nameless.session_id()]);
    assert_eq!(ledger.json["inFlight"]["count"], 0);
    assert_eq!(ledger.json["accounts"][0]["missing"], 1);
}

#[tokio::test]
async fn a_purchase_that_was_given_back_in_full_and_never_fulfilled_is_settled_and_not_missing() {
    let fixture = Fixture::open().await;
    let refunded = Fixture::sold("R", 5);
    let mut session = listed(&refunded);
    session["payment_intent"]["latest_charge"]["amount_refunded"] = json!(150_000);
    fixture.stripe.add("", session);
    let in_part = Fixture::sold("P", 5);
    let mut session = listed(&in_part);
    session["payment_intent"]["latest_charge"]["amount_refunded"] = json!(149_999);
    fixture.stripe.add("", session);

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.sessions("refundedUnfulfilled"), [refunded.session_id()]);
    assert_eq!(ledger.sessions("missing"), [in_part.session_id()]);
}

#[tokio::test]
async fn what_is_none_of_ours_or_not_paid_is_not_missing() {
    let fixture = Fixture::open().await;
    let with = |name: &str, field: &str, value: serde_json::Value| {
        let mut session = listed(&Fixture::sold(name, 4));
        session[field] = value;
        fixture.stripe.add("", session);
    };
    with("A", "mode", json!("setup"));
    with("B", "metadata", json!({"type": "donation"}));
    let ignoring = fixture.shop.file(
        "ignoring.json",
        &json!({"tenants": [{"id": "tenant-1", "slug": "studio", "name": "Studio", "unmatched": "ignore"}]})
            .to_string(),
    );
    let import = ["catalog", "import", ignoring.to_str().unwrap()];
    assert!(fixture.shop.surepass(&import).await.status.success());
    with("C", "metadata", json!({"tenantId": "tenant-1"}));
    with("D", "payment_status", json!("unpaid"));
    with("E", "status", json!("open"));
    with("F", "status", json!("expired"));
    let ledger = fixture.reconcile(&[]).await;
    ledger.finds_nothing();
    assert_eq!((ledger.count("sessions"), ledger.count("paid")), (6, 0));
}

#[tokio::test]
async fn a_pass_is_told_by_a_price_beyond_the_tenth_line_item() {
    let fixture = Fixture::open().await;
    let file = fixture.shop.file(
        "priced.json",
        &json!({"tenants": [{"id": "tenant-1", "slug": "studio", "name": "Studio", "timeZone": "Europe/Oslo",
            "webhookSecrets": [], "passes": [{"id": "pass-priced", "name": "Priced", "type": "single",
                "price": 100, "currency": "nok", "validityType": "days", "validityDays": 30,
                "stripePriceIds": ["price_pass"], "isActive": true}]}]})
        .to_string(),
    );
    let imported = fixture
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    let mut session = listed(&Fixture::sold("L", 4));
    session["metadata"] = json!({});
    let mut items: Vec<_> = (0..11)
        .map(|nth| json!({"id": format!("li_{nth}"), "price": {"id": format!("price_{nth}")}}))
        .collect();
    items.push(json!({"id": "li_pass", "price": {"id": "price_pass"}}));
    session["line_items"] = json!(items);
    let id = session["id"].as_str().unwrap().to_owned();
    fixture.stripe.add("", session);
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.sessions("missing"), [id]);
}
