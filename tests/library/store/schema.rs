//! What the store says of its own tables.

use surepass::store::{self, StoreError};

use support::home::Home;

contract!(
    tables_tell_how_far_they_have_come_and_looking_makes_none,
    a_broken_and_a_newer_version_are_told,
    a_write_is_tried_and_leaves_nothing,
    tables_are_made_where_there_are_none_and_others_are_only_looked_at,
);

async fn tables_tell_how_far_they_have_come_and_looking_makes_none(home: Home) {
    let store = home.open().await;
    let empty = store.schema().await.unwrap();
    assert_eq!((empty.applied, empty.broken), (None, None));
    assert!(empty.missing > 1);
    assert_eq!(store.schema().await.unwrap(), empty);
    store.try_write().await.unwrap_err();

    store.migrate().await.unwrap();
    let made = store.schema().await.unwrap();
    assert_eq!((made.applied, made.missing), (Some(made.newest), 0));
    assert!(!made.is_newer());
}

async fn a_broken_and_a_newer_version_are_told(home: Home) {
    let store = home.ready().await;
    let newest = store.schema().await.unwrap().newest;
    home.run("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2")
        .await;
    let broken = store.schema().await.unwrap();
    assert_eq!((broken.broken, broken.missing), (Some(2), 1));
    home.run(&format!(
        "UPDATE _sqlx_migrations SET success = TRUE, version = {} WHERE version = 2",
        newest + 7
    ))
    .await;
    let newer = store.schema().await.unwrap();
    assert_eq!((newer.applied, newer.is_newer()), (Some(newest + 7), true));
}

async fn a_write_is_tried_and_leaves_nothing(home: Home) {
    let store = home.ready().await;
    let before = format!("{:?}", store.catalog().all().await.unwrap());
    store.try_write().await.unwrap();
    assert_eq!(format!("{:?}", store.catalog().all().await.unwrap()), before);
}

async fn tables_are_made_where_there_are_none_and_others_are_only_looked_at(home: Home) {
    let refused = |refused: Result<(), StoreError>, why: &str| {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains(why), "{text}");
    };
    let store = home.open().await;
    let check = async || store.schema().await.unwrap().check();
    refused(
        check().await,
        "it has no tables yet; if it is the right database, run `surepass migrate`",
    );
    store::make_tables(store.as_ref(), false).await.unwrap();
    check().await.unwrap();

    home.run("UPDATE _sqlx_migrations SET version = 9000 WHERE version = 10")
        .await;
    let older = store::make_tables(store.as_ref(), false).await;
    refused(older, "run `surepass migrate`");
    home.run(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         SELECT 10, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 9000",
    )
    .await;

    // What a newer program has added is nobody's harm; what it has changed is.
    assert!(store.schema().await.unwrap().is_newer());
    for migrate in [false, true] {
        store::make_tables(store.as_ref(), migrate).await.unwrap();
    }
    store.migrate().await.unwrap();
    home.run("UPDATE schema_compat SET oldest = 9000").await;
    refused(check().await, "update Surepass on this machine");
    refused(store.migrate().await, "update Surepass on this machine");
}
