//! A purchase from the webhook to the subscription, and every way in which Stripe tells of it twice.

use chrono::TimeDelta;
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};
use surepass::up::sample::SampleSession;

use support::answer::Answer;
use support::postgres::Cluster;
use support::shop::{ASYNC_SUCCEEDED, COMPLETED, Shop};

/// What the contract says that the subscription of this session holds, but for when it was written.
fn promised(session: &SampleSession) -> Value {
    let instant = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let unique = &session.unique;
    json!({
        "id": format!("subscription-{}", session.session_id()),
        "user": format!("user_{unique}"),
        "tenant": "tenant-1",
        "type": "clipcard",
        "startDate": instant(session.created),
        "endDate": instant(session.created + TimeDelta::days(90)),
        "remainingClips": 10,
        "passId": "pass-10",
        "passName": "10 classes",
        "purchasePrice": {"amount": 150_000, "currency": "nok"},
        "currency": "nok",
        "stripePaymentId": format!("pi_3{unique:0>23}"),
        "stripeSessionId": session.session_id(),
        "webhookEventId": session.event_id(1),
        "isActive": true,
        "isUpgrade": false,
        "createdVia": "webhook",
    })
}

/// Takes the two instants out that nobody can foretell, after a look at them.
fn without_timestamps(mut subscription: Value, session: &SampleSession) -> Value {
    let fields = subscription.as_object_mut().unwrap();
    for name in ["createdAt", "updatedAt"] {
        let text = fields.remove(name).unwrap();
        let text = text.as_str().unwrap();
        let at = chrono::DateTime::parse_from_rfc3339(text).unwrap();
        assert!(at > session.created && text.ends_with('Z'), "{name}: {text}");
    }
    subscription
}

async fn one_purchase(shop: &Shop) {
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    let mut all = shop.subscriptions().await;
    assert_eq!(all.len(), 1);
    assert_eq!(without_timestamps(all.remove(0), &session), promised(&session));

    assert_eq!(shop.buy(&session).await, Answer::duplicate());
    shop.settled().await;
    let of_it = shop
        .json(&[
            "subscriptions",
            "list",
            "--json",
            "--session",
            &session.session_id(),
        ])
        .await;
    assert_eq!(of_it.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_purchase_becomes_exactly_one_subscription_with_every_field_of_the_contract() {
    one_purchase(&Shop::open().await).await;
}

#[tokio::test]
async fn one_purchase_becomes_exactly_one_subscription_over_postgresql() {
    let cluster = Cluster::shared();
    cluster.make("system_purchase").await;
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &cluster.url("system_purchase"));
    shop.import_example().await;
    shop.start_server().await;
    shop.start_worker().await;
    one_purchase(&shop).await;
}

#[tokio::test]
async fn the_same_event_50_times_at_once_over_several_connections_to_two_servers_is_one_subscription() {
    let mut shop = Shop::open().await;
    shop.start_server().await;
    let session = shop.session();
    let posts = (0..50).map(|n| shop.try_deliver(n % 2, session.event(COMPLETED, 1)));
    let answers = try_join_all(posts).await.unwrap();
    let new = answers
        .iter()
        .filter(|answer| **answer == Answer::accepted())
        .count();
    let seen = answers
        .iter()
        .filter(|answer| **answer == Answer::duplicate())
        .count();
    assert_eq!((new, seen), (1, 49));
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
}

#[tokio::test]
async fn the_same_session_by_two_events_is_one_subscription() {
    let shop = Shop::open().await;
    let (at_once, in_turn) = (shop.session(), shop.session());
    let both = join_all([1, 2].map(|nth| shop.deliver(at_once.event(COMPLETED, nth)))).await;
    // The second event finds the job of the first, or the job is done already.
    assert!(both.contains(&Answer::accepted()), "{both:?}");
    assert!(both.iter().all(|answer| answer.status == 200), "{both:?}");
    shop.settled().await;
    for nth in [1, 2] {
        assert_eq!(
            shop.deliver(in_turn.event(COMPLETED, nth)).await,
            Answer::accepted()
        );
        shop.settled().await;
    }
    assert_eq!(
        shop.fulfilled().await,
        [at_once.session_id(), in_turn.session_id()]
    );
    assert_eq!(shop.counts().await.dead, 0);
}

#[tokio::test]
async fn an_unpaid_session_waits_for_async_payment_succeeded() {
    let shop = Shop::open().await;
    let paid = shop.session();
    let unpaid = SampleSession {
        payment_status: "unpaid",
        ..paid.clone()
    };
    assert_eq!(shop.deliver(unpaid.event(COMPLETED, 1)).await, Answer::ignored());
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [""; 0]);
    assert_eq!(
        shop.deliver(paid.event(ASYNC_SUCCEEDED, 2)).await,
        Answer::accepted()
    );
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [paid.session_id()]);
}
