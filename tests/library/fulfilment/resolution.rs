//! "Fulfilment" in the rules: whose purchase it is, who bought it, and what.

use std::sync::Arc;

use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::config::ClientReference;
use surepass::fulfil::Fulfiller;
use surepass::guest;
use surepass::store::EmailProof;

use crate::fulfilment::shop::{
    Shop, bought, completed, completed_on, connected, outcome, pass, session, session_with, tenant,
};

#[tokio::test]
async fn rule_3_tenant_by_path_else_account_else_metadata_else_the_only_one() {
    let three = [tenant("t1"), tenant("t2"), connected("t3", "acct_3")];
    let of = async |path, event: &Value| {
        let shop = Shop::open(&three).await;
        let said = shop.deliver_to(path, event).await;
        shop.subscriptions().await.pop().map_or(said, |made| made.tenant)
    };
    let named = |tenant: Value| {
        session_with(
            "a",
            json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": tenant}),
        )
    };
    assert_eq!(of(Some("t2-slug"), &completed(&named(Value::Null))).await, "t2");
    assert_eq!(of(None, &completed_on("acct_3", &named(Value::Null))).await, "t3");
    assert_eq!(of(None, &completed(&named(json!("t2")))).await, "t2");
    assert_eq!(of(None, &completed(&named(json!("t2-slug")))).await, "t2");
    for key in ["tenant", "tenant_id"] {
        let old = session_with(
            "a",
            json!({"type": "pass_purchase", "passId": "pass-10", key: "t2"}),
        );
        assert_eq!(of(None, &completed(&old)).await, "t2", "{key}");
    }
    assert_eq!(
        of(None, &completed(&named(Value::Null))).await,
        "dead: unresolved_tenant"
    );
    assert_eq!(
        of(None, &completed(&named(json!("t9")))).await,
        "dead: unresolved_tenant"
    );
    assert_eq!(
        of(Some("t9-slug"), &completed(&named(json!("t1")))).await,
        "dead: unresolved_tenant"
    );
    assert_eq!(
        of(Some("t2"), &completed(&named(Value::Null))).await,
        "dead: unresolved_tenant"
    );
    assert_eq!(
        bought(&[tenant("t1")], &completed(&named(Value::Null)))
            .await
            .tenant,
        "t1"
    );
    assert_eq!(
        outcome(&[], &completed(&named(Value::Null))).await,
        "dead: unresolved_tenant"
    );
}

#[tokio::test]
async fn rule_4_pass_by_metadata_id_else_name_within_the_tenant_else_the_stripe_price() {
    let mut shop = tenant("t1");
    shop.passes = vec![pass("p1", "multi"), pass("p2", "multi"), pass("p3", "multi")];
    shop.passes[0].stripe_price_ids = vec!["price_1".to_owned()];
    let of = async |metadata: Value, prices: Value| {
        let mut session = session_with("a", metadata);
        session["line_items"] = json!({"data": prices});
        let opened = Shop::open(std::slice::from_ref(&shop)).await;
        let said = opened.deliver(&completed(&session)).await;
        opened
            .subscriptions()
            .await
            .pop()
            .map_or(said, |made| made.pass_id)
    };
    let none = json!([]);
    assert_eq!(
        of(json!({"passId": "p2", "passName": "Name of p3"}), none.clone()).await,
        "p2"
    );
    assert_eq!(of(json!({"pass_id": "p2"}), none.clone()).await, "p2");
    for key in ["passName", "pass_name", "productName"] {
        assert_eq!(of(json!({key: "Name of p3"}), none.clone()).await, "p3", "{key}");
        assert_eq!(
            of(json!({key: " name OF p3 "}), none.clone()).await,
            "p3",
            "{key}"
        );
    }
    assert_eq!(
        of(json!({"passId": "gone", "passName": "Name of p3"}), none.clone()).await,
        "p3"
    );
    let price = json!([{"price": {"id": "price_0"}}, {"price": {"id": "price_1"}}]);
    assert_eq!(
        of(json!({"passId": "gone", "passName": "gone"}), price.clone()).await,
        "p1"
    );
    assert_eq!(of(json!({}), price).await, "p1");
    let unknown = json!({"type": "pass_purchase", "passId": "gone", "passName": "gone"});
    assert_eq!(of(unknown, none.clone()).await, "dead: unresolved_pass");
    assert_eq!(
        of(json!({"type": "pass_purchase"}), none).await,
        "dead: unresolved_pass"
    );
}

#[tokio::test]
async fn rule_4_a_name_is_the_same_in_either_unicode_form() {
    for (sold, named) in [("Caf\u{e9}", "Cafe\u{301}"), ("CAFE\u{301}", " caf\u{e9} ")] {
        let mut shop = tenant("t1");
        shop.passes[0].name = sold.to_owned();
        let session = session_with("a", json!({"type": "pass_purchase", "passName": named}));
        assert_eq!(outcome(&[shop], &completed(&session)).await, "created", "{named}");
    }
}

