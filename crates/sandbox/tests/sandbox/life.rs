//! What happens to objects: idempotent calls, sessions over time, refunds, disputes, endpoints.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use support::stripe_sandbox::{As, StripeSandbox, TEST_KEY, ids, read};

const HOUR: Duration = Duration::from_hours(1);

/// The form of a session for one pass.
pub(crate) fn session_form() -> Vec<(&'static str, &'static str)> {
    vec![
        ("mode", "payment"),
        ("success_url", "https://example.com/done?id={CHECKOUT_SESSION_ID}"),
        ("cancel_url", "https://example.com/cancelled"),
        ("line_items[0][price_data][unit_amount]", "150000"),
        ("line_items[0][price_data][currency]", "nok"),
        ("line_items[0][price_data][product_data][name]", "10 classes"),
        ("payment_method_types[]", "card"),
        ("payment_method_types[]", "sepa_debit"),
    ]
}

async fn events(sandbox: &StripeSandbox, kind: &str) -> Vec<Value> {
    let list = sandbox.get("events", &[("type", kind), ("limit", "100")]).await;
    list["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_same_post_with_the_same_key_is_done_once_and_answered_alike() {
    let sandbox = StripeSandbox::start(&[]).await;
    let client = surepass::http_client::http().no_proxy().build().unwrap();
    let post_with = |key: &'static str, body: &'static str| {
        client
            .post(format!("{}/v1/customers", sandbox.url))
            .bearer_auth(TEST_KEY)
            .header("Idempotency-Key", key)
            .body(body)
            .send()
    };
    let post = |body| post_with("key-1", body);
    let first = post("email=a%40example.com").await.unwrap();
    assert!(!first.headers().contains_key("idempotent-replayed"));
    let first = read(first, 200).await;
    let again = post("email=a%40example.com").await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(read(again, 200).await, first);
    let refused = read(post_with("key-2", "email=nobody").await.unwrap(), 400).await;
    assert_eq!(refused["error"]["code"], "email_invalid");
    read(post_with("key-2", "email=c%40example.com").await.unwrap(), 200).await;
    let other = read(post("email=b%40example.com").await.unwrap(), 400).await;
    assert_eq!(other["error"]["type"], "idempotency_error");
    assert_eq!(ids(&sandbox.get("customers", &[]).await).len(), 2);
}

#[tokio::test]
async fn a_session_that_nobody_pays_expires_after_24_hours() {
    let sandbox = StripeSandbox::start(&[]).await;
    let session = sandbox.post("checkout/sessions", &session_form()).await;
    assert_eq!(
        (&session["status"], &session["payment_status"]),
        (&json!("open"), &json!("unpaid"))
    );
    assert_eq!(session["payment_intent"], Value::Null);
    sandbox.advance(23 * HOUR).await;
    let path = format!("checkout/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(sandbox.get(&path, &[]).await["status"], "open");
    sandbox.advance(2 * HOUR).await;
    let expired = sandbox.get(&path, &[]).await;
    assert_eq!(
        (&expired["status"], &expired["url"]),
        (&json!("expired"), &Value::Null)
    );
    assert_eq!(events(&sandbox, "checkout.session.expired").await.len(), 1);
    let refusal = sandbox
        .ask(As::default(), Method::POST, &format!("{path}/expire"), &[])
        .await;
    assert_eq!(refusal.status(), 400);
}

#[tokio::test]
async fn a_bank_transfer_is_unpaid_until_it_settles() {
    let sandbox = StripeSandbox::start(&["--settle-after", "72h"]).await;
    let session = sandbox.post("checkout/sessions", &session_form()).await;
    let id = session["id"].as_str().unwrap();
    let order = json!({"transfer": true, "email": "kari@example.com"});
    sandbox
        .control(Method::POST, &format!("sessions/{id}/pay"), order)
        .await;
    let path = format!("checkout/sessions/{id}");
    let now = sandbox.get(&path, &[("expand[]", "payment_intent")]).await;
    assert_eq!(
        (&now["status"], &now["payment_status"]),
        (&json!("complete"), &json!("unpaid"))
    );
    assert_eq!(now["payment_intent"]["status"], "processing");
    let completed = events(&sandbox, "checkout.session.completed").await;
    assert_eq!(completed[0]["data"]["object"]["payment_status"], "unpaid");

    sandbox.advance(73 * HOUR).await;
    assert_eq!(sandbox.get(&path, &[]).await["payment_status"], "paid");
    let succeeded = events(&sandbox, "checkout.session.async_payment_succeeded").await;
    assert_eq!(succeeded[0]["data"]["object"]["payment_status"], "paid");
    let completed = events(&sandbox, "checkout.session.completed").await;
    assert_eq!(
        completed[0]["data"]["object"]["payment_status"], "unpaid",
        "an event keeps its snapshot"
    );
}

#[tokio::test]
async fn a_bank_transfer_that_fails_says_so() {
    let sandbox = StripeSandbox::start(&[]).await;
    let made = sandbox.purchases(json!({"outcome": "failed"})).await;
    assert_eq!(made[0]["payment_status"], "unpaid");
    assert_eq!(
        events(&sandbox, "checkout.session.async_payment_failed")
            .await
            .len(),
        1
    );
    let path = format!("sessions/{}/settle", made[0]["id"].as_str().unwrap());
    let url = format!("{}/_sandbox/{path}", sandbox.url);
    let client = surepass::http_client::http().no_proxy().build().unwrap();
    let again = client
        .post(url)
        .json(&json!({"arrives": true}))
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 409);
}

#[tokio::test]
async fn what_costs_nothing_has_no_payment_intent() {
    let sandbox = StripeSandbox::start(&[]).await;
    let made = sandbox.purchases(json!({"amount": 0})).await;
    assert_eq!(made[0]["payment_status"], "no_payment_required");
    assert_eq!(made[0]["payment_intent"], Value::Null);
    assert_eq!(ids(&sandbox.get("charges", &[]).await).len(), 0);
}

#[tokio::test]
async fn a_refund_in_parts_never_gives_back_more_than_was_paid() {
    let sandbox = StripeSandbox::start(&[]).await;
    let made = sandbox.purchases(json!({"amount": 1_000})).await;
    let intent = made[0]["payment_intent"].as_str().unwrap();
    let refund = async |amount: Option<&str>| {
        let mut form = vec![("payment_intent", intent)];
        form.extend(amount.map(|amount| ("amount", amount)));
        sandbox.ask(As::default(), Method::POST, "refunds", &form).await
    };
    read(refund(Some("300")).await, 200).await;
    let too_much = read(refund(Some("701")).await, 400).await;
    assert_eq!(too_much["error"]["param"], "amount");
    let rest = read(refund(None).await, 200).await;
    assert_eq!(
        (&rest["amount"], &rest["status"]),
        (&json!(700), &json!("succeeded"))
    );
    let nothing_left = read(refund(None).await, 400).await;
    assert_eq!(nothing_left["error"]["code"], "charge_already_refunded");

    let charges = sandbox
        .get(
            "charges",
            &[("payment_intent", intent), ("expand[]", "data.refunds")],
        )
        .await;
    let charge = &charges["data"][0];
    assert_eq!(
        (&charge["amount_refunded"], &charge["refunded"]),
        (&json!(1_000), &json!(true))
    );
    assert_eq!(ids(&charge["refunds"]).len(), 2);
    let told = events(&sandbox, "charge.refunded").await;
    let amounts: Vec<_> = told
        .iter()
        .map(|event| &event["data"]["object"]["amount_refunded"])
        .collect();
    assert_eq!(amounts, [&json!(1_000), &json!(300)]);
    assert_eq!(told[0]["data"]["previous_attributes"]["amount_refunded"], 300);
    assert_eq!(
        ids(&sandbox.get("refunds", &[("payment_intent", intent)]).await).len(),
        2
    );
}

#[tokio::test]
async fn a_dispute_shows_at_the_charge_and_ends() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox.purchases(json!({})).await;
    let charge = ids(&sandbox.get("charges", &[]).await)[0].clone();
    let dispute = sandbox
        .control(Method::POST, &format!("charges/{charge}/dispute"), json!({}))
        .await;
    assert_eq!(
        sandbox.get(&format!("charges/{charge}"), &[]).await["disputed"],
        true
    );
    assert_eq!(events(&sandbox, "charge.dispute.created").await.len(), 1);
    let close = format!("disputes/{}/close", dispute["id"].as_str().unwrap());
    sandbox.control(Method::POST, &close, json!({"won": false})).await;
    let told = events(&sandbox, "charge.dispute.closed").await;
    assert_eq!(told[0]["data"]["object"]["status"], "lost");
}

