//! "Fulfilment" in the rules: what is fulfilled, once, and what is refused.

use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::fulfil::{Fulfilled, Fulfiller, Purchase};
use surepass::store::{CreatedVia, SubscriptionType};

use crate::fulfilment::shop::{
    Shop, bought, completed, connected, outcome, purchase, session, session_with, tenant,
};

#[tokio::test]
async fn a_good_purchase_becomes_its_subscription() {
    let made = bought(&[tenant("t1")], &completed(&session("a"))).await;
    assert_eq!(made.id, "subscription-cs_test_a");
    assert_eq!((made.user.as_str(), made.tenant.as_str()), ("user_kari", "t1"));
    assert_eq!(
        (made.kind, made.remaining_clips),
        (SubscriptionType::Clipcard, Some(10))
    );
    assert_eq!(
        (made.pass_id.as_str(), made.pass_name.as_str()),
        ("pass-10", "Name of pass-10")
    );
    assert_eq!(made.purchase_price.to_string(), "1500.00 NOK");
    assert_eq!(made.stripe_session_id, "cs_test_a");
    assert_eq!(made.stripe_payment_id.as_deref(), Some("pi_a"));
    assert_eq!(made.stripe_customer_id.as_deref(), Some("cus_1"));
    assert_eq!(made.webhook_event_id.as_deref(), Some("evt_test_a"));
    assert_eq!(made.created_via, CreatedVia::Webhook);
    assert!(made.is_active && !made.is_upgrade);
}

#[tokio::test]
async fn rule_1_only_a_complete_and_paid_session_is_fulfilled() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let with = |field: &str, value: Value| {
        let mut session = session("a");
        session[field] = value;
        completed(&session)
    };
    assert_eq!(
        shop.deliver(&with("payment_status", json!("unpaid"))).await,
        "ignored: awaiting_payment"
    );
    let partly = with("payment_status", json!("partially_paid"));
    assert_eq!(shop.deliver(&partly).await, "ignored: unknown_payment_status");
    assert_eq!(
        shop.deliver(&with("status", json!("open"))).await,
        "ignored: not_complete"
    );
    assert_eq!(
        shop.deliver(&with("status", json!("expired"))).await,
        "ignored: not_complete"
    );
    assert_eq!(
        shop.deliver(&with("mode", json!("setup"))).await,
        "ignored: setup_mode"
    );
    assert_eq!(
        shop.deliver(&with("payment_status", Value::Null)).await,
        "dead: malformed_session"
    );
    let mut expired = completed(&session("a"));
    expired["type"] = json!("checkout.session.expired");
    assert_eq!(shop.deliver(&expired).await, "ignored: other_event_type");
    assert!(shop.subscriptions().await.is_empty());
    assert_eq!(shop.deliver(&with("status", Value::Null)).await, "created");
    let mut free = session("free");
    free["payment_status"] = json!("no_payment_required");
    free["payment_intent"] = Value::Null;
    assert_eq!(shop.deliver(&completed(&free)).await, "created");
    free["status"] = Value::Null;
    assert_eq!(shop.deliver(&completed(&free)).await, "dead: malformed_session");
}

#[tokio::test]
async fn rule_1_unpaid_waits_for_async_payment_succeeded() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let mut session = session("a");
    session["payment_status"] = json!("unpaid");
    assert_eq!(
        shop.deliver(&completed(&session)).await,
        "ignored: awaiting_payment"
    );
    session["payment_status"] = json!("paid");
    let mut succeeded = completed(&session);
    succeeded["type"] = json!("checkout.session.async_payment_succeeded");
    assert_eq!(shop.deliver(&succeeded).await, "created");
}

#[tokio::test]
async fn rule_2_exactly_once_per_session_and_per_payment_intent() {
    let shop = Shop::open(&[tenant("t1")]).await;
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "created");
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "existing");
    let mut second = session("b");
    second["payment_intent"] = json!("pi_a");
    assert_eq!(shop.deliver(&completed(&second)).await, "existing");
    assert_eq!(shop.subscriptions().await.len(), 1);
}

#[tokio::test]
async fn rule_8_an_upgrade_switches_the_old_subscription_off_and_the_new_one_on() {
    let shop = Shop::open(&[tenant("t1")]).await;
    let mut upgrade = session("b");
    upgrade["amount_total"] = json!(30_000);
    upgrade["metadata"] = json!({"type": "pass_upgrade", "passId": "pass-10", "userId": "user_kari", "tenantId": "t1",
        "upgradeFromSubscriptionId": "subscription-cs_test_a", "originalPassPrice": "1500", "newPassPrice": "1800",
        "upgradeCost": "300"});
    assert_eq!(
        shop.deliver(&completed(&upgrade)).await,
        "retry: upgrade_source_not_found"
    );
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "created");
    assert_eq!(shop.deliver(&completed(&upgrade)).await, "created");
    assert_eq!(shop.deliver(&completed(&upgrade)).await, "existing");
    assert!(!shop.subscription("cs_test_a").await.is_active);
    let new = shop.subscription("cs_test_b").await;
    assert!(new.is_active && new.is_upgrade);
    assert_eq!(
        new.upgraded_from_subscription_id.as_deref(),
        Some("subscription-cs_test_a")
    );
    assert_eq!(new.purchase_price.to_string(), "1800.00 NOK");
    assert_eq!(new.upgrade_cost.unwrap().to_string(), "300.00 NOK");
    let mut again = upgrade.clone();
    again["id"] = json!("cs_test_c");
    again["payment_intent"] = json!("pi_c");
    assert_eq!(
        shop.deliver(&completed(&again)).await,
        "dead: upgrade_already_upgraded"
    );
}

