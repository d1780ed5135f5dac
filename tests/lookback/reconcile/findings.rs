//! What does not fit together.

use chrono::TimeDelta;
use serde_json::json;
use surepass::store::CreatedVia;
use surepass::up::sample::SampleSession;

use crate::reconcile::fixture::{Fixture, listed};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

#[tokio::test]
async fn a_payment_that_has_two_subscriptions_is_doubled_once_with_the_ids_of_both() {
    let fixture = Fixture::open().await;
    let first = fixture.sell("ONE", 5).await;
    // Made when its session did not tell the payment, so that the store's own key did not see it.
    let mut second = Fixture::sold("TWO", 6);
    second.payment_status = "no_payment_required";
    fixture.fulfil(&second, CreatedVia::Webhook, MINUTE).await;
    second.payment_status = "paid";
    let mut session = listed(&second);
    session["payment_intent"] = listed(&first)["payment_intent"].clone();
    fixture.stripe.add("", session);

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    let doubled = ledger.json["doubled"]["items"].as_array().unwrap();
    assert_eq!(doubled.len(), 1, "{doubled:?}");
    let mut subscriptions: Vec<_> = doubled[0]["subscriptions"].as_array().unwrap().clone();
    subscriptions.sort_by_key(ToString::to_string);
    let mut expected = [&first, &second].map(|one| json!(format!("subscription-{}", one.session_id())));
    expected.sort_by_key(ToString::to_string);
    assert_eq!(subscriptions, expected);
    assert_eq!(ledger.stderr, "surepass: 0 missing, 1 doubled.\n");
}

#[tokio::test]
async fn two_sessions_of_one_payment_have_one_subscription_and_neither_is_missing() {
    let fixture = Fixture::open().await;
    let first = fixture.sell("ONE", 5).await;
    let mut session = listed(&Fixture::sold("TWO", 5));
    session["payment_intent"] = listed(&first)["payment_intent"].clone();
    fixture.stripe.add("", session);
    let ledger = fixture.reconcile(&[]).await;
    ledger.finds_nothing();
    assert_eq!((ledger.count("paid"), ledger.count("fulfilled")), (2, 2));
    assert_eq!(ledger.json["layers"][0]["count"], 1);
}

#[tokio::test]
async fn a_free_session_matches_no_other_free_one() {
    let fixture = Fixture::open().await;
    let free = |name: &str| {
        let mut session = Fixture::sold(name, 5);
        session.payment_status = "no_payment_required";
        session.amount = 0;
        session
    };
    let (held, lost) = (free("HELD"), free("LOST"));
    for session in [&held, &lost] {
        fixture.stripe.add("", listed(session));
    }
    fixture.fulfil(&held, CreatedVia::Webhook, MINUTE).await;
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.sessions("missing"), [lost.session_id()]);
    assert_eq!(ledger.count("fulfilled"), 1);
}

#[tokio::test]
async fn a_wrong_amount_or_pass_is_told_with_what_both_say_and_is_not_fatal() {
    let fixture = Fixture::open().await;
    let amount = office_has(&fixture, "AMOUNT").await;
    let mut session = listed(&amount);
    session["amount_total"] = json!(99_000);
    fixture.stripe.add("", session);
    let pass = office_has(&fixture, "PASS").await;
    let mut session = listed(&pass);
    session["metadata"]["passId"] = json!("pass-single");
    fixture.stripe.add("", session);

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.sessions("wrong"), [pass.session_id(), amount.session_id()]);
    let items = ledger.json["wrong"]["items"].as_array().unwrap();
    let of = |session: &SampleSession| {
        let found = items.iter().find(|one| one["session"] == session.session_id());
        found.unwrap()["differences"].clone()
    };
    assert_eq!(
        of(&amount),
        json!([{"field": "purchasePrice", "stripe": "990.00 NOK", "store": "1500.00 NOK"}])
    );
    assert_eq!(
        of(&pass),
        json!([{"field": "passId", "stripe": "pass-single", "store": "pass-10"}])
    );
}

/// In the store alone.
async fn office_has(fixture: &Fixture, name: &str) -> SampleSession {
    let session = Fixture::sold(name, 5);
    fixture.fulfil(&session, CreatedVia::Webhook, MINUTE).await;
    session
}

