//! Whose objects are whose: connected accounts, live and test, and what a key may.

use reqwest::Method;
use serde_json::{Value, json};

use crate::mailbox::Mailbox;
use support::stripe_sandbox::{As, StripeSandbox, ids, read};

#[tokio::test]
async fn objects_of_one_account_are_invisible_to_others() {
    let sandbox = StripeSandbox::start(&["--account", "acct_one", "--account", "acct_two"]).await;
    let of_one = sandbox
        .purchases(json!({"count": 3, "account": "acct_one"}))
        .await;
    sandbox.purchases(json!({"count": 2})).await;
    let live = As {
        key: "sk_live_sandbox",
        account: None,
    };
    let one = As {
        account: Some("acct_one"),
        ..As::default()
    };
    let two = As {
        account: Some("acct_two"),
        ..As::default()
    };
    for (who, count) in [(As::default(), 2), (one, 3), (two, 0), (live, 0)] {
        for path in ["checkout/sessions", "customers", "payment_intents", "charges"] {
            let list = read(sandbox.ask(who, Method::GET, path, &[]).await, 200).await;
            assert_eq!(ids(&list).len(), count, "{path} {who:?}");
        }
    }
    let path = format!("checkout/sessions/{}", of_one[0]["id"].as_str().unwrap());
    for (who, status) in [(one, 200), (two, 404), (As::default(), 404)] {
        read(sandbox.ask(who, Method::GET, &path, &[]).await, status).await;
    }
    let stranger = As {
        account: Some("acct_stranger"),
        ..As::default()
    };
    let refusal = read(sandbox.ask(stranger, Method::GET, "events", &[]).await, 403).await;
    assert_eq!(refusal["error"]["code"], "account_invalid");
}

#[tokio::test]
async fn events_of_a_connected_account_name_it_and_go_to_connect_endpoints_only() {
    let sandbox = StripeSandbox::start(&[]).await;
    let (own, connect) = (Mailbox::open(), Mailbox::open());
    for (mailbox, connect) in [(&own, "false"), (&connect, "true")] {
        let form = [
            ("url", mailbox.url.as_str()),
            ("connect", connect),
            ("enabled_events[]", "checkout.session.completed"),
        ];
        sandbox.post("webhook_endpoints", &form).await;
    }
    sandbox.purchases(json!({"account": "acct_school"})).await;
    sandbox.purchases(json!({})).await;
    sandbox.delivered().await;
    let accounts = |mailbox: &Mailbox| -> Vec<Value> {
        let letters = mailbox.letters();
        letters
            .iter()
            .map(|letter| letter.event["account"].clone())
            .collect()
    };
    assert_eq!(accounts(&own), [Value::Null]);
    assert_eq!(accounts(&connect), ["acct_school"]);
}

#[tokio::test]
async fn the_keys_prefix_decides_the_mode_of_what_it_makes() {
    let sandbox = StripeSandbox::start(&[]).await;
    for (key, livemode, prefix) in [("sk_test_a", false, "cs_test_"), ("sk_live_a", true, "cs_live_")] {
        let form = [
            ("mode", "payment"),
            ("success_url", "https://example.com"),
            ("line_items[0][price_data][unit_amount]", "100"),
            ("line_items[0][price_data][currency]", "nok"),
            ("line_items[0][price_data][product_data][name]", "Pass"),
        ];
        let who = As { key, account: None };
        let made = read(
            sandbox.ask(who, Method::POST, "checkout/sessions", &form).await,
            200,
        )
        .await;
        assert_eq!(made["livemode"], livemode);
        assert!(made["id"].as_str().unwrap().starts_with(prefix));
    }
}

#[tokio::test]
async fn what_is_no_key_gets_401_and_what_a_key_may_not_403() {
    let sandbox = StripeSandbox::start(&[]).await;
    let who = |key| As { key, account: None };
    for key in ["pk_test_a", "whsec_a", "sk_prod_a", "sk_test_", "rubbish"] {
        let refusal = read(sandbox.ask(who(key), Method::GET, "events", &[]).await, 401).await;
        assert!(
            refusal["error"]["message"]
                .as_str()
                .unwrap()
                .starts_with("Invalid API Key")
        );
    }
    let read_only = who("rk_test_reader");
    read(sandbox.ask(read_only, Method::GET, "events", &[]).await, 200).await;
    read(sandbox.ask(read_only, Method::POST, "customers", &[]).await, 403).await;
    let rules = json!({
        "rk_test_reader": {"refuse": ["/v1/webhook_endpoints"]},
        "sk_test_old_secret_key": {"expired": true}
    });
    sandbox.control(Method::PUT, "keys", rules).await;
    read(sandbox.ask(read_only, Method::GET, "events", &[]).await, 200).await;
    read(
        sandbox
            .ask(read_only, Method::GET, "webhook_endpoints", &[])
            .await,
        403,
    )
    .await;
    let expired = sandbox
        .ask(who("sk_test_old_secret_key"), Method::GET, "events", &[])
        .await;
    let refusal = read(expired, 401).await;
    assert_eq!(refusal["error"]["code"], "api_key_expired");
    assert!(!refusal.to_string().contains("old_secret"), "{refusal}");
}

#[tokio::test]
async fn answers_carry_an_id_the_version_that_was_asked_for_and_the_clocks_date() {
    let sandbox = StripeSandbox::start(&["--now", "2030-01-01T00:00:00Z"]).await;
    sandbox
        .control(
            Method::POST,
            "clock",
            json!({"now": "2030-01-01T00:00:00Z", "stopped": true}),
        )
        .await;
    let response = sandbox.ask(As::default(), Method::GET, "balance", &[]).await;
    let headers = response.headers();
    assert!(headers["request-id"].to_str().unwrap().starts_with("req_"));
    assert!(headers["stripe-version"].to_str().unwrap().starts_with("20"));
    assert_eq!(headers["date"], "Tue, 01 Jan 2030 00:00:00 GMT");
}