#[tokio::test]
async fn rule_8_an_upgrade_of_nothing_or_of_someone_elses_is_refused() {
    let shop = Shop::open(&[tenant("t1"), tenant("t2")]).await;
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "created");
    let upgrade = |metadata: Value| completed(&session_with("b", metadata));
    let from = "subscription-cs_test_a";
    let nothing =
        json!({"type": "pass_upgrade", "passId": "pass-10", "userId": "user_kari", "tenantId": "t1"});
    assert_eq!(
        shop.deliver(&upgrade(nothing)).await,
        "dead: upgrade_source_missing"
    );
    let other_user = json!({"type": "pass_upgrade", "passId": "pass-10", "userId": "user_ola", "tenantId": "t1",
        "upgradeFromSubscriptionId": from});
    assert_eq!(
        shop.deliver(&upgrade(other_user)).await,
        "dead: upgrade_other_user"
    );
    let other_tenant = json!({"type": "pass_upgrade", "passId": "pass-10", "userId": "user_kari", "tenantId": "t2",
        "upgradeFromSubscriptionId": from});
    assert_eq!(
        shop.deliver(&upgrade(other_tenant)).await,
        "dead: upgrade_other_tenant"
    );
    assert!(shop.subscription("cs_test_a").await.is_active);
}

#[tokio::test]
async fn rule_9_live_and_test_never_mix() {
    let shop = [tenant("t1")];
    let live = |event: bool, session_says: Value, id: &str| {
        let mut session = session("a");
        session["id"] = json!(id);
        session["livemode"] = session_says;
        let mut said = completed(&session);
        said["livemode"] = json!(event);
        said
    };
    let mismatch = "dead: livemode_mismatch";
    assert_eq!(
        outcome(&shop, &live(true, json!(true), "cs_live_a")).await,
        mismatch
    );
    assert_eq!(
        outcome(&shop, &live(false, json!(true), "cs_test_a")).await,
        mismatch
    );
    assert_eq!(
        outcome(&shop, &live(false, json!(false), "cs_live_a")).await,
        mismatch
    );
    assert_eq!(outcome(&shop, &live(false, Value::Null, "cs_a")).await, "created");
    let open = Shop::open(&shop).await;
    for (configured, expected) in [(Some(true), true), (None, true), (Some(false), false)] {
        let fulfiller = Fulfiller::new(open.store.clone(), configured, Clock::system());
        let good = fulfiller
            .fulfil(&purchase(&live(true, json!(true), "cs_live_a")))
            .await;
        assert_eq!(good.is_ok(), expected, "{configured:?}");
        let torn = fulfiller
            .fulfil(&purchase(&live(true, json!(true), "cs_test_a")))
            .await;
        assert_eq!(torn.unwrap_err().code(), "livemode_mismatch");
    }
}

#[tokio::test]
async fn rule_11_a_missing_payment_intent_matches_nothing() {
    let shop = Shop::open(&[tenant("t1")]).await;
    for name in ["a", "b", "c"] {
        let mut session = session(name);
        session["payment_intent"] = Value::Null;
        session["payment_status"] = json!("no_payment_required");
        assert_eq!(shop.deliver(&completed(&session)).await, "created");
    }
    assert_eq!(shop.subscriptions().await.len(), 3);
}

