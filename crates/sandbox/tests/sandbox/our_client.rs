//! The product's own client on the sandbox: what a lookback reads, and what a bad day costs it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde_json::json;
use surepass::stripe::PaymentStatus;
use surepass::stripe::api::{Client, ClientOptions, EventFilter, SessionFilter, Unpaced, http};

use support::program::PATIENCE;
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

fn client(sandbox: &StripeSandbox) -> Client {
    let options = ClientOptions {
        base: sandbox.url.parse().unwrap(),
        key: TEST_KEY.into(),
        attempts: 12,
        timeout: PATIENCE,
        noise: || 0.0,
    };
    Client::new(http().unwrap(), options, Arc::new(Unpaced))
}

#[tokio::test]
async fn a_shop_with_350_sessions_is_read_whole_though_a_page_fails_in_the_middle() {
    let sandbox = StripeSandbox::start(&[]).await;
    let made = sandbox
        .purchases(json!({"count": 350, "amount": 990, "metadata": {"passId": "p-{n}"}}))
        .await;
    let once = json!([{"path": "/v1/checkout/sessions", "nth": 3, "fault": "error"}]);
    sandbox.faults(json!({"api": {"once": once}})).await;
    let filter = SessionFilter {
        status: Some("complete".to_owned()),
        expand_line_items: true,
        expand_payment: true,
        ..SessionFilter::default()
    };
    let stream = client(&sandbox).account(None).sessions(filter).into_stream();
    let sessions: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(sessions.len(), 350);
    for (session, made) in sessions.iter().zip(made.iter().rev()) {
        assert!(session.unreadable.is_empty(), "{:?}", session.unreadable);
        assert_eq!(session.id.as_deref(), made["id"].as_str());
        assert_eq!(session.payment_intent.as_deref(), made["payment_intent"].as_str());
        assert_eq!(session.metadata["passId"], format!("p-{}", made["number"]));
        assert_eq!(session.payment_status, Some(PaymentStatus::Paid));
        assert_eq!(session.price_ids.len(), 1);
        let payment = session.payment.as_ref().unwrap();
        assert_eq!((payment.amount, payment.amount_refunded), (Some(990), Some(0)));
    }
    let counts = sandbox.requests().await["counts"].clone();
    assert_eq!(counts, json!({"GET /v1/checkout/sessions": {"200": 4, "500": 1}}));
}

#[tokio::test]
async fn undelivered_events_of_a_connected_account_are_read_on_a_bad_day() {
    let sandbox = StripeSandbox::start(&["--seed", "5"]).await;
    let order = json!({"count": 250, "account": "acct_school", "webhooks": "drop"});
    let made = sandbox.purchases(order).await;
    sandbox
        .faults(json!({"api": {"rate_limited": 10, "retry_after": 0, "error": 10, "drip": 5, "drip_ms": 50, "truncate": 10}}))
        .await;
    let filter = EventFilter {
        types: vec!["checkout.session.completed".to_owned()],
        delivery_success: Some(false),
        ..EventFilter::default()
    };
    let client = client(&sandbox);
    let listed: Vec<_> = client
        .account(Some("acct_school"))
        .events(filter.clone())
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    let account = Some("acct_school");
    assert!(
        listed
            .iter()
            .all(|listed| listed.event.account.as_deref() == account)
    );
    let listed: BTreeSet<_> = listed.into_iter().map(|listed| listed.event.id).collect();
    let made: BTreeSet<_> = made
        .iter()
        .map(|one| one["events"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, made);
    let own: Vec<_> = client
        .account(None)
        .events(filter)
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    assert!(own.is_empty(), "another account's events");
}

#[tokio::test]
async fn every_other_call_of_ours_is_answered() {
    let sandbox = StripeSandbox::start(&["--now", "2026-11-20T12:00:00Z"]).await;
    let made = sandbox.purchases(json!({"amount": 5_000})).await;
    let intent = made[0]["payment_intent"].as_str().unwrap();
    sandbox
        .post("refunds", &[("payment_intent", intent), ("amount", "2000")])
        .await;
    let form = [
        ("url", "https://example.com/hook"),
        ("enabled_events[]", "charge.refunded"),
    ];
    sandbox.post("webhook_endpoints", &form).await;

    let client = client(&sandbox);
    let account = client.account(None);
    let session = account
        .session(made[0]["id"].as_str().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(session.amount_total, Some(5_000));
    assert!(account.session("cs_test_none").await.unwrap().is_none());
    let intent_read = account.payment_intent(intent).await.unwrap().unwrap();
    assert_eq!(intent_read.amount_received, Some(5_000));
    let charge = account
        .charge(&intent_read.latest_charge.unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (charge.amount_refunded, charge.refunded),
        (Some(2_000), Some(false))
    );
    let endpoints: Vec<_> = account
        .webhook_endpoints()
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(endpoints.len(), 1);
    let now = account.server_time().await.unwrap();
    let begun: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
    assert!(
        now >= begun && now < begun + 10 * Duration::from_mins(1),
        "the sandbox's time: {now}"
    );
}
