//! Recorded event bodies of six API versions: what the intake and fulfilment make of each.

use serde_json::{Value, json};
use surepass::ingest::{Triage, triage};
use surepass::store::CreatedVia;
use surepass::stripe::Event;

use crate::fulfilment::shop::{Shop, tenant};
use support::recorded_events::{EXPECTED, WITH_A_PASS, read};

async fn outcome(shop: &Shop, body: &[u8]) -> String {
    match Event::parse(body) {
        Err(_) => "malformed_event".to_owned(),
        Ok(event) => match triage(&event, None, CreatedVia::Webhook) {
            Triage::Ignore(why) => format!("ignored: {why}"),
            Triage::Fulfil(purchase) => format!("fulfil, {}", shop.fulfil(&purchase).await),
        },
    }
}

#[tokio::test]
async fn every_recorded_event_has_its_expected_outcome() {
    let Some(events) = read(&EXPECTED) else { return };
    let shop = Shop::open(&[tenant("t1")]).await;
    for (name, body, expected) in events {
        assert_eq!(outcome(&shop, &body).await, expected, "{name}");
    }
    assert!(shop.subscriptions().await.is_empty());
}

#[tokio::test]
async fn every_recorded_purchase_of_every_api_version_would_be_fulfilled_if_it_named_a_pass() {
    let Some(events) = read(&WITH_A_PASS) else { return };
    let shop = Shop::open(&[tenant("t1")]).await;
    for (name, body, expected) in events {
        let mut event: Value = serde_json::from_slice(&body).unwrap();
        event["data"]["object"]["metadata"] = json!({"type": "pass_purchase", "passId": "pass-10"});
        assert_eq!(
            outcome(&shop, event.to_string().as_bytes()).await,
            expected,
            "{name}"
        );
    }
    assert_eq!(shop.subscriptions().await.len(), 5);
}