#[tokio::test]
async fn upgrades_and_discounts_are_not_wrong_and_an_upgraded_pass_is_not_active() {
    let fixture = Fixture::open().await;
    let old = fixture.sell("OLD", 50).await;
    let mut upgrade = Fixture::sold("NEW", 5)
        .with("type", Some("pass_upgrade"))
        .with("passId", Some("pass-course"))
        .with("userId", Some("user_OLD"))
        .with(
            "upgradeFromSubscriptionId",
            Some(&format!("subscription-{}", old.session_id())),
        )
        .with("upgradeCost", Some("900"))
        .with("originalPassPrice", Some("1500"))
        .with("newPassPrice", Some("2400"));
    upgrade.amount = 90_000;
    let mut discounted = Fixture::sold("CHEAP", 5)
        .with("promoCode", Some("SPRING"))
        .with("originalPrice", Some("1500"))
        .with("finalPrice", Some("1000"))
        .with("discountAmount", Some("500"));
    discounted.amount = 100_000;
    for session in [&upgrade, &discounted] {
        fixture.stripe.add("", listed(session));
        fixture.fulfil(session, CreatedVia::Webhook, MINUTE).await;
    }
    let ledger = fixture.reconcile(&[]).await;
    ledger.finds_nothing();
    assert_eq!((ledger.count("fulfilled"), ledger.count("active")), (3, 2));
}

#[tokio::test]
async fn refunded_in_full_or_disputed_and_active_is_told_and_a_refund_of_a_part_is_not() {
    let fixture = Fixture::open().await;
    let mut sold = Vec::new();
    for (name, refunded, disputed) in [
        ("FULL", 150_000, false),
        ("PART", 50_000, false),
        ("BANK", 0, true),
    ] {
        let session = Fixture::sold(name, 5);
        fixture.fulfil(&session, CreatedVia::Webhook, MINUTE).await;
        let mut listed = listed(&session);
        listed["payment_intent"]["latest_charge"]["amount_refunded"] = json!(refunded);
        listed["payment_intent"]["latest_charge"]["disputed"] = json!(disputed);
        fixture.stripe.add("", listed);
        sold.push(session.session_id());
    }
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.sessions("refundedActive"), [sold[0].as_str()]);
    assert_eq!(ledger.sessions("disputedActive"), [sold[2].as_str()]);
}

#[tokio::test]
async fn an_active_subscription_of_an_unpaid_session_and_one_that_stripe_does_not_know_are_told() {
    let fixture = Fixture::open().await;
    let unpaid = office_has(&fixture, "UNPAID").await;
    let mut session = listed(&unpaid);
    session["payment_status"] = json!("unpaid");
    fixture.stripe.add("", session);
    let unknown = office_has(&fixture, "UNKNOWN").await;
    fixture.sell("KNOWN", 4).await;

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.sessions("unpaidActive"), [unpaid.session_id()]);
    assert_eq!(ledger.json["unpaidActive"]["items"][0]["why"], "awaiting_payment");
    assert_eq!(ledger.sessions("unknownSession"), [unknown.session_id()]);
    let why = &ledger.json["unknownSession"]["items"][0]["why"];
    assert_eq!(why, "this account has no such session at Stripe");
}

#[tokio::test]
async fn each_layer_is_counted_with_how_long_it_took_from_payment_to_subscription() {
    let fixture = Fixture::open().await;
    let plan = [
        ("W1", CreatedVia::Webhook, TimeDelta::milliseconds(800)),
        ("W2", CreatedVia::Webhook, TimeDelta::seconds(2)),
        ("S", CreatedVia::Status, TimeDelta::seconds(12)),
        ("L", CreatedVia::Lookback, TimeDelta::hours(3)),
        ("F", CreatedVia::SelfService, TimeDelta::minutes(4)),
        ("P", CreatedVia::Support, TimeDelta::minutes(40)),
    ];
    for (name, via, after) in plan {
        let session = Fixture::sold(name, 5);
        fixture.stripe.add("", listed(&session));
        fixture.fulfil(&session, via, after).await;
    }
    let ledger = fixture.reconcile(&[]).await;
    let layers = ledger.json["layers"].as_array().unwrap();
    let told: Vec<_> = layers
        .iter()
        .map(|layer| {
            (
                layer["createdVia"].as_str().unwrap(),
                layer["count"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("webhook", 2),
        ("status", 1),
        ("lookback", 1),
        ("self-service", 1),
        ("support", 1),
    ];
    assert_eq!(told, expected);
    let about = |value: &serde_json::Value, ms: u64| {
        let told = value.as_u64().unwrap();
        assert!(told.abs_diff(ms) <= ms / 500, "{told}, not about {ms}");
    };
    about(&layers[0]["p50Ms"], 800);
    about(&layers[0]["worstMs"], 2_000);
    let delay = &ledger.json["delay"];
    about(&delay["p50Ms"], 12_000);
    about(&delay["p99Ms"], 3 * 3_600_000);
    assert_eq!(delay["worst"]["ms"], 3 * 3_600_000);
    assert_eq!(delay["worst"]["session"], Fixture::sold("L", 5).session_id());
}
