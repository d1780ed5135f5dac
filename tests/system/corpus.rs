//! Every recorded event, signed, through the whole system.

use serde_json::{Value, json};
use surepass::event_log;

use support::answer::Answer;
use support::recorded_events::{EXPECTED, WITH_A_PASS, read};
use support::shop::Shop;
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

/// The body with an event id that no other has: many recordings have `evt_00000000000000` or the like.
fn with_id_of_its_own(name: &str, body: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(body).unwrap();
    let event: Value = serde_json::from_str(text).unwrap();
    let Some(id) = event["id"].as_str().filter(|id| id.starts_with("evt_")) else {
        return body.to_vec();
    };
    let own: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    text.replacen(&format!("\"{id}\""), &format!("\"evt_{own}\""), 1)
        .into_bytes()
}

/// Sends an event and tells what became of it, in the words of the table.
async fn outcome(shop: &Shop, body: Vec<u8>) -> String {
    let subscriptions = shop.fulfilled().await;
    let dead = shop.counts().await.dead;
    let answer = shop.deliver(body.clone()).await;
    if answer.status == 400 {
        let (_, code) = answer.refusal();
        return code.to_owned();
    }
    shop.settled().await;
    let events = shop.events().await;
    let logged = events
        .iter()
        .find(|event| event_log::body(event).unwrap().as_ref() == Some(&body))
        .unwrap();
    if answer == Answer::ignored() {
        return logged.outcome.clone();
    }
    assert_eq!(
        (answer, logged.outcome.as_str()),
        (Answer::accepted(), "enqueued")
    );
    let worker = shop.workers[0].said();
    let said = |words: &str| {
        worker
            .lines()
            .any(|line| line.contains(words) && line.contains(&logged.id))
    };
    if shop.counts().await.dead > dead {
        let job = format!("fulfil:{}", logged.object_id.as_deref().unwrap());
        return format!(
            "fulfil, dead: {}",
            shop.queue().death(&job).await.unwrap().unwrap()
        );
    }
    if shop.fulfilled().await.len() > subscriptions.len() {
        return "fulfil, created".to_owned();
    }
    if said("the subscription already exists") {
        return "fulfil, existing".to_owned();
    }
    assert!(said(r#""reason":"items_unread""#), "{worker}");
    "fulfil, unmatched: items_unread".to_owned()
}

/// A shop whose Stripe knows none of the sessions: what the recordings leave out cannot be read there.
async fn shop() -> (Shop, StripeSandbox) {
    let stripe = StripeSandbox::start(&[]).await;
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_API_BASE", &stripe.url);
    shop.set("STRIPE_SECRET_KEY", TEST_KEY);
    shop.set("SUREPASS_STRIPE_RATE", "100");
    shop.start_server().await;
    shop.start_worker().await;
    (shop, stripe)
}

#[tokio::test]
async fn every_recorded_event_goes_through_the_whole_system_to_its_expected_outcome() {
    let Some(events) = read(&EXPECTED) else { return };
    let (shop, _stripe) = shop().await;
    for (name, body, expected) in events {
        assert_eq!(
            outcome(&shop, with_id_of_its_own(name, &body)).await,
            expected,
            "{name}"
        );
    }
    assert!(shop.subscriptions().await.is_empty());
    let dead = EXPECTED
        .iter()
        .filter(|(_, expected)| expected.starts_with("fulfil, dead"));
    assert_eq!(shop.counts().await.dead, dead.count());
}

#[tokio::test]
async fn every_recorded_purchase_is_fulfilled_by_the_whole_system_if_it_names_a_pass() {
    let Some(events) = read(&WITH_A_PASS) else { return };
    let (shop, _stripe) = shop().await;
    for (name, body, expected) in events {
        let mut event: Value = serde_json::from_slice(&with_id_of_its_own(name, &body)).unwrap();
        event["data"]["object"]["metadata"] = json!({"type": "pass_purchase", "passId": "pass-10"});
        assert_eq!(
            outcome(&shop, event.to_string().into_bytes()).await,
            expected,
            "{name}"
        );
    }
    assert_eq!(shop.subscriptions().await.len(), 5);
}