#[test]
fn rule_13_a_job_carries_the_purchases_few_needed_fields() {
    let id = "cs_test_b10vXCkWnTIdry0P7Mloebc4GqW9Cbdhk8NONJiFB7sXYy27EzfJQPRanp";
    let mut session = session("a");
    session["id"] = json!(id);
    session["payment_intent"] = json!("pi_3SNw0AQCmQuvM3Po1DatzIeu");
    session["customer"] = Value::Null;
    session["metadata"] = json!({"type": "pass_purchase", "passId": "kPq7Zr2vXw9Ls4Tb1Nc8Ye", "passType": "multi",
        "userId": "user_2abcDEFghiJKLmnoPQRstuVWxyz", "tenantId": "Hd5Mf3Gj6Ka0Qe9Rt2Uy7B", "tenantSlug": "studio"});
    let mut event = completed(&session);
    event["id"] = json!("evt_1SNw0CQCmQuvM3Po1UAm8odH");
    let lean = serde_json::to_string(&purchase(&event)).unwrap();
    assert!(lean.len() <= 390, "{} bytes: {lean}", lean.len());
    for (name, value) in [
        ("originalPrice", "1500"),
        ("finalPrice", "1200"),
        ("discountAmount", "300"),
        ("promoCode", "SPRING20"),
    ] {
        event["data"]["object"]["metadata"][name] = json!(value);
    }
    let full = serde_json::to_string(&purchase(&event)).unwrap();
    assert!(full.len() <= 450, "{} bytes: {full}", full.len());
    event["account"] = json!("acct_1IqxJOJDPojXS6LN");
    event["data"]["object"]["customer"] = json!("cus_IhGfebO16cMIGN");
    let purchase = purchase(&event);
    let payload = serde_json::to_string(&purchase).unwrap();
    assert!(payload.len() <= 510, "{} bytes: {payload}", payload.len());
    assert_eq!(serde_json::from_str::<Purchase>(&payload).unwrap(), purchase);
    assert_eq!(purchase.job_key(), format!("fulfil:{id}"));
    let newer = payload.replacen("\"v\":1", "\"v\":2", 1);
    assert!(
        serde_json::from_str::<Purchase>(&newer)
            .unwrap_err()
            .to_string()
            .contains("version 2")
    );
}

#[tokio::test]
async fn rule_14_events_out_of_order_come_to_the_same_subscription() {
    let mut succeeded = completed(&session("a"));
    succeeded["type"] = json!("checkout.session.async_payment_succeeded");
    let mut unpaid = session("a");
    unpaid["payment_status"] = json!("unpaid");
    let shop = Shop::open(&[tenant("t1")]).await;
    assert_eq!(shop.deliver(&succeeded).await, "created");
    assert_eq!(
        shop.deliver(&completed(&unpaid)).await,
        "ignored: awaiting_payment"
    );
    assert_eq!(shop.deliver(&completed(&session("a"))).await, "existing");
}

#[tokio::test]
async fn a_paid_session_that_cannot_be_read_is_dead_and_never_dropped() {
    let shop = [tenant("t1")];
    for (field, odd) in [
        ("id", json!(7)),
        ("id", json!("sub_1")),
        ("id", json!("cs_test_a b")),
        ("created", json!("yesterday")),
        ("payment_status", json!(1)),
        ("status", json!([])),
        ("payment_intent", json!(7)),
        ("currency", json!("kroner")),
        ("metadata", json!("passId=pass-10")),
        ("client_reference_id", json!({})),
    ] {
        let mut session = session("a");
        session[field] = odd.clone();
        assert_eq!(
            outcome(&shop, &completed(&session)).await,
            "dead: malformed_session",
            "{field}: {odd}"
        );
    }
    for (field, odd) in [
        ("customer", json!(7)),
        ("mode", json!(7)),
        ("customer_details", json!("Kari")),
    ] {
        let mut session = session("a");
        session[field] = odd.clone();
        assert_eq!(
            outcome(&shop, &completed(&session)).await,
            "created",
            "{field}: {odd}"
        );
    }
    let mut nobody = session("a");
    nobody["customer_details"] = json!("Kari");
    nobody["metadata"]["userId"] = Value::Null;
    assert_eq!(
        outcome(&shop, &completed(&nobody)).await,
        "dead: malformed_session"
    );
}

#[tokio::test]
async fn an_error_says_what_happened_why_and_what_to_do_with_ids() {
    let mut unknown = session("a");
    unknown["metadata"]["passId"] = json!("pass-11");
    let shop = Shop::open(&[tenant("t1")]).await;
    let error = shop
        .fulfiller
        .fulfil(&purchase(&completed(&unknown)))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cs_test_a: paid at tenant `t1`, but we cannot tell which pass was bought: no pass has the id `pass-11`. Add the \
         pass to the catalog (`surepass catalog import`) and retry the job, assign one (`surepass unmatched assign ID \
         --pass P --why …`), or refund it"
    );
    let other = Shop::open(&[connected("t1", "acct_1")]).await;
    let error = other
        .fulfiller
        .fulfil(&purchase(&completed(&session("a"))))
        .await
        .unwrap_err();
    let expected = "cs_test_a: paid on the platform's own account, but tenant `t1` sells on the connected account `acct_1`.";
    assert!(error.to_string().starts_with(expected), "{error}");
    let kept = shop
        .fulfiller
        .fulfil(&purchase(&completed(&session("a"))))
        .await
        .unwrap();
    let (id, tenant) = ("subscription-cs_test_a".to_owned(), "t1".to_owned());
    assert_eq!(
        kept,
        Fulfilled::Created {
            subscription_id: id,
            tenant
        }
    );
}
