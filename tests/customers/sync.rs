//! The sync that a customer asks for.

use futures::future::join_all;
use serde_json::{Value, json};
use support::program::eventually;

use crate::fixture::{Fixture, of};

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_finds_and_activates_what_is_missing_and_a_second_finds_all_there() {
    let studio = Fixture::open().await;
    let had = of(studio.shop.session(), "kari");
    studio.shop.buy(&had).await;
    let missing = studio.stripe.session("kari", "paid").await;
    let unpaid = studio.stripe.session("kari", "unpaid").await;
    let others = studio.stripe.session("ola", "paid").await;
    let token = studio.sign_in.token("kari").await;
    let first = studio.sync(&token).await;
    assert_eq!(
        (first.status, &first.body),
        (
            200,
            &json!({
                "success": true, "message": "Synced 1 missing subscriptions, skipped 0 existing ones",
                "createdCount": 1, "skippedCount": 0, "errorCount": 0, "errors": [], "totalSessionsFound": 1
            })
        )
    );
    let second = studio.sync(&token).await.body;
    assert_eq!(
        (
            &second["createdCount"],
            &second["skippedCount"],
            &second["totalSessionsFound"]
        ),
        (&json!(0), &json!(1), &json!(1)),
        "{second}"
    );
    let held = studio.shop.fulfilled().await;
    assert!(held.contains(&missing), "{held:?}");
    assert!(!held.contains(&unpaid) && !held.contains(&others), "{held:?}");
    let all = studio.shop.subscriptions().await;
    let brought = all
        .iter()
        .find(|one| one["stripeSessionId"] == json!(missing))
        .unwrap();
    assert_eq!(brought["createdVia"], "self-service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_fails_is_counted_and_named_and_stops_no_other() {
    let studio = Fixture::open().await;
    let metadata =
        json!({"type": "pass_purchase", "passId": "no-such-pass", "userId": "kari", "tenantId": "tenant-1"});
    let order = json!({"guests": true, "webhooks": "none", "metadata": metadata, "product": "unheard of"});
    let odd = studio.stripe.session_with(order).await;
    let good = studio.stripe.session("kari", "paid").await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.sync(&token).await.body;
    assert_eq!(
        (
            &told["createdCount"],
            &told["errorCount"],
            &told["totalSessionsFound"]
        ),
        (&json!(1), &json!(1), &json!(2)),
        "{told}"
    );
    let errors = told["errors"].as_array().unwrap();
    assert!(
        errors.len() == 1 && errors[0].as_str().unwrap().contains(&odd),
        "{told}"
    );
    // Ours are for those who run the shop.
    assert!(!told.to_string().contains("surepass"), "{told}");
    assert_eq!(studio.shop.fulfilled().await, [good]);
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_asked_for_at_once_are_one_and_are_all_answered() {
    let studio = Fixture::open_with("syncs_per_minute = 100").await;
    let missing = studio.stripe.session("kari", "paid").await;
    let token = studio.sign_in.token("kari").await;
    let asked = join_all((0..8).map(|_| studio.sync(&token)));
    let working = async {
        // They wait for a worker, and meet in the queue.
        let lookback = studio.shop.store().await;
        eventually("a run", async || {
            !lookback.lookback().runs(10).await.unwrap().is_empty()
        })
        .await;
        let worker = studio.shop.launch_worker(&[]);
        worker.says(r#""message":"working""#).await;
        worker
    };
    let (answers, _worker) = tokio::join!(asked, working);
    for answer in &answers {
        assert_eq!(
            (answer.status, &answer.body["success"]),
            (200, &json!(true)),
            "{answer:?}"
        );
    }
    studio.until(&token, &missing, "active").await;
    assert_eq!(studio.shop.fulfilled().await, [missing]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_a_sync_is_told_to_be_under_way_and_comes_when_there_is_one_and_is_told_of_then() {
    let mut studio = Fixture::open_with("").await;
    let missing = studio.stripe.session("kari", "paid").await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.sync(&token).await.body;
    assert_eq!(
        (&told["success"], &told["processing"]),
        (&json!(true), &json!(true)),
        "{told}"
    );
    studio.shop.start_worker().await;
    let listed = async {
        while studio.passes(&token).await["activeSubscriptions"] == json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    support::program::awaited("the pass", listed).await;
    assert_eq!(studio.shop.fulfilled().await, [missing]);
    // With its work done before the page asks again, and nobody there who could do another.
    studio.shop.stop_worker().await;
    let told = studio.sync(&token).await.body;
    assert_eq!(
        (&told["createdCount"], &told["skippedCount"], &told["processing"]),
        (&json!(1), &json!(0), &Value::Null),
        "{told}"
    );
    // Told once; what is asked for then is another sync.
    studio.shop.start_worker().await;
    let told = studio.sync(&token).await.body;
    assert_eq!(
        (&told["createdCount"], &told["skippedCount"]),
        (&json!(0), &json!(1)),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn more_syncs_than_a_customer_may_ask_for_are_429_with_retry_after() {
    let studio = Fixture::open_with("syncs_per_minute = 2").await;
    let mut without_key = Value::Null;
    let token = studio.sign_in.token("kari").await;
    let mut refused = None;
    for _ in 0..3 {
        let reply = studio.sync(&token).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        without_key = reply.body;
    }
    let refused = refused.unwrap_or_else(|| panic!("never refused: {without_key}"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let other = studio.sign_in.token("ola").await;
    assert_eq!(
        studio.sync(&other).await.status,
        200,
        "another customer's limit is their own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_for_stripe_a_sync_is_503_with_the_reason() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("STRIPE_SECRET_KEY", "");
    studio.shop.start_server().await;
    let token = studio.sign_in.token("kari").await;
    let reply = studio.sync(&token).await;
    let (status, reason) = reply.refusal();
    assert!(status == 503 && reason.contains("STRIPE_SECRET_KEY"), "{reason}");
    // What is known here is told all the same.
    assert_eq!(studio.told(&token, "cs_test_unknown").await["state"], "unknown");
}
