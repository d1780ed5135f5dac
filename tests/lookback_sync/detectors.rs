//! The events that were not delivered, and up to where nothing is missing.

use chrono::TimeDelta;
use serde_json::json;
use surepass::lookback::{LookbackJob, UndeliveredRequest};

use crate::answer::Answer;
use crate::shop::{COMPLETED, now};
use crate::world::World;

fn undelivered(account: Option<&str>) -> LookbackJob {
    LookbackJob::Undelivered(UndeliveredRequest {
        account: account.map(str::to_owned),
        since: None,
        resume: None,
    })
}

#[tokio::test]
async fn undelivered_events_go_the_intakes_own_way_once() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    world.import_yoga().await;
    let own = world.shop.session();
    let mut connected = world.shop.session().with("tenantId", Some("tenant-2"));
    connected.account = Some("acct_yoga".to_owned());
    let delivered = world.shop.session();
    assert_eq!(world.shop.buy(&delivered).await, Answer::accepted());
    for session in [&own, &connected, &delivered] {
        world.stripe.fail_to_deliver(&session.event(COMPLETED, 1));
    }
    for _ in 0..2 {
        for account in [None, Some("acct_yoga")] {
            world.enqueue(undelivered(account)).await;
        }
        world.idle().await;
        world.shop.settled().await;
    }
    let vias: Vec<_> = world
        .shop
        .subscriptions()
        .await
        .into_iter()
        .map(|one| {
            (
                one["stripeSessionId"].clone(),
                one["createdVia"].clone(),
                one["tenant"].clone(),
            )
        })
        .collect();
    let expected = [
        (&own, "lookback", "tenant-1"),
        (&connected, "lookback", "tenant-2"),
        (&delivered, "webhook", "tenant-1"),
    ];
    let expected =
        expected.map(|(session, via, tenant)| (json!(session.session_id()), json!(via), json!(tenant)));
    assert_eq!(vias, expected);
    // Each event is in the log once, with its body.
    let events = world.shop.events().await;
    assert_eq!(events.len(), 3);
    assert!(
        events
            .iter()
            .all(|event| event.body.is_some() && event.outcome == "enqueued")
    );
    let of_yoga = events.iter().find(|event| event.account.is_some()).unwrap();
    let body = surepass::event_log::body(of_yoga).unwrap().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["account"], "acct_yoga");

    let mark = world.mark("events").await.unwrap();
    assert!(mark.to > now() - TimeDelta::minutes(5), "{mark:?}");
    assert!(mark.from < now() - TimeDelta::days(29), "{mark:?}");
    let since: Vec<i64> = world
        .stripe
        .calls()
        .iter()
        .filter(|call| call.account.is_none())
        .filter_map(|call| call.query.iter().find(|(name, _)| name == "created[gte]"))
        .map(|(_, from)| from.parse().unwrap())
        .collect();
    assert_eq!(since.len(), 2);
    assert!(
        since[1] > now().timestamp() - 3_700,
        "the second goes on from the mark: {since:?}"
    );
}
