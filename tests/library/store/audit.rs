//! The audit log.

use surepass::store::AuditRecord;

use support::home::Home;
use support::purchases::minute;

contract!(
    an_act_is_there_from_its_beginning_and_its_end_is_told_once,
    the_newest_acts_come_first,
    the_oldest_acts_are_deleted_in_bounded_chunks,
);

fn record(number: i64) -> AuditRecord {
    AuditRecord {
        id: format!("{number:026}"),
        actor: "kari@desk".to_owned(),
        action: "jobs.retry".to_owned(),
        target: r#"{"ids":["fulfil:cs_1"]}"#.to_owned(),
        reason: (number % 2 == 0).then(|| "the database is back".to_owned()),
        began_at: minute(number),
        ended_at: None,
        outcome: None,
    }
}

async fn an_act_is_there_from_its_beginning_and_its_end_is_told_once(home: Home) {
    let store = home.ready().await;
    store.audit().begin(&record(0)).await.unwrap();
    assert_eq!(store.audit().list(10).await.unwrap(), [record(0)]);
    // A lost answer makes a caller ask twice.
    store.audit().begin(&record(0)).await.unwrap();
    store
        .audit()
        .end(&record(0).id, minute(1), "1 of 1")
        .await
        .unwrap();
    store
        .audit()
        .end(&record(0).id, minute(2), "0 of 1")
        .await
        .unwrap();
    let ended = AuditRecord {
        ended_at: Some(minute(1)),
        outcome: Some("1 of 1".to_owned()),
        ..record(0)
    };
    assert_eq!(store.audit().list(10).await.unwrap(), [ended]);
}

async fn the_newest_acts_come_first(home: Home) {
    let store = home.ready().await;
    for number in [1, 3, 2] {
        store.audit().begin(&record(number)).await.unwrap();
    }
    assert_eq!(store.audit().list(2).await.unwrap(), [record(3), record(2)]);
}

async fn the_oldest_acts_are_deleted_in_bounded_chunks(home: Home) {
    let store = home.ready().await;
    for number in 0..5 {
        store.audit().begin(&record(number)).await.unwrap();
    }
    for deleted in [2, 1, 0] {
        assert_eq!(store.audit().delete(minute(3), 2).await.unwrap(), deleted);
    }
    assert_eq!(store.audit().list(10).await.unwrap(), [record(4), record(3)]);
}