#[tokio::test]
async fn rule_4_a_pass_no_longer_sold_is_still_honoured_for_who_has_paid() {
    let mut shop = tenant("t1");
    shop.passes[0].is_active = false;
    assert_eq!(outcome(&[shop], &completed(&session("a"))).await, "created");
}

#[tokio::test]
async fn rule_4_another_tenants_pass_is_not_found() {
    let mut other = tenant("t2");
    other.passes = vec![pass("p2", "multi")];
    let both = [tenant("t1"), other];
    let of = |metadata: Value| completed(&session_with("a", metadata));
    let typed = of(json!({"type": "pass_purchase", "passId": "p2", "tenantId": "t1"}));
    assert_eq!(outcome(&both, &typed).await, "dead: unresolved_pass");
    let named = of(json!({"type": "pass_purchase", "passName": "Name of p2", "tenantId": "t1"}));
    assert_eq!(outcome(&both, &named).await, "dead: unresolved_pass");
    let untyped = of(json!({"passId": "p2", "tenantId": "t1"}));
    assert_eq!(outcome(&both, &untyped).await, "dead: unresolved_pass");
    let nowhere = of(json!({"passId": "p2"}));
    assert_eq!(outcome(&both, &nowhere).await, "dead: unresolved_tenant");
}

#[tokio::test]
async fn rule_4_a_name_that_two_passes_have_is_never_a_guess() {
    let mut shop = tenant("t1");
    shop.passes = vec![pass("p1", "multi"), pass("p2", "multi-pass")];
    shop.passes[1].name = shop.passes[0].name.clone();
    for metadata in [
        json!({"type": "pass_purchase", "passName": "Name of p1"}),
        json!({"passName": "Name of p1"}),
    ] {
        let event = completed(&session_with("a", metadata));
        assert_eq!(
            outcome(std::slice::from_ref(&shop), &event).await,
            "dead: unresolved_pass"
        );
    }
}

#[tokio::test]
async fn rule_4_a_type_that_says_something_else_is_ignored_and_no_type_is_ours_if_the_pass_can_be_told() {
    let of = |metadata: Value| completed(&session_with("a", metadata));
    let shop = [tenant("t1")];
    for (metadata, expected) in [
        (
            json!({"type": "gift_card", "passId": "pass-10"}),
            "ignored: other_purchase_type",
        ),
        (
            json!({"passType": "pass_purchase", "passId": "gone"}),
            "dead: unresolved_pass",
        ),
        (json!({"passType": "multi", "passId": "pass-10"}), "created"),
        (
            json!({"passType": "multi", "type": "pass_purchase", "passId": "pass-10"}),
            "created",
        ),
        (json!({"passId": "pass-10"}), "created"),
        // Our keys that name no pass of ours: a mistake that a person must correct.
        (json!({"passId": "gone"}), "dead: unresolved_pass"),
        (json!({"passName": "gone"}), "dead: unresolved_pass"),
        // None of our keys: without a key for Stripe nobody can read the line items.
        (json!({"productName": "A jumper"}), "unmatched: items_unread"),
        (
            json!({"classId": "c1", "tenantId": "t1"}),
            "unmatched: items_unread",
        ),
        (json!({"tenant": "elsewhere"}), "unmatched: items_unread"),
        (json!([]), "unmatched: items_unread"),
    ] {
        assert_eq!(
            outcome(&shop, &of(metadata.clone())).await,
            expected,
            "{metadata}"
        );
    }
    assert_eq!(
        outcome(
            &[tenant("t1"), tenant("t2")],
            &of(json!({"productName": "A jumper"}))
        )
        .await,
        "unmatched: items_unread"
    );
}