#[tokio::test]
async fn customers_and_metadata_are_changed_key_by_key() {
    let sandbox = StripeSandbox::start(&[]).await;
    let form = [
        ("email", "Kari@example.com"),
        ("metadata[a]", "1"),
        ("metadata[b]", "2"),
    ];
    let customer = sandbox.post("customers", &form).await;
    let path = format!("customers/{}", customer["id"].as_str().unwrap());
    let changed = sandbox
        .post(
            &path,
            &[("metadata[a]", ""), ("metadata[c]", "3"), ("name", "Kari")],
        )
        .await;
    assert_eq!(changed["metadata"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        (&changed["name"], &changed["email"]),
        (&json!("Kari"), &json!("Kari@example.com"))
    );
    let found = sandbox.get("customers", &[("email", "Kari@example.com")]).await;
    assert_eq!(ids(&found), [customer["id"].as_str().unwrap()]);
    assert!(ids(&sandbox.get("customers", &[("email", "kari@example.com")]).await).is_empty());
    read(sandbox.ask(As::default(), Method::DELETE, &path, &[]).await, 200).await;
    assert_eq!(sandbox.get(&path, &[]).await["deleted"], true);
    assert!(ids(&sandbox.get("customers", &[]).await).is_empty());
}

#[tokio::test]
async fn a_webhook_endpoint_shows_its_secret_once() {
    let sandbox = StripeSandbox::start(&[]).await;
    let form = [
        ("url", "https://example.com/hook"),
        ("enabled_events[]", "checkout.session.completed"),
        ("enabled_events[]", "charge.refunded"),
        ("api_version", "2025-03-31.basil"),
    ];
    let made = sandbox.post("webhook_endpoints", &form).await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let path = format!("webhook_endpoints/{}", made["id"].as_str().unwrap());
    let disabled = sandbox.post(&path, &[("disabled", "true")]).await;
    assert_eq!(
        (&disabled["status"], disabled.get("secret")),
        (&json!("disabled"), None)
    );
    let listed = sandbox.get("webhook_endpoints", &[]).await["data"][0].clone();
    assert_eq!(
        listed["enabled_events"],
        json!(["checkout.session.completed", "charge.refunded"])
    );
    assert_eq!(listed["api_version"], "2025-03-31.basil");
    read(sandbox.ask(As::default(), Method::DELETE, &path, &[]).await, 200).await;
    assert!(ids(&sandbox.get("webhook_endpoints", &[]).await).is_empty());
}
