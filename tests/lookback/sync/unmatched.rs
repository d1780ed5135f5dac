//! Unmatched payments through the whole system: a webhook holds no line items, so they are read from Stripe first.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use surepass::store::{Resolution, UnmatchedPayment};
use surepass::up::sample::SampleSession;

use crate::sync::dead_letters::with_price;
use crate::sync::stripe::object;
use crate::sync::world::World;
use support::answer::Answer;

/// A session whose metadata names nothing, as a price-only Payment Link makes it.
fn unnamed(world: &World) -> SampleSession {
    ["type", "passId", "passName", "tenantId", "userId"]
        .into_iter()
        .fold(world.shop.session(), |session, key| session.with(key, None))
}

fn with_items(session: &SampleSession, prices: &[&str]) -> Value {
    let mut listed = object(session);
    let items = prices
        .iter()
        .map(|price| json!({"object": "item", "price": {"id": price}}));
    listed["line_items"] = json!({"object": "list", "has_more": false, "data": items.collect::<Vec<_>>()});
    listed
}

async fn case(world: &World, session: &SampleSession) -> Option<UnmatchedPayment> {
    let store = world.shop.store().await;
    let found = store.unmatched().find_unmatched(&session.session_id()).await;
    found.unwrap().pop()
}

/// Waits until the store has the event, and so has acted on it.
async fn logged(world: &World, event: &str) {
    let store = world.shop.store().await;
    for _ in 0..1_000 {
        if store
            .events()
            .list(20)
            .await
            .unwrap()
            .iter()
            .any(|one| one.id == event)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{event} is not in the store's log");
}

async fn case_when(
    world: &World,
    session: &SampleSession,
    fits: impl Fn(&UnmatchedPayment) -> bool,
) -> UnmatchedPayment {
    for _ in 0..1_000 {
        if let Some(case) = case(world, session).await.filter(&fits) {
            return case;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no such case: {:?}", case(world, session).await);
}

async fn reconcile(world: &World) -> Output {
    world.shop.surepass(&["reconcile", "--grace", "0"]).await
}

#[tokio::test]
async fn a_session_that_only_its_line_items_tell_is_fulfilled_by_its_webhook() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    world.import(&with_price()).await;
    let session = unnamed(&world);
    world.stripe.add(None, with_items(&session, &["price_10"]));
    assert_eq!(world.shop.buy(&session).await, Answer::accepted());
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
    assert_eq!(case(&world, &session).await, None);
    assert_eq!(world.stripe.calls().len(), 1);
}

#[tokio::test]
async fn what_names_nothing_is_kept_and_told_until_the_catalog_knows_its_price() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let session = unnamed(&world);
    world.stripe.add(None, with_items(&session, &["price_10"]));
    world.shop.buy(&session).await;
    world.shop.settled().await;
    let open = case(&world, &session).await.unwrap();
    assert_eq!((open.reason.as_str(), open.is_open()), ("unmatched", true));
    assert_eq!(open.evidence.line_items, ["price_10"]);
    assert_eq!(world.shop.counts().await.dead, 0);

    let output = reconcile(&world).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("1 missing, 0 doubled, 1 unmatched."), "{said}");
    let id = session.session_id();
    let (report, is_content) = world.sync(&["--session", &id]).await;
    assert!(!is_content, "{report}");
    assert_eq!(
        (&report["skippedCount"], &report["errorCount"]),
        (&json!(0), &json!(1))
    );
    let error = report["errors"][0]["error"].as_str().unwrap();
    assert!(error.contains(&open.reference), "{error}");

    world.import(&with_price()).await;
    let (report, is_content) = world.sync(&["--session", &id]).await;
    assert!(is_content, "{report}");
    assert_eq!(world.shop.fulfilled().await, [id]);
    let closed = case(&world, &session).await.unwrap();
    assert_eq!(closed.resolution, Some(Resolution::Subscription));
    assert_eq!(reconcile(&world).await.status.code(), Some(0));
}

#[tokio::test]
async fn what_stripe_does_not_know_is_kept_and_what_it_fails_to_tell_is_asked_again() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    world.import(&with_price()).await;
    let (unknown, late) = (unnamed(&world), unnamed(&world));
    world.shop.buy(&unknown).await;
    world.shop.settled().await;
    let open = case(&world, &unknown).await.unwrap();
    assert_eq!(open.reason, "items_unread");
    assert_eq!(world.shop.counts().await.dead, 0);

    world.stripe.add(None, with_items(&late, &["price_10"]));
    world.stripe.refuse_sessions(4);
    world.shop.buy(&late).await;
    for _ in 0..1_000 {
        if !world.shop.fulfilled().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.shop.fulfilled().await, [late.session_id()]);
    assert_eq!(case(&world, &late).await, None);
}