#[tokio::test]
async fn rule_5_customer_by_user_id_else_client_reference_id_else_a_guest_of_that_tenant_and_email() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let buy = async |name: &str, user: Value, reference: Value, email: Value| {
        let mut session = session(name);
        session["metadata"]["userId"] = user;
        session["client_reference_id"] = reference;
        session["customer_details"]["email"] = email;
        assert_eq!(shop.deliver(&completed(&session)).await, "created", "{name}");
        shop.subscription(session["id"].as_str().unwrap()).await.user
    };
    let by_id = buy("a", json!("user_a"), json!("user_b"), json!("A@Example.com")).await;
    assert_eq!(by_id, "user_a");
    assert_eq!(
        buy("b", Value::Null, json!("user_b"), json!("b@example.com")).await,
        "user_b"
    );
    // An email that was only typed leads to nobody's account.
    let typed = buy("c", Value::Null, Value::Null, json!(" a@EXAMPLE.com ")).await;
    assert_eq!(typed, guest::of_email("t1", "a@example.com"));
    // Nor does an id that is a guest's.
    let victim = guest::of_email("t1", "victim@example.com");
    let named = buy("j", json!(victim), json!("user_b"), json!("a@example.com")).await;
    assert_eq!(named, "user_b");
    assert_eq!(
        buy("k", json!(victim), Value::Null, json!("a@example.com")).await,
        typed
    );
    let new = buy("d", Value::Null, Value::Null, json!("d@example.com")).await;
    assert_eq!(
        buy("e", Value::Null, Value::Null, json!("D@example.com")).await,
        new
    );
    let proof = EmailProof {
        email: "d@example.com",
        user: "user_d",
        at: Clock::system().now(),
        audit: "1",
    };
    shop.store.users().prove_email(&proof).await.unwrap();
    assert_eq!(
        buy("l", Value::Null, Value::Null, json!("d@example.com")).await,
        "user_d"
    );
    let nobody = buy("f", Value::Null, Value::Null, Value::Null).await;
    assert_ne!(buy("g", Value::Null, Value::Null, Value::Null).await, nobody);
    let no_address = buy("h", Value::Null, Value::Null, json!("none")).await;
    assert_ne!(
        buy("i", Value::Null, Value::Null, json!("none")).await,
        no_address
    );
}

#[tokio::test]
async fn rule_5_a_client_reference_id_may_be_set_to_name_nobody() {
    let mut shop = Shop::open(&[tenant("t1")]).await;
    let fulfiller = Fulfiller::new(Arc::clone(&shop.store), Some(false), Clock::system());
    shop.fulfiller = fulfiller.with_client_reference(ClientReference::Ignore);
    let mut session = session("a");
    session["metadata"]["userId"] = Value::Null;
    session["client_reference_id"] = json!("cart_1");
    assert_eq!(shop.deliver(&completed(&session)).await, "created");
    let guest = guest::of_email("t1", "kari@example.com");
    assert_eq!(shop.subscription("cs_test_a").await.user, guest);
}

#[tokio::test]
async fn rule_10_the_events_account_must_be_the_tenants() {
    let platform = tenant("t1");
    let two = [
        platform.clone(),
        connected("t2", "acct_2"),
        connected("t3", "acct_3"),
    ];
    let named = |tenant: Value| {
        session_with(
            "a",
            json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": tenant}),
        )
    };
    let mismatch = "dead: tenant_mismatch";
    assert_eq!(
        outcome(&two, &completed_on("acct_2", &named(json!("t2")))).await,
        "created"
    );
    assert_eq!(
        outcome(&two, &completed_on("acct_2", &named(json!("t3")))).await,
        mismatch
    );
    assert_eq!(
        outcome(&two, &completed_on("acct_2", &named(json!("t1")))).await,
        mismatch
    );
    assert_eq!(
        outcome(&two, &completed_on("acct_2", &named(json!("unknown")))).await,
        mismatch
    );
    assert_eq!(
        outcome(&two, &completed_on("acct_9", &named(json!("t2")))).await,
        mismatch
    );
    assert_eq!(
        outcome(&two, &completed_on("acct_9", &named(json!("t1")))).await,
        mismatch
    );
    assert_eq!(outcome(&two, &completed(&named(json!("t2")))).await, mismatch);
    assert_eq!(
        outcome(&[platform], &completed_on("acct_9", &named(Value::Null))).await,
        mismatch
    );
    let shop = Shop::open(&two).await;
    let by_path = shop
        .deliver_to(Some("t2-slug"), &completed(&named(Value::Null)))
        .await;
    assert_eq!(by_path, mismatch);
    let by_path = shop
        .deliver_to(Some("t1-slug"), &completed_on("acct_2", &named(json!("t1"))))
        .await;
    assert_eq!(by_path, mismatch);
    let by_path = shop
        .deliver_to(Some("t2-slug"), &completed_on("acct_2", &named(json!("t3"))))
        .await;
    assert_eq!(by_path, mismatch);
    assert!(shop.subscriptions().await.is_empty());
}

#[tokio::test]
async fn rule_10_a_session_that_another_tenant_has_fulfilled_is_parked() {
    let shop = Shop::open(&[tenant("t1"), tenant("t2")]).await;
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "created");
    let mut forged = session("a");
    forged["metadata"]["tenantId"] = json!("t2");
    assert_eq!(shop.deliver(&completed(&forged)).await, "dead: tenant_mismatch");
    // One of the two has paid and has no pass: a person must look which.
    let case = &shop.cases().await[0];
    assert_eq!(
        (case.is_open(), case.reason.as_str(), case.tenant.as_deref()),
        (true, "tenant_mismatch", Some("t2"))
    );
    let mut same_payment = session("b");
    same_payment["metadata"]["tenantId"] = json!("t2");
    same_payment["payment_intent"] = json!("pi_a");
    assert_eq!(
        shop.deliver(&completed(&same_payment)).await,
        "dead: tenant_mismatch"
    );
}
