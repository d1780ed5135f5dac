//! The event log.

use surepass::store::LoggedEvent;

use support::home::Home;
use support::purchases::minute;

contract!(
    an_event_is_logged_once,
    event_bodies_are_dropped_in_bounded_chunks,
    the_oldest_events_are_deleted_in_bounded_chunks,
);

fn event(number: i64) -> LoggedEvent {
    LoggedEvent {
        id: format!("evt_{number}"),
        kind: "checkout.session.completed".to_owned(),
        account: Some("acct_1".to_owned()),
        livemode: number % 2 == 0,
        tenant_slug: None,
        object_id: Some(format!("cs_{number}")),
        outcome: "enqueued".to_owned(),
        created_at: minute(number),
        received_at: minute(number),
        body: Some(vec![0, 1, 255]),
    }
}

async fn an_event_is_logged_once(home: Home) {
    let store = home.ready().await;
    store.events().append(&[]).await.unwrap();
    store
        .events()
        .append(&(0..500).map(event).collect::<Vec<_>>())
        .await
        .unwrap();
    let mut again: Vec<_> = (499..502).map(event).collect();
    again[0].outcome = "ignored".into();
    again.push(event(501));
    store.events().append(&again).await.unwrap();
    assert_eq!(home.number("SELECT count(*) FROM events").await, 502);
    assert_eq!(
        store.events().list(3).await.unwrap(),
        [event(501), event(500), event(499)]
    );
    assert_eq!(store.events().one(&event(7).id).await.unwrap(), Some(event(7)));
    assert_eq!(store.events().one("evt_nobody's").await.unwrap(), None);
}

async fn event_bodies_are_dropped_in_bounded_chunks(home: Home) {
    let store = home.ready().await;
    store
        .events()
        .append(&(0..10).map(event).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(store.events().drop_bodies(minute(7), 5).await.unwrap(), 5);
    assert_eq!(store.events().drop_bodies(minute(7), 5).await.unwrap(), 2);
    assert_eq!(store.events().drop_bodies(minute(7), 5).await.unwrap(), 0);
    let kept = store.events().list(10).await.unwrap();
    assert_eq!(kept.iter().filter(|event| event.body.is_some()).count(), 3);
    assert_eq!(
        kept[9],
        LoggedEvent {
            body: None,
            ..event(0)
        }
    );
}

async fn the_oldest_events_are_deleted_in_bounded_chunks(home: Home) {
    let store = home.ready().await;
    let events: Vec<_> = (0..10).map(event).collect();
    store.events().append(&events).await.unwrap();
    for deleted in [5, 2, 0] {
        assert_eq!(store.events().delete(minute(7), 5).await.unwrap(), deleted);
    }
    assert_eq!(
        store.events().list(10).await.unwrap(),
        [event(9), event(8), event(7)]
    );
}
