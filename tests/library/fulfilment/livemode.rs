//! "Fulfilment" rule 9 without a key: the first live purchase fixes live mode.

use std::sync::Arc;

use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::fulfil::{ExpectedSubscription, Fulfiller, FulfilmentRules, Mode};

use crate::fulfilment::shop::{Shop, completed, purchase, session, tenant};

/// The event of a purchase in this mode.
fn bought(live: bool, name: &str) -> Value {
    let mut session = session(name);
    let mode = if live { "live" } else { "test" };
    session["id"] = json!(format!("cs_{mode}_{name}"));
    session["livemode"] = json!(live);
    let mut event = completed(&session);
    event["livemode"] = json!(live);
    event
}

/// A worker's, of these settings.
fn fulfiller(shop: &Shop, configured: Option<bool>) -> Fulfiller {
    Fulfiller::new(Arc::clone(&shop.store), configured, Clock::system())
}

async fn undecided() -> Shop {
    let mut shop = Shop::open(&[tenant("t1")]).await;
    shop.fulfiller = fulfiller(&shop, None);
    shop
}

const REFUSED: &str = "dead: livemode_mismatch";

#[tokio::test]
async fn rule_9_without_a_key_the_first_live_purchase_fixes_live_mode_for_every_worker() {
    let mut shop = undecided().await;
    assert_eq!(shop.deliver(&bought(false, "a")).await, "created");
    // A live one that is refused fixes nothing.
    let mut nothing_sold = bought(true, "b");
    nothing_sold["data"]["object"]["metadata"]["passId"] = json!("gone");
    assert_eq!(shop.deliver(&nothing_sold).await, "dead: unresolved_pass");
    assert_eq!(shop.deliver(&bought(false, "c")).await, "created");

    // Another worker's.
    let other = fulfiller(&shop, None);
    other.fulfil(&purchase(&bought(true, "d"))).await.unwrap();
    assert_eq!(shop.deliver(&bought(false, "e")).await, REFUSED);
    assert_eq!(shop.deliver(&bought(true, "f")).await, "created");
    // One that starts now.
    shop.fulfiller = fulfiller(&shop, None);
    assert_eq!(shop.deliver(&bought(false, "g")).await, REFUSED);
    assert_eq!(shop.subscriptions().await.len(), 4);
}

#[tokio::test]
async fn rule_9_a_refused_test_purchase_was_not_paid_for_and_says_why() {
    let shop = undecided().await;
    assert_eq!(shop.deliver(&bought(true, "a")).await, "created");
    assert_eq!(shop.deliver(&bought(false, "b")).await, REFUSED);
    let cases = shop.cases().await;
    assert_eq!(cases.len(), 1);
    assert!(!cases[0].is_paid);
    let why = &cases[0].detail;
    assert!(
        why.contains("it is a test purchase, but without STRIPE_SECRET_KEY and `stripe.livemode`"),
        "{why}"
    );
}

#[tokio::test]
async fn rule_9_a_configured_mode_counts_whatever_was_fulfilled_before() {
    let mut shop = undecided().await;
    for (live, name) in [(false, "a"), (true, "b")] {
        assert_eq!(shop.deliver(&bought(live, name)).await, "created");
    }
    shop.fulfiller = fulfiller(&shop, Some(false));
    assert_eq!(shop.deliver(&bought(false, "c")).await, "created");
    assert_eq!(shop.deliver(&bought(true, "d")).await, REFUSED);
    shop.fulfiller = fulfiller(&shop, Some(true));
    assert_eq!(shop.deliver(&bought(false, "e")).await, REFUSED);
    assert_eq!(shop.deliver(&bought(true, "f")).await, "created");
}

#[tokio::test]
async fn rule_9_what_a_purchase_ought_to_become_is_decided_by_the_same_mode() {
    let shop = undecided().await;
    let test = purchase(&bought(false, "a"));
    let due = async || {
        let rules = FulfilmentRules::read(&shop.store, None).await.unwrap();
        rules.expected(&test, Clock::system().now())
    };
    assert!(matches!(due().await, ExpectedSubscription::Subscription(_)));
    assert_eq!(shop.deliver(&bought(true, "b")).await, "created");
    assert_eq!(Mode::read(&shop.store, None).await, Ok(Mode::FirstLive));
    let ExpectedSubscription::Refused(why) = due().await else {
        panic!("refused");
    };
    assert_eq!(why.code(), "livemode_mismatch");
}

#[tokio::test]
async fn rule_9_purchases_at_the_same_time_share_the_question_and_all_are_answered() {
    let shop = undecided().await;
    let events: Vec<Value> = (0..600).map(|n| bought(false, &format!("n{n}"))).collect();
    let done = futures::future::join_all(events.iter().map(|event| shop.deliver(event))).await;
    assert!(done.iter().all(|one| one == "created"), "{done:?}");
}
