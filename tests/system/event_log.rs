//! The log of every verified event.

use sqlx::{Connection, Executor, SqliteConnection};
use surepass::event_log;
use surepass::up::sample::SampleSession;

use support::answer::Answer;
use support::program::eventually;
use support::shop::{ASYNC_SUCCEEDED, COMPLETED, Shop, WEBHOOK_SECRET, signed};

#[tokio::test]
async fn every_verified_event_ends_in_the_log_with_its_outcome_and_its_body_byte_for_byte() {
    let shop = Shop::open().await;
    let unpaid = SampleSession {
        payment_status: "unpaid",
        ..shop.session()
    };
    let other = shop.session().with("type", Some("event_ticket"));
    let connected = SampleSession {
        account: Some("acct_1".to_owned()),
        ..shop.session()
    };
    let plain = shop.session();
    let sent = [
        (plain.event(COMPLETED, 1), "enqueued"),
        (shop.session().event(ASYNC_SUCCEEDED, 1), "enqueued"),
        (unpaid.event(COMPLETED, 1), "ignored: awaiting_payment"),
        (other.event(COMPLETED, 1), "ignored: other_purchase_type"),
        (
            shop.session().event("charge.refunded", 1),
            "ignored: other_event_type",
        ),
        (
            shop.session().event("a.type.nobody.knows", 1),
            "ignored: other_event_type",
        ),
        (connected.event(COMPLETED, 1), "enqueued"),
    ];
    for (body, _) in &sent {
        assert_eq!(shop.deliver(body.clone()).await.status, 200);
    }
    // Duplicates and refused requests leave no trace.
    assert_eq!(shop.deliver(sent[0].0.clone()).await, Answer::duplicate());
    let forged = shop.session().event(COMPLETED, 1);
    let header = signed("whsec_forged", &forged);
    assert_eq!(shop.post(forged, Some(&header)).await.status, 400);
    assert_eq!(shop.deliver(b"{}".to_vec()).await.status, 400);
    let by_path = shop.session().event(COMPLETED, 1);
    assert_eq!(
        shop.deliver_to("studio", WEBHOOK_SECRET, by_path.clone()).await,
        Answer::accepted()
    );

    shop.settled().await;
    let logged = shop.events().await;
    assert_eq!(logged.len(), sent.len() + 1);
    for (body, outcome) in &sent {
        let kept = logged
            .iter()
            .find(|event| event_log::body(event).unwrap().as_ref() == Some(body));
        assert_eq!(kept.map(|event| event.outcome.as_str()), Some(*outcome));
    }
    let first = logged.iter().find(|event| event.id == plain.event_id(1)).unwrap();
    assert_eq!((first.kind.as_str(), first.livemode), (COMPLETED, false));
    assert_eq!(first.object_id, Some(plain.session_id()));
    assert_eq!(first.created_at, plain.created + chrono::TimeDelta::seconds(2));
    let accounts: Vec<_> = logged
        .iter()
        .filter_map(|event| event.account.as_deref())
        .collect();
    assert_eq!(accounts, ["acct_1"]);
    let by_its_path: Vec<_> = logged
        .iter()
        .filter(|event| event.tenant_slug.is_some())
        .collect();
    assert_eq!(by_its_path.len(), 1);
    assert_eq!(event_log::body(by_its_path[0]).unwrap(), Some(by_path));
}

#[tokio::test]
async fn the_log_never_stands_in_a_purchases_way_while_the_store_is_locked() {
    let shop = Shop::open().await;
    let lock = shop.lock_store().await;
    let sessions: Vec<_> = (0..20).map(|_| shop.session()).collect();
    for session in &sessions {
        assert_eq!(shop.buy(session).await, Answer::accepted());
        assert_eq!(
            shop.deliver(session.event("charge.succeeded", 2)).await,
            Answer::ignored()
        );
    }
    assert_eq!(shop.counts().await.log, 40);
    lock.release().await;
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 20);
    assert_eq!(shop.events().await.len(), 40);
}

#[tokio::test]
async fn what_a_killed_worker_had_read_of_the_log_is_not_lost() {
    let mut shop = Shop::open().await;
    // The drain is at work before the store is locked.
    assert_eq!(
        shop.deliver(shop.session().event("charge.succeeded", 1)).await,
        Answer::ignored()
    );
    shop.settled().await;
    let lock = shop.lock_store().await;
    let body = shop.session().event("charge.succeeded", 1);
    assert_eq!(shop.deliver(body.clone()).await, Answer::ignored());
    // The drain has read it, and waits for the store.
    let key = shop.queue().key("log");
    let pending = async || match shop.redis(&["XPENDING", &key, "store"]).await {
        Ok(redis::Value::Array(summary)) => summary[0] == redis::Value::Int(1),
        other => panic!("{other:?}"),
    };
    eventually("the drain's look", async || pending().await).await;
    let mut killed = shop.workers.remove(0);
    killed.killed().await;
    shop.bury(killed);
    lock.release().await;
    assert_eq!(shop.counts().await.log, 1);
    shop.start_worker().await;
    shop.settled().await;
    assert_eq!(event_log::body(&shop.events().await[1]).unwrap(), Some(body));
}

#[tokio::test]
async fn an_event_that_the_store_refuses_is_parked_and_all_others_reach_the_log() {
    let shop = Shop::open().await;
    let poison = shop.session();
    let trigger = format!(
        "CREATE TRIGGER poison BEFORE INSERT ON events WHEN NEW.id = '{}' BEGIN SELECT RAISE(ABORT, 'poison'); END",
        poison.event_id(1)
    );
    let mut store = SqliteConnection::connect(shop.setting("DATABASE_URL"))
        .await
        .unwrap();
    store.execute(sqlx::AssertSqlSafe(trigger)).await.unwrap();
    // All in one batch.
    let lock = shop.lock_store().await;
    for n in 0..20 {
        let session = if n == 7 { poison.clone() } else { shop.session() };
        let event = session.event("charge.succeeded", 1);
        assert_eq!(shop.deliver(event).await, Answer::ignored());
    }
    lock.release().await;
    shop.settled().await;
    let events = shop.events().await;
    assert_eq!(events.len(), 19);
    assert!(events.iter().all(|event| event.id != poison.event_id(1)));
    assert_eq!(shop.queue().parked_events().await.unwrap(), 1);
    shop.workers[0]
        .says("the store refuses this event of the log")
        .await;
}