#[tokio::test]
async fn a_full_refund_closes_the_case_by_its_event_and_by_a_sync() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let (told, listed) = (unnamed(&world), unnamed(&world));
    for session in [&told, &listed] {
        world.stripe.add(None, object(session));
        world.shop.buy(session).await;
    }
    world.shop.settled().await;
    let charge = |id: &str, livemode: bool, refunded: bool| {
        json!({"id": id, "object": "event", "type": "charge.refunded", "created": support::shop::now().timestamp(),
            "livemode": livemode, "data": {"object": {"id": "ch_1", "object": "charge", "refunded": refunded,
                "payment_intent": object(&told)["payment_intent"]}}})
    };
    // Part of the money says nothing about the pass, and a live refund nothing about a test purchase.
    for (id, livemode, refunded) in [("evt_part", false, false), ("evt_live", true, true)] {
        let body = charge(id, livemode, refunded).to_string().into_bytes();
        assert_eq!(world.shop.deliver(body).await, Answer::ignored());
    }
    logged(&world, "evt_live").await;
    assert!(case(&world, &told).await.unwrap().is_open());
    let body = charge("evt_all", false, true).to_string().into_bytes();
    assert_eq!(world.shop.deliver(body).await, Answer::ignored());
    let closed = case_when(&world, &told, |case| !case.is_open()).await;
    assert_eq!(closed.resolution, Some(Resolution::Refund));
    assert!(case(&world, &listed).await.unwrap().is_open());

    world.stripe.refund(&listed.session_id());
    world.sync(&["--session", &listed.session_id()]).await;
    let closed = case(&world, &listed).await.unwrap();
    assert_eq!(closed.resolution, Some(Resolution::Refund));
    assert_eq!(reconcile(&world).await.status.code(), Some(0));
}

#[tokio::test]
async fn an_assignment_says_first_when_another_amount_was_paid_or_part_of_it_was_refunded() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let (odd, right) = (unnamed(&world), unnamed(&world));
    for session in [&odd, &right] {
        world.stripe.add(None, object(session));
        world.shop.buy(session).await;
    }
    world.shop.settled().await;
    world.stripe.refund_part(&odd.session_id(), Some(50_000));
    let assign = async |session: &SampleSession, pass: &str, more: &[&str]| {
        let id = session.session_id();
        let arguments = ["unmatched", "assign", &id, "--pass", pass, "--why", "ticket 1"];
        let output = world.shop.surepass(&[&arguments[..], more].concat()).await;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let reference = case(&world, &odd).await.unwrap().reference;
    assert_eq!(
        assign(&odd, "pass-month", &[]).await.lines().collect::<Vec<_>>(),
        [
            format!("{reference}: note: 1500.00 NOK was paid, but the pass costs 990.00 NOK."),
            format!("{reference}: note: 500.00 NOK of it was refunded."),
            format!("{reference}: the buyer has Unlimited month of studio."),
        ]
    );
    let document: Value = serde_json::from_str(&assign(&right, "pass-10", &["--json"]).await).unwrap();
    let money = json!({"amount": 150_000, "currency": "nok"});
    assert_eq!((&document["paid"], &document["price"]), (&money, &money));
    assert_eq!(
        (&document["differs"], &document["refunded"], &document["hasPass"]),
        (&json!(false), &Value::Null, &json!(true))
    );
}

#[tokio::test]
async fn a_dead_letter_that_no_handler_could_open_a_case_for_gets_one() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let upgrade = world
        .shop
        .session()
        .with("type", Some("pass_upgrade"))
        .with("upgradeFromSubscriptionId", Some("subscription-cs_unknown"));
    world.shop.buy(&upgrade).await;
    // Its last attempt failed for a passing cause, so that the handler did not know that it was the last.
    let open = case_when(&world, &upgrade, UnmatchedPayment::is_open).await;
    assert_eq!(open.reason, "upgrade_source_not_found");
    assert_eq!(world.shop.counts().await.dead, 1);
}
