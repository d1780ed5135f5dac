//! Faults of the API, on demand.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use support::stripe_sandbox::{As, StripeSandbox, TEST_KEY, ids, read};

#[tokio::test]
async fn a_rate_limited_call_says_when_to_come_again_and_does_nothing() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox
        .faults(json!({"api": {"rate_limited": 100, "retry_after": 7}}))
        .await;
    let response = sandbox
        .ask(As::default(), Method::POST, "customers", &[("email", "a@b.no")])
        .await;
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(read(response, 429).await["error"]["code"], "rate_limit");
    sandbox.control(Method::DELETE, "faults", json!(null)).await;
    assert!(ids(&sandbox.get("customers", &[]).await).is_empty());
}

#[tokio::test]
async fn the_nth_list_call_fails_once_and_the_log_tells_it() {
    let sandbox = StripeSandbox::start(&[]).await;
    let once = json!([{"path": "/v1/checkout/sessions", "nth": 2, "fault": "error"}]);
    sandbox.faults(json!({"api": {"once": once}})).await;
    let mut statuses = Vec::new();
    for path in [
        "checkout/sessions",
        "events",
        "checkout/sessions",
        "checkout/sessions",
    ] {
        statuses.push(
            sandbox
                .ask(As::default(), Method::GET, path, &[])
                .await
                .status()
                .as_u16(),
        );
    }
    assert_eq!(statuses, [200, 200, 500, 200]);
    let log = sandbox.requests().await;
    assert_eq!(
        log["counts"]["GET /v1/checkout/sessions"],
        json!({"200": 2, "500": 1})
    );
    assert_eq!(log["requests"][2]["fault"], "error");
    sandbox.control(Method::DELETE, "requests", json!(null)).await;
    assert_eq!(sandbox.requests().await["total"], 0);
}

#[tokio::test]
async fn a_dripping_answer_comes_whole() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox.purchases(json!({"count": 30})).await;
    sandbox
        .faults(json!({"api": {"drip": 100, "drip_ms": 200}}))
        .await;
    assert_eq!(
        ids(&sandbox.get("checkout/sessions", &[("limit", "30")]).await).len(),
        30
    );
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_in_its_body() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox.purchases(json!({"count": 30})).await;
    sandbox.faults(json!({"api": {"truncate": 100}})).await;
    let mut response = sandbox
        .ask(
            As::default(),
            Method::GET,
            "checkout/sessions",
            &[("limit", "30")],
        )
        .await;
    assert_eq!(response.status(), 200);
    let promised = response.content_length().unwrap();
    let mut came = 0;
    let broken = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => came += chunk.len() as u64,
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken, "{came} of {promised} bytes, and no error");
    assert!(came < promised);
}

#[tokio::test]
async fn a_hanging_call_gets_no_answer_and_others_go_on() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox
        .faults(json!({"api": {"paths": ["/v1/events"], "hang": 100}}))
        .await;
    let impatient = surepass::http_client::http()
        .no_proxy()
        .timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let hanging = impatient
        .get(format!("{}/v1/events", sandbox.url))
        .bearer_auth(TEST_KEY)
        .send();
    assert!(hanging.await.unwrap_err().is_timeout());
    sandbox.get("checkout/sessions", &[]).await;
    let log = sandbox.requests().await;
    assert_eq!(log["counts"]["GET /v1/events"], json!({"none": 1}));
}

#[tokio::test]
async fn the_same_seed_spoils_the_same_calls() {
    let mut runs = Vec::new();
    for seed in ["3", "3", "4"] {
        let sandbox = StripeSandbox::start(&["--seed", seed]).await;
        sandbox
            .faults(json!({"api": {"rate_limited": 20, "error": 20}}))
            .await;
        let mut statuses = Vec::new();
        for _ in 0..60 {
            statuses.push(
                sandbox
                    .ask(As::default(), Method::GET, "balance", &[])
                    .await
                    .status()
                    .as_u16(),
            );
        }
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    for status in [200, 429, 500] {
        assert!(runs[0].contains(&status), "{:?}", runs[0]);
    }
}

#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused_with_the_reason() {
    let sandbox = StripeSandbox::start(&[]).await;
    let client = surepass::http_client::http().no_proxy().build().unwrap();
    for order in [
        json!({"deliveries": {"drop": 101}}),
        json!({"deliveries": {"dorp": 1}}),
        json!({"api": {"once": [{"path": "/v1", "nth": 1, "fault": "fire"}]}}),
        json!("all"),
    ] {
        let url = format!("{}/_sandbox/faults", sandbox.url);
        let response = client.put(url).json(&order).send().await.unwrap();
        assert_eq!(response.status(), 400, "{order}");
        let told: serde_json::Value = response.json().await.unwrap();
        assert!(!told["error"].as_str().unwrap().is_empty());
    }
}
