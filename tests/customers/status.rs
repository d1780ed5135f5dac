//! What became of a purchase that we know of.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Reply, STATUS, UNAUTHORIZED, of, upgrade_from};
use support::shop::now;

#[tokio::test(flavor = "multi_thread")]
async fn an_active_purchase_is_told_as_the_existing_page_expects() {
    let studio = Fixture::open().await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.until(&token, &session.session_id(), "active").await;
    assert_eq!(told["found"], true);
    let pass = &told["subscription"];
    assert_eq!(pass["_id"], format!("subscription-{}", session.session_id()));
    assert_eq!(
        [
            &pass["type"],
            &pass["passName"],
            &pass["remainingClips"],
            &pass["isActive"],
            &pass["createdViaWebhook"]
        ],
        [
            &json!("clipcard"),
            &json!("10 classes"),
            &json!(10),
            &json!(true),
            &json!(true)
        ]
    );
    let start = chrono::DateTime::parse_from_rfc3339(pass["startDate"].as_str().unwrap()).unwrap();
    let end = chrono::DateTime::parse_from_rfc3339(pass["endDate"].as_str().unwrap()).unwrap();
    assert_eq!(
        (start.to_utc(), end - start),
        (session.created, TimeDelta::days(90))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn not_yours_and_unknown_get_the_same_answer_and_nothing_is_triggered() {
    let mut studio = Fixture::open_with("").await;
    let [active, queued, dead] = [(); 3].map(|()| of(studio.shop.session(), "kari"));
    let dead = dead.with("passId", None).with("passName", None);
    let (kari, ola) = (
        studio.sign_in.token("kari").await,
        studio.sign_in.token("ola").await,
    );
    studio.shop.start_worker().await;
    studio.shop.buy(&active).await;
    studio.shop.buy(&dead).await;
    studio.until(&kari, &active.session_id(), "active").await;
    studio.shop.settled().await;
    studio.shop.signal_workers(nix::sys::signal::Signal::SIGSTOP);
    studio.shop.buy(&queued).await;
    assert_eq!(studio.told(&kari, &queued.session_id()).await["processing"], true);

    let unknown = studio.told(&ola, "cs_test_nobodyknowsthisone").await;
    assert_eq!(
        (&unknown["found"], &unknown["processing"]),
        (&json!(false), &json!(false))
    );
    let at_stripe = studio.stripe.session("kari", "paid").await;
    for session in [
        active.session_id(),
        queued.session_id(),
        dead.session_id(),
        at_stripe.clone(),
    ] {
        assert_eq!(studio.told(&ola, &session).await, unknown, "{session}");
    }
    // Nor does another school tell of what was bought at this one.
    let elsewhere = studio
        .request(Method::POST, STATUS)
        .bearer_auth(&kari)
        .header("x-tenant-slug", "other")
        .json(&json!({"sessionId": active.session_id()}));
    assert_eq!(studio.send(elsewhere).await.body, unknown);

    let store = studio.shop.store().await;
    assert!(
        store.lookback().runs(10).await.unwrap().is_empty(),
        "nobody was synced"
    );
    let status = studio
        .shop
        .queue()
        .job_statuses(&[format!("fulfil:{at_stripe}")])
        .await
        .unwrap();
    assert_eq!(
        status,
        [surepass::queue::JobStatus::Gone],
        "nothing was fulfilled"
    );
    studio.shop.signal_workers(nix::sys::signal::Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_a_retrying_and_then_an_active_purchase_are_told_apart_with_attempt_and_when_next() {
    let mut studio = Fixture::open_with("").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.told(&token, &session.session_id()).await;
    assert_eq!(
        (
            &told["found"],
            &told["processing"],
            &told["state"],
            &told["attempt"],
            &told["nextAttemptAt"]
        ),
        (
            &json!(false),
            &json!(true),
            &json!("queued"),
            &json!(0),
            &Value::Null
        )
    );

    studio.shop.start_worker().await;
    studio.until(&token, &session.session_id(), "active").await;
    let old = of(studio.shop.session(), "kari");
    let session = upgrade_from(&old, of(studio.shop.session(), "kari"));
    studio.shop.buy(&session).await;
    let told = studio.until(&token, &session.session_id(), "retrying").await;
    assert_eq!(told["processing"], true);
    assert!(told["attempt"].as_u64().unwrap() >= 1, "{told}");
    let mut next = told["nextAttemptAt"].clone();
    while next.is_null() {
        // It waited for a worker just then.
        next = studio.until(&token, &session.session_id(), "retrying").await["nextAttemptAt"].clone();
    }
    let next = chrono::DateTime::parse_from_rfc3339(next.as_str().unwrap()).unwrap();
    assert!((next.to_utc() - now()).abs() < TimeDelta::minutes(2), "{next}");
    studio.shop.buy(&old).await;
    studio.until(&token, &session.session_id(), "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_purchase_enqueues_the_sync_by_this_very_call_once() {
    let studio = Fixture::open().await;
    let session = of(studio.shop.session(), "kari")
        .with("passId", None)
        .with("passName", None);
    studio.shop.buy(&session).await;
    studio.shop.settled().await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.told(&token, &session.session_id()).await;
    assert_eq!(
        (&told["found"], &told["webhookError"]),
        (&json!(false), &json!(true))
    );
    assert!(told["error"].is_string() && told["message"].is_string(), "{told}");
    let store = studio.shop.store().await;
    let runs = store.lookback().runs(10).await.unwrap();
    assert_eq!(
        runs.iter().map(|run| run.key.as_str()).collect::<Vec<_>>(),
        ["sync:studio:kari"]
    );
    for _ in 0..5 {
        let again = studio.told(&token, &session.session_id()).await;
        assert_eq!(again["webhookError"], true, "{again}");
    }
    let store = studio.shop.store().await;
    assert_eq!(store.lookback().runs(10).await.unwrap().len(), 1);
}

/// What is told to who has nothing but the session's id.
async fn alone(studio: &Fixture, session: &str) -> Reply {
    let body = json!({"sessionId": session});
    let request = studio
        .request(Method::POST, STATUS)
        .header("x-tenant-slug", "studio");
    studio.send(request.json(&body)).await
}

/// The session of a checkout that was begun five hours ago, and the event that tells of its payment so many minutes ago.
fn slow(studio: &Fixture, minutes: i64) -> (String, Vec<u8>) {
    let mut session = of(studio.shop.session(), "kari");
    session.created = now() - TimeDelta::hours(5);
    let body = session.event("checkout.session.completed", 1);
    let mut event: Value = serde_json::from_slice(&body).unwrap();
    event["created"] = json!((now() - TimeDelta::minutes(minutes)).timestamp());
    (session.session_id(), event.to_string().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_took_long_to_pay_and_has_a_session_id_alone_is_told_before_the_event_log_is_in_the_store() {
    let lazy = "requests_per_minute = 10000\nasks_per_minute = 1000\n[event_log]\ndrain_interval_ms = 60000";
    let mut studio = Fixture::open_with(lazy).await;
    studio.shop.start_worker().await;
    // After its first batch the drain sleeps.
    let other = studio.shop.session().event("charge.succeeded", 1);
    studio.shop.deliver(other).await;
    studio.shop.settled().await;
    let (session, event) = slow(&studio, 0);
    studio.shop.deliver(event).await;
    studio.shop.worked_off().await;
    assert_eq!(alone(&studio, &session).await.body["found"], true);
    assert_eq!(studio.shop.events().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_alone_tells_for_an_hour_that_its_purchase_is_active_and_nothing_personal() {
    let studio = Fixture::open().await;
    let mut fresh = of(studio.shop.session(), "kari");
    fresh.created = now() - TimeDelta::minutes(2);
    let mut old = of(studio.shop.session(), "kari");
    old.created = now() - TimeDelta::minutes(61);
    let unknown = alone(&studio, "cs_test_unknown").await.body;
    studio.shop.buy(&fresh).await;
    studio.shop.buy(&old).await;
    studio.shop.settled().await;
    let told = json!({"found": true, "subscription": {"isActive": true}, "message": "Your pass is active."});
    assert_eq!(alone(&studio, &fresh.session_id()).await.body, told);
    assert_eq!(alone(&studio, &old.session_id()).await.body, unknown);
    // It is the payment that the hour begins with, not the checkout: whoever takes long over it is told all the same.
    for (minutes, body) in [(59, &told), (61, &unknown)] {
        let (session, event) = slow(&studio, minutes);
        studio.shop.deliver(event).await;
        studio.shop.settled().await;
        assert_eq!(
            &alone(&studio, &session).await.body,
            body,
            "paid {minutes} minutes ago"
        );
    }
    // Nobody but Stripe knows it: who it is of decides, and nobody has told.
    let at_stripe = studio.stripe.session("kari", "paid").await;
    assert_eq!(alone(&studio, &at_stripe).await.body, unknown);
    assert_eq!(studio.stripe.reads(&at_stripe).await, 0);
    // It is no way around a bad token.
    let bad = studio.status("not.a.token", &fresh.session_id()).await;
    assert_eq!(bad.refusal(), UNAUTHORIZED);
}
