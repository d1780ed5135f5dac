//! The SQLite file: who makes it, who may read it, who holds it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use surepass::store::{self, Options};
use tokio::task::JoinSet;

use support::home::Home;
use support::purchases::purchase;

#[tokio::test]
async fn a_sqlite_file_is_made_with_its_folder_and_is_its_owners_only() {
    let home = Home::sqlite();
    let Home::Sqlite(folder) = &home else {
        unreachable!()
    };
    let store = home.ready().await;
    store.subscriptions().create(purchase("a")).await.unwrap();
    for name in ["test.db", "test.db-wal", "test.db-shm"] {
        let mode = std::fs::metadata(folder.path().join("data").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_sqlite_file_may_be_opened_by_many_at_once() {
    for round in 0..100 {
        let home = Home::sqlite();
        let mut openers = JoinSet::new();
        for _ in 0..12 {
            let address = home.address();
            openers.spawn(async move { store::open(&address, &Options::default()).await.map(drop) });
        }
        for opened in openers.join_all().await {
            assert_eq!(opened, Ok(()), "round {round}");
        }
    }
}

/// Whether this process holds a lock on the file, as others see it.
fn holds_a_lock(file: &Path) -> bool {
    let own = std::process::id().to_string();
    let inode = std::fs::metadata(file).expect("the file is there").ino();
    let locks = std::fs::read_to_string("/proc/locks").expect("Linux tells its locks");
    locks.lines().any(|line| {
        // 1: POSIX  ADVISORY  READ 4711 fe:00:5316619 1073741826 1073742335
        let words: Vec<_> = line.split_whitespace().collect();
        words[1] == "POSIX" && words[4] == own && words[5].ends_with(&format!(":{inode}"))
    })
}

/// Without it, whoever closes the file last deletes a WAL that is in use: seen as "disk I/O error (522)" for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_open_store_holds_its_lock_on_the_sqlite_file_whatever_is_opened_and_closed_beside_it() {
    let home = Home::sqlite();
    let Home::Sqlite(folder) = &home else {
        unreachable!()
    };
    let (file, wal) = (
        folder.path().join("data/test.db"),
        folder.path().join("data/test.db-wal"),
    );
    let store = home.open().await;
    // Its connection is not used again.
    store.migrate().await.unwrap();
    home.open().await.close().await;
    assert!(wal.exists(), "another came and went, and was not the last");
    for round in 0..20 {
        let other = home.open().await;
        assert!(holds_a_lock(&file), "another opened it, round {round}");
        other.ping().await.unwrap();
        other.close().await;
        assert!(holds_a_lock(&file), "another closed it, round {round}");
    }
    store.close().await;
    assert!(!holds_a_lock(&file), "closed");
    assert!(!wal.exists(), "who closes last tidies up");
}

#[tokio::test]
async fn a_sqlite_file_that_cannot_be_opened_is_told_at_once_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite://{}", folder.path().display()).into();
    let refused = store::open(&address, &Options::default()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the SQLite file {} cannot be opened: is a directory",
            folder.path().display()
        )
    );
}

#[tokio::test]
async fn a_sqlite_file_that_is_replaced_or_removed_while_it_is_open_is_an_outage_with_its_name() {
    let home = Home::sqlite();
    let Home::Sqlite(folder) = &home else {
        unreachable!()
    };
    let store = home.ready().await;
    store.subscriptions().create(purchase("before")).await.unwrap();
    let file = folder.path().join("data/test.db");
    let aside = folder.path().join("aside.db");
    std::fs::rename(&file, &aside).unwrap();
    let refused = store
        .subscriptions()
        .create(purchase("a"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("test.db has been removed while it is open"),
        "{refused}"
    );
    std::fs::copy(&aside, &file).unwrap();
    let refused = store.subscriptions().create(purchase("a")).await.unwrap_err();
    assert!(
        refused.is_transient() && refused.to_string().contains("has been replaced"),
        "{refused}"
    );
    assert!(store.catalog().all().await.is_err());
    assert!(store.outage().is_some());

    std::fs::rename(&aside, &file).unwrap();
    store.subscriptions().create(purchase("a")).await.unwrap();
    assert_eq!(store.outage(), None);
    assert_eq!(home.number("SELECT count(*) FROM subscriptions").await, 2);
}
