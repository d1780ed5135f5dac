//! Webhooks: signed, tried again, and suffering what was ordered.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::mailbox::{Letter, Mailbox};
use support::stripe_sandbox::{StripeSandbox, ids};

const AT_ONCE: Duration = Duration::ZERO;

async fn endpoint(sandbox: &StripeSandbox, mailbox: &Mailbox, kind: &str) -> Value {
    let form = [("url", mailbox.url.as_str()), ("enabled_events[]", kind)];
    sandbox.post("webhook_endpoints", &form).await
}

async fn now(sandbox: &StripeSandbox) -> DateTime<Utc> {
    let clock = sandbox.control(Method::GET, "clock", Value::Null).await;
    clock["now"].as_str().unwrap().parse().unwrap()
}

async fn undelivered(sandbox: &StripeSandbox) -> Vec<Value> {
    let query = [("delivery_success", "false"), ("limit", "100")];
    sandbox.get("events", &query).await["data"]
        .as_array()
        .unwrap()
        .clone()
}

fn event_ids(letters: &[Letter]) -> Vec<String> {
    letters
        .iter()
        .map(|letter| letter.event["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn an_event_goes_to_each_endpoint_that_wants_it_signed_with_that_endpoints_secret() {
    let sandbox = StripeSandbox::start(&[]).await;
    let (all, some, none) = (Mailbox::open(), Mailbox::open(), Mailbox::open());
    let secret_of_all = endpoint(&sandbox, &all, "*").await["secret"].clone();
    let secret_of_some = endpoint(&sandbox, &some, "checkout.session.completed").await["secret"].clone();
    endpoint(&sandbox, &none, "invoice.paid").await;
    let made = sandbox
        .purchases(json!({"guests": true, "metadata": {"passId": "pass-{n}"}}))
        .await;
    sandbox.delivered().await;

    let kinds: BTreeSet<String> = all
        .letters()
        .iter()
        .map(|letter| letter.kind().to_owned())
        .collect();
    assert_eq!(
        Vec::from_iter(kinds),
        [
            "charge.succeeded",
            "checkout.session.completed",
            "payment_intent.succeeded"
        ]
    );
    assert!(none.letters().is_empty());
    let [letter] = some.letters().try_into().unwrap();
    let object = &letter.event["data"]["object"];
    assert_eq!(
        (&object["id"], &object["metadata"]),
        (&made[0]["id"], &json!({"passId": "pass-0"}))
    );
    assert_eq!(letter.event["pending_webhooks"], 2);
    assert!(letter.event.get("account").is_none());
    let now = now(&sandbox).await;
    assert!(letter.is_signed_with(secret_of_some.as_str().unwrap(), now));
    assert!(!letter.is_signed_with(secret_of_all.as_str().unwrap(), now));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_each_try_is_signed_anew_until_the_answer_is_2xx() {
    let sandbox = StripeSandbox::start(&[]).await;
    let mailbox = Mailbox::open();
    let secret = endpoint(&sandbox, &mailbox, "checkout.session.completed").await["secret"].clone();
    mailbox.will_answer(&[(307, AT_ONCE), (500, AT_ONCE), (204, AT_ONCE)]);
    sandbox.purchases(json!({})).await;

    let mut tried_at = Vec::new();
    for (tries, wait) in [(1, 30 * 60), (2, 2 * 60 * 60), (3, 0)] {
        let letters = mailbox.holds(tries).await;
        assert_eq!(letters.len(), tries);
        let letter = letters.last().unwrap();
        let now = now(&sandbox).await;
        assert!(letter.is_signed_with(secret.as_str().unwrap(), now));
        assert!(
            !letter.is_signed_with(secret.as_str().unwrap(), now + TimeDelta::minutes(20)),
            "the timestamp is this try's"
        );
        tried_at.push(letter.event["id"].clone());
        if wait > 0 {
            // The answer must be noted before the clock moves on.
            let counted = async {
                loop {
                    let tries_told = sandbox.control(Method::GET, "deliveries", Value::Null).await;
                    if tries_told["tries"].as_array().unwrap().len() == tries {
                        break;
                    }
                }
            };
            support::program::awaited("the outcome of a try", counted).await;
            assert_eq!(undelivered(&sandbox).await[0]["pending_webhooks"], 1);
            sandbox.advance(Duration::from_secs(wait)).await;
        }
    }
    assert!(tried_at.iter().all(|id| *id == tried_at[0]));
    let told = sandbox.delivered().await;
    assert_eq!(told["counts"]["answers"], json!({"307": 1, "500": 1, "204": 1}));
    assert!(undelivered(&sandbox).await.is_empty());
}

#[tokio::test]
async fn an_event_stays_undelivered_while_one_endpoint_has_not_taken_it() {
    let sandbox = StripeSandbox::start(&["--retry-scale", "0"]).await;
    let (good, bad) = (Mailbox::open(), Mailbox::open());
    endpoint(&sandbox, &good, "checkout.session.completed").await;
    endpoint(&sandbox, &bad, "checkout.session.completed").await;
    bad.will_answer(&[(503, AT_ONCE), (503, AT_ONCE), (503, AT_ONCE)]);
    sandbox.purchases(json!({})).await;
    let told = sandbox.delivered().await;
    assert_eq!(told["counts"]["given_up"], 1, "three tries in test mode");
    assert_eq!((good.letters().len(), bad.letters().len()), (1, 3));
    let left = undelivered(&sandbox).await;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0]["pending_webhooks"], 1);

    let resend = format!("events/{}/resend", left[0]["id"].as_str().unwrap());
    sandbox.control(Method::POST, &resend, json!({})).await;
    assert_eq!(bad.holds(4).await.len(), 4);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_disabled_is_sent_nothing_more() {
    let sandbox = StripeSandbox::start(&[]).await;
    let mailbox = Mailbox::open();
    let made = endpoint(&sandbox, &mailbox, "*").await;
    let path = format!("webhook_endpoints/{}", made["id"].as_str().unwrap());
    sandbox.post(&path, &[("disabled", "true")]).await;
    sandbox.purchases(json!({})).await;
    sandbox.delivered().await;
    assert!(mailbox.letters().is_empty());
    let url = mailbox.url.clone();
    mailbox.close().await;
    sandbox
        .control(
            Method::POST,
            "webhook_endpoints",
            json!({"url": url, "secret": "whsec_known"}),
        )
        .await;
    sandbox.purchases(json!({"guests": true})).await;
    let told = sandbox
        .control(Method::GET, "deliveries?wait=0", Value::Null)
        .await;
    assert_eq!(told["counts"]["delivered"], 0);
}

#[tokio::test]
async fn while_a_secret_is_rolled_both_sign() {
    let sandbox = StripeSandbox::start(&[]).await;
    let mailbox = Mailbox::open();
    let order =
        json!({"url": mailbox.url, "secret": "whsec_old", "enabled_events": ["checkout.session.completed"]});
    let made = sandbox.control(Method::POST, "webhook_endpoints", order).await;
    let roll = format!("webhook_endpoints/{}/roll", made["id"].as_str().unwrap());
    let rolled = sandbox.control(Method::POST, &roll, json!({})).await;
    let new = rolled["secret"].as_str().unwrap();
    for (hours, old_signs) in [(0, true), (25, false)] {
        sandbox.advance(Duration::from_hours(hours)).await;
        sandbox.purchases(json!({})).await;
        sandbox.delivered().await;
        let letter = mailbox.letters().pop().unwrap();
        let now = now(&sandbox).await;
        assert!(letter.is_signed_with(new, now));
        assert_eq!(letter.is_signed_with("whsec_old", now), old_signs);
    }
}

/// Plays 200 purchases and tells which of them were told of, how often, and in what order.
async fn played(seed: &str) -> (BTreeMap<String, usize>, Vec<String>, usize) {
    let faults = r#"{"deliveries":{"drop":15,"lose":5,"double":10,"reorder":70,"reorder_ms":2000}}"#;
    let sandbox = StripeSandbox::start(&["--seed", seed, "--faults", faults]).await;
    let mailbox = Mailbox::open();
    endpoint(&sandbox, &mailbox, "checkout.session.completed").await;
    let made = sandbox.purchases(json!({"count": 200, "guests": true})).await;
    sandbox.delivered().await;
    let order = event_ids(&mailbox.letters());
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in &order {
        *times.entry(id.clone()).or_default() += 1;
    }
    let made: Vec<_> = made
        .iter()
        .map(|one| one["events"][0].as_str().unwrap().to_owned())
        .collect();
    assert_ne!(order, made, "the order is another");
    let left = undelivered(&sandbox).await;
    let left: BTreeSet<_> = left
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(
        left.iter().all(|id| !times.contains_key(id)),
        "what was dropped never came"
    );
    (times, made, left.len())
}

#[tokio::test]
async fn a_seed_decides_which_webhooks_are_dropped_lost_and_doubled() {
    let (first, made, dropped) = played("7").await;
    let (again, ..) = played("7").await;
    assert_eq!(first, again);
    assert!((15..=45).contains(&dropped), "about 15 %: {dropped} of 200");
    let lost = made.len() - dropped - first.len();
    assert!((2..=20).contains(&lost), "about 5 %: {lost} of 200");
    let doubled = first.values().filter(|times| **times == 2).count();
    assert!((6..=32).contains(&doubled), "about 10 %: {doubled} of 200");
    assert!(first.values().all(|times| *times <= 2));
    let (other, ..) = played("8").await;
    assert_ne!(first, other);
}

#[tokio::test]
async fn a_twin_is_a_second_event_for_the_same_thing() {
    let sandbox = StripeSandbox::start(&["--faults", r#"{"deliveries":{"twin":100}}"#]).await;
    let mailbox = Mailbox::open();
    endpoint(&sandbox, &mailbox, "checkout.session.completed").await;
    sandbox.purchases(json!({})).await;
    sandbox.delivered().await;
    let [one, other] = mailbox.letters().try_into().unwrap();
    assert_ne!(one.event["id"], other.event["id"]);
    assert_eq!(
        one.event["data"]["object"]["id"],
        other.event["data"]["object"]["id"]
    );
    assert_eq!(
        ids(&sandbox
            .get("events", &[("type", "checkout.session.completed")])
            .await)
        .len(),
        2
    );
}
