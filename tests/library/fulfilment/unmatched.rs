//! Unmatched payments: what was paid for and names no pass is never dropped.

use serde_json::{Value, json};
use surepass::store::{Resolution, Tenant, UnmatchedPolicy};

use crate::fulfilment::shop::{Shop, completed, outcome, session, session_with, tenant};

#[tokio::test]
async fn rule_4_ignore_is_for_sessions_without_any_of_our_keys_and_by_tenant() {
    let ignoring = Tenant {
        unmatched: UnmatchedPolicy::Ignore,
        ..tenant("t1")
    };
    let shop = [ignoring, tenant("t2")];
    for (metadata, expected) in [
        (json!({"tenantId": "t1"}), "ignored: not_a_pass"),
        (json!({"tenantId": "t2"}), "unmatched: items_unread"),
        // Of no tenant that is known `[fulfil] unmatched` decides.
        (json!({}), "unmatched: items_unread"),
        (
            json!({"tenantId": "t1", "passId": "gone"}),
            "dead: unresolved_pass",
        ),
    ] {
        let event = completed(&session_with("a", metadata.clone()));
        assert_eq!(outcome(&shop, &event).await, expected, "{metadata}");
    }
    let mut shop = Shop::open(&shop).await;
    shop.fulfiller = shop.fulfiller.with_policy(UnmatchedPolicy::Ignore);
    let event = completed(&session_with("a", json!({})));
    assert_eq!(shop.deliver(&event).await, "ignored: not_a_pass");
    assert!(shop.cases().await.is_empty());
}

#[tokio::test]
async fn rule_4_whatever_was_paid_for_and_has_no_pass_is_a_case_until_it_has_one() {
    let shop = Shop::open(&[tenant("t1")]).await;
    for (name, metadata) in [("dead", json!({"passId": "gone"})), ("unnamed", json!({}))] {
        shop.deliver(&completed(&session_with(name, metadata))).await;
    }
    let cases = shop.cases().await;
    let told: Vec<_> = cases
        .iter()
        .map(|case| (case.session.as_str(), case.reason.as_str(), case.is_open()))
        .collect();
    assert_eq!(
        told,
        [
            ("cs_test_dead", "unresolved_pass", true),
            ("cs_test_unnamed", "items_unread", true)
        ]
    );
    assert_eq!(cases[0].tenant.as_deref(), Some("t1"));
    assert_eq!(cases[0].payment.as_deref(), Some("pi_dead"));
    assert_eq!(cases[0].evidence.email.as_deref(), Some("kari@example.com"));
    assert_eq!(cases[0].evidence.metadata["passId"], "gone");
    assert_eq!(cases[0].evidence.amount, Some(150_000));

    let known = completed(&session_with("dead", json!({"passId": "pass-10"})));
    assert_eq!(shop.deliver(&known).await, "created");
    let closed = &shop.cases().await[0];
    assert_eq!(closed.resolution, Some(Resolution::Subscription));
}

#[tokio::test]
async fn rule_4_a_foreign_path_opens_no_case() {
    let shop = Shop::open(&[tenant("t1"), tenant("t2")]).await;
    let event = completed(&session("a"));
    let outcome = shop.deliver_to(Some("t2-slug"), &event).await;
    assert!(!outcome.starts_with("created"), "{outcome}");
    assert!(shop.cases().await.is_empty());
}

#[tokio::test]
async fn rule_4_money_for_two_passes_makes_one_and_an_open_case() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let mut several = session("several");
    several["amount_total"] = json!(450_000);
    let mut discounted = session("discounted");
    discounted["amount_subtotal"] = json!(300_000);
    let mut taxed = session("taxed");
    taxed["amount_subtotal"] = json!(120_000);
    for (session, is_short) in [(several, true), (discounted, true), (taxed, false)] {
        let event = completed(&session);
        assert_eq!(shop.deliver(&event).await, "created");
        assert_eq!(shop.deliver(&event).await, "existing");
        let cases = shop.store.unmatched();
        let case = cases
            .find_unmatched(session["id"].as_str().unwrap())
            .await
            .unwrap();
        let open = case
            .iter()
            .filter(|case| case.is_open() && case.reason == "items_short");
        assert_eq!(open.count(), usize::from(is_short), "{session}");
    }
}

#[tokio::test]
async fn rule_4_a_trial_gives_no_pass_and_an_informational_case() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let mut trial = session("trial");
    trial["mode"] = json!("subscription");
    trial["payment_status"] = json!("no_payment_required");
    trial["payment_intent"] = Value::Null;
    trial["amount_total"] = json!(0);
    assert_eq!(shop.deliver(&completed(&trial)).await, "unmatched: trial");
    let open = shop.store.unmatched().count_unmatched().await.unwrap();
    assert_eq!((open.paid(), open.informational), (0, 1));
    assert!(shop.subscriptions().await.is_empty());
    // What was paid for goes on as before.
    let mut paid = session("paid");
    paid["mode"] = json!("subscription");
    assert_eq!(shop.deliver(&completed(&paid)).await, "created");
}
