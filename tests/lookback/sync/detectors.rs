//! The events that were not delivered, and up to where nothing is missing.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use surepass::lookback::{Customer, FailedDeliveriesRequest, LookbackJob, SyncRequest};
use surepass::store::{CreatedVia, LookbackRun, PendingSession, RunPhase, RunStep, Watermark};

use crate::sync::world::{World, ids, sweep};
use support::answer::Answer;
use support::shop::{COMPLETED, now};

fn undelivered(account: Option<&str>) -> LookbackJob {
    LookbackJob::FailedDeliveries(FailedDeliveriesRequest {
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

#[tokio::test]
async fn a_long_list_of_undelivered_events_is_read_in_slices_to_its_end() {
    let world = World::open().await;
    let sold: Vec<_> = (0..350)
        .map(|n| {
            let mut session = world.shop.session();
            session.created = now() - TimeDelta::minutes(60 + n);
            world.stripe.fail_to_deliver(&session.event(COMPLETED, 1));
            session
        })
        .collect();
    world.stripe.delay(Duration::from_millis(800));
    world.enqueue(undelivered(None)).await;
    world.idle().await;
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    assert_eq!(world.stripe.calls().len(), 4, "no page is read twice");
    let slices = world.done().await;
    assert!(
        slices.len() > 1 && slices.iter().all(|id| id.starts_with("undelivered:own")),
        "{slices:?}"
    );
    let mark = world.mark("events").await.unwrap();
    assert!(mark.from < now() - TimeDelta::days(29), "{mark:?}");
}

#[tokio::test]
async fn a_key_of_the_other_mode_neither_extends_what_is_proven_nor_closes_what_is_open() {
    let world = World::open().await;
    let store = world.shop.store().await;
    let records = store.lookback();
    // What the live key has left.
    let live = Watermark {
        detector: "sessions".to_owned(),
        account: None,
        is_test: false,
        from: now() - TimeDelta::days(31),
        to: now() - TimeDelta::minutes(20),
        updated_at: now() - TimeDelta::minutes(20),
    };
    records.raise_watermark(&live).await.unwrap();
    let live = records.watermarks().await.unwrap();
    let asked = world.request_account_sync(&sweep("nightly", 31)).await;
    world.report(&asked.run).await;
    let marks = records.watermarks().await.unwrap();
    assert_eq!((marks.len(), &marks[..1]), (2, &live[..]), "{marks:?}");
    assert!(marks[1].is_test);

    let mut run = LookbackRun::new("1", "1", CreatedVia::Lookback, now(), now(), now());
    run.phase = RunPhase::Listing;
    records.begin_run(&run).await.unwrap();
    let open = |session: &str| PendingSession {
        session: session.to_owned(),
        account: None,
        customers: vec!["user_kari".to_owned()],
        created_at: now() - TimeDelta::days(1),
    };
    let step = RunStep {
        pending: vec![open("cs_live_a1"), open("cs_test_a1")],
        cursor: "cs_1".to_owned(),
        ..RunStep::at(now())
    };
    assert!(records.save_step(&run, &step, &[]).await.unwrap());
    let request = SyncRequest {
        tenant: None,
        customer: Customer::User {
            id: "user_kari".to_owned(),
            verified_email: None,
        },
        days: 30,
        via: CreatedVia::SelfService,
        run: None,
    };
    let asked = world
        .lookback()
        .await
        .request_sync(&request, ulid::Ulid::generate())
        .await
        .unwrap();
    world.report(&asked.run).await;
    let left = records
        .pending_sessions(None, &["user_kari"], now() - TimeDelta::days(30), 10)
        .await;
    assert_eq!(
        left.unwrap(),
        ["cs_live_a1"],
        "of both Stripe has said that there is none"
    );
}

#[tokio::test]
async fn a_mark_that_a_clock_of_next_year_has_raised_keeps_no_event_from_being_found() {
    let world = World::open().await;
    let store = world.shop.store().await;
    let ahead = Watermark {
        detector: "events".to_owned(),
        account: None,
        is_test: true,
        from: now(),
        to: now() + TimeDelta::days(365),
        updated_at: now() + TimeDelta::days(365),
    };
    store.lookback().raise_watermark(&ahead).await.unwrap();
    let lost = world.shop.session();
    world.stripe.fail_to_deliver(&lost.event(COMPLETED, 1));
    world.enqueue(undelivered(None)).await;
    world.idle().await;
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, [lost.session_id()]);
    let mark = world.mark("events").await.unwrap();
    assert!(
        mark.to <= now() && mark.from < now() - TimeDelta::days(29),
        "{mark:?}"
    );
}
