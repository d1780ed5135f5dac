//! Our types against the fixtures that Stripe publishes with its `OpenAPI` description: one of each object. They are none
//! of the project's and are not in it; `SUREPASS_EVENTS` names the folder.

use std::path::PathBuf;

use serde_json::{Value, json};
use surepass::stripe::api::{EventFilter, SessionFilter};

use support::stripe_faults::{Fake, ok};

/// The fixtures by the names of their objects; `None`, and a line that says so, where they are absent.
fn fixtures() -> Option<Value> {
    let folder = std::env::var_os("SUREPASS_EVENTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/events")),
        PathBuf::from,
    );
    let file = folder.join("openapi_fixtures3.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("{} is absent: nothing to check", file.display());
        return None;
    };
    let mut file: Value = serde_json::from_str(&text).unwrap();
    Some(file["resources"].take())
}

/// Serves one object: alone by its id, and in a list of one.
async fn serving(object: &Value) -> Fake {
    let (alone, id) = (object.to_string(), object["id"].as_str().unwrap().to_owned());
    let list = json!({"object": "list", "data": [object], "has_more": false}).to_string();
    Fake::start(move |request, _| {
        let alone_asked = request.url.path().ends_with(&id);
        ok(if alone_asked { alone.clone() } else { list.clone() })
    })
    .await
}

#[tokio::test]
async fn a_checkout_session_is_read_as_stripe_publishes_it() {
    let Some(fixtures) = fixtures() else { return };
    let mut session = fixtures["checkout.session"].clone();
    let fake = serving(&session).await;
    let read = fake
        .account()
        .sessions(SessionFilter::default())
        .next()
        .await
        .unwrap()
        .unwrap();
    assert_eq!((read.items.len(), read.unreadable), (1, 0));
    let read = &read.items[0];
    assert_eq!(read.unreadable, [""; 0]);
    assert_eq!(read.id.as_deref(), session["id"].as_str());
    assert_eq!(
        read.payment_intent.as_deref(),
        Some("pi_1PgafyB7WZ01zgkWSjxsAJo3")
    );
    assert_eq!((read.livemode, &read.payment), (Some(false), &None));
    assert_eq!(read.email.as_deref(), Some("example@example.com"));

    // Expanded, as a list with its payments comes.
    let mut intent = fixtures["payment_intent"].clone();
    intent["latest_charge"] = fixtures["charge"].clone();
    intent["latest_charge"]["amount_refunded"] = json!(40);
    session["payment_intent"] = intent;
    session["line_items"] = json!({"object": "list", "data": [fixtures["item"]], "has_more": true});
    let fake = serving(&session).await;
    let read = fake
        .account()
        .sessions(SessionFilter::default())
        .next()
        .await
        .unwrap()
        .unwrap();
    let read = &read.items[0];
    assert_eq!(read.unreadable, [""; 0]);
    let payment = read.payment.as_ref().unwrap();
    assert_eq!(
        (payment.amount, payment.currency.as_deref()),
        (Some(1099), Some("usd"))
    );
    assert_eq!(
        (payment.amount_refunded, payment.disputed),
        (Some(40), Some(false))
    );
    assert_eq!(read.price_ids, ["price_1PgafmB7WZ01zgkW02Hf9z6c"]);
    assert!(read.more_line_items);
}

#[tokio::test]
async fn payments_and_endpoints_are_read_as_stripe_publishes_them() {
    let Some(fixtures) = fixtures() else { return };
    let id = |kind: &str| fixtures[kind]["id"].as_str().unwrap().to_owned();

    let account = serving(&fixtures["payment_intent"]).await.account();
    let intent = account
        .payment_intent(&id("payment_intent"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (intent.amount, intent.amount_received, intent.charge),
        (Some(1099), Some(0), None)
    );
    assert_eq!(intent.status.as_deref(), Some("requires_payment_method"));

    let account = serving(&fixtures["charge"]).await.account();
    let charge = account.charge(&id("charge")).await.unwrap().unwrap();
    assert_eq!(
        (charge.amount, charge.amount_refunded, charge.refunded),
        (Some(100), Some(0), Some(false))
    );
    assert_eq!((charge.paid, charge.disputed), (Some(true), Some(false)));

    let account = serving(&fixtures["webhook_endpoint"]).await.account();
    let page = account.webhook_endpoints().next().await.unwrap().unwrap();
    let endpoint = &page.items[0];
    assert_eq!(endpoint.enabled_events, ["charge.failed", "charge.succeeded"]);
    assert_eq!(
        endpoint.url.as_deref(),
        Some("https://example.com/my/webhook/endpoint")
    );
    assert_eq!(
        (endpoint.status.as_deref(), &endpoint.api_version),
        (Some("enabled"), &None)
    );
}

#[tokio::test]
async fn an_event_is_read_as_stripe_publishes_it() {
    let Some(fixtures) = fixtures() else { return };
    let account = serving(&fixtures["event"]).await.account();
    let page = account
        .events(EventFilter::default())
        .next()
        .await
        .unwrap()
        .unwrap();
    assert_eq!((page.items.len(), page.unreadable), (1, 0));
    assert_eq!(page.items[0].event.kind, "plan.created");
    let body: Value = serde_json::from_slice(&page.items[0].body).unwrap();
    assert_eq!(body, fixtures["event"]);
}

#[tokio::test]
async fn every_object_of_stripes_in_the_place_of_another_breaks_nothing() {
    let Some(fixtures) = fixtures() else { return };
    let objects: Vec<&Value> = fixtures.as_object().unwrap().values().collect();
    let with_id = objects
        .iter()
        .filter(|object| object["id"].as_str().is_some_and(|id| !id.is_empty()))
        .count();
    let list = json!({"object": "list", "data": objects, "has_more": false}).to_string();
    let account = Fake::always(ok(list)).await.account();
    let sessions = account
        .sessions(SessionFilter::default())
        .next()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (sessions.items.len(), sessions.unreadable),
        (with_id, objects.len() - with_id)
    );
    let endpoints = account.webhook_endpoints().next().await.unwrap().unwrap();
    assert_eq!(endpoints.items.len(), with_id);
    let events = account
        .events(EventFilter::default())
        .next()
        .await
        .unwrap()
        .unwrap();
    assert_eq!((events.items.len(), events.unreadable), (1, objects.len() - 1));
}
