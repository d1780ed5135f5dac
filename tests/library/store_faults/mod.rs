//! What the stores promise when connections break and processes die.

mod pgbouncer;
mod sqlite_file;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::store::{self, Created, Options, Store, StoreError, SubscriptionFilter};
use tokio::task::JoinSet;

use support::home::Home;
use support::postgres::Cluster;
use support::purchases::{purchase, upgrade};

/// Nothing lost, nothing doubled, nothing half done.
const UNFINISHED_UPGRADES: &str = "SELECT count(*) FROM subscriptions WHERE \
    (upgraded_at IS NOT NULL) <> (id IN (SELECT upgraded_from_subscription_id FROM subscriptions \
    WHERE upgraded_from_subscription_id IS NOT NULL)) OR (is_active = (upgraded_at IS NOT NULL))";

/// Buys a pass and then its upgrade, asking again as long as trying again can help, as the queue does.
async fn buy_and_upgrade(store: &Arc<Store>, name: &str) {
    let new = format!("{name}-new");
    for purchase in [purchase(name), upgrade(&new, name)] {
        loop {
            match store.subscriptions().create(purchase.clone()).await {
                Ok(Created::New { .. } | Created::Existing { .. }) => break,
                Ok(refused @ Created::Refused(_)) => panic!("{refused:?}"),
                Err(error) if error.is_transient() => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_dropped_in_mid_transaction_and_a_killed_server_lose_and_double_nothing() {
    const BUYERS: usize = 1_500;

    let home = Home::postgres(Arc::new(Cluster::start())).await;
    let Home::Postgres { cluster, .. } = &home else {
        unreachable!()
    };
    let store = home.ready().await;
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut buyers = JoinSet::new();
    for _ in 0..64 {
        let (store, next, done) = (Arc::clone(&store), Arc::clone(&next), Arc::clone(&done));
        buyers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= BUYERS {
                    return;
                }
                buy_and_upgrade(&store, &number.to_string()).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    let reached = async |part: usize| {
        while done.load(Ordering::Relaxed) < part {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = 'surepass' AND datname = current_database()";
    let mut terminated = 0;
    for part in 1..10 {
        reached(part * BUYERS / 20).await;
        terminated += home.number(terminate).await;
    }
    assert!(terminated > 0);
    reached(BUYERS / 2).await;
    cluster.kill();
    cluster.run_server();
    while let Some(buyer) = buyers.join_next().await {
        buyer.expect("no purchase was refused");
    }

    assert_eq!(home.number("SELECT count(*) FROM subscriptions").await, 2 * 1_500);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 1_500);
    assert_eq!(home.number(UNFINISHED_UPGRADES).await, 0);
}

#[tokio::test]
async fn a_server_that_is_away_is_an_outage_and_comes_back_by_itself() {
    let home = Home::postgres(Arc::new(Cluster::start())).await;
    let Home::Postgres { cluster, .. } = &home else {
        unreachable!()
    };
    let store = home.ready().await;
    cluster.kill();
    assert!(matches!(
        store.subscriptions().create(purchase("a")).await,
        Err(StoreError::Outage(_))
    ));
    assert!(matches!(store.ping().await, Err(StoreError::Outage(_))));
    cluster.run_server();
    let created = store.subscriptions().create(purchase("a")).await;
    assert!(matches!(created, Ok(Created::New { .. })), "{created:?}");
}

#[tokio::test]
async fn a_missing_permission_or_table_is_an_outage() {
    let home = Home::postgres(Cluster::shared()).await;
    let store = home.ready().await;
    home.run("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        .await;
    home.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        .await;
    let address = home.address().expose_secret().replace("postgres@", "reader@");
    let reader = store::open(&address.into(), &Options::default()).await.unwrap();
    let refused = reader.subscriptions().create(purchase("a")).await.unwrap_err();
    let reason = "permission denied for table users (42501)".to_owned();
    assert_eq!(refused, StoreError::Outage(reason.clone()));
    assert_eq!(reader.outage().map(|outage| outage.cause), Some(reason));
    home.run("DROP TABLE subscriptions").await;
    let refused = store.subscriptions().create(purchase("a")).await.unwrap_err();
    assert_eq!(
        refused,
        StoreError::Outage("relation \"subscriptions\" does not exist (42P01)".to_owned())
    );
}

#[tokio::test]
async fn a_postgres_error_is_sorted_by_its_class() {
    use sqlx::{AssertSqlSafe, Connection, Executor};

    let home = Home::postgres(Cluster::shared()).await;
    let mut connection = sqlx::PgConnection::connect(home.address().expose_secret())
        .await
        .unwrap();
    let mut sorted = async |code: &str| {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'why' USING ERRCODE = '{code}'; END $$");
        StoreError::from(connection.execute(AssertSqlSafe(raise)).await.unwrap_err())
    };
    for code in [
        "08006", "08P01", "0A000", "25006", "26000", "28P01", "3D000", "3F000", "42501", "42703", "42P01",
        "42P05", "53100", "53300", "55P03", "57014", "57P03", "58030", "XX000", "23502",
    ] {
        assert_eq!(sorted(code).await, StoreError::Outage(format!("why ({code})")));
    }
    // Unknown, a tenant that is not there (any more), and transactions that met.
    for code in ["P0001", "40001", "40P01", "38000", "54001", "23503"] {
        assert_eq!(sorted(code).await, StoreError::Transient(format!("why ({code})")));
    }
    for code in ["23514", "22021", "22003", "54000"] {
        assert_eq!(sorted(code).await, StoreError::Permanent(format!("why ({code})")));
    }
    assert_eq!(
        sorted("23505").await,
        StoreError::Conflict("why (23505)".to_owned())
    );
}

#[tokio::test]
async fn a_sqlite_error_is_sorted_by_its_code() {
    use sqlx::{Connection, Executor, SqliteConnection};

    let home = Home::sqlite();
    home.ready().await.close().await;
    let connect = async || {
        SqliteConnection::connect(home.address().expose_secret())
            .await
            .unwrap()
    };
    let (mut first, mut second) = (connect().await, connect().await);
    let user = "INSERT INTO users (id, created_at, name) VALUES ('u', 1, zeroblob(100000))";
    let named = "INSERT INTO users (id, created_at, name) VALUES ('u', 1, hex(zeroblob(100000)))";
    let sorted = async |connection: &mut SqliteConnection, sql: &'static str| {
        StoreError::from(connection.execute(sql).await.unwrap_err())
    };

    first.execute("BEGIN IMMEDIATE").await.unwrap();
    second.execute("PRAGMA busy_timeout = 0").await.unwrap();
    let busy = StoreError::Outage("database is locked (5)".to_owned());
    assert_eq!(sorted(&mut second, "BEGIN IMMEDIATE").await, busy);
    first.execute("PRAGMA max_page_count = 1").await.unwrap();
    let full = StoreError::Outage("database or disk is full (13)".to_owned());
    assert_eq!(sorted(&mut first, named).await, full);
    first.close().await.unwrap();

    let mistyped = sorted(&mut second, user).await;
    assert_eq!(
        mistyped,
        StoreError::Permanent("cannot store BLOB value in TEXT column users.name (3091)".to_owned())
    );
    let nameless = sorted(&mut second, "INSERT INTO users (id) VALUES ('u')").await;
    let reason = "NOT NULL constraint failed: users.created_at (1299)".to_owned();
    assert_eq!(nameless, StoreError::Outage(reason));
    second.execute("PRAGMA query_only = ON").await.unwrap();
    let readonly = StoreError::Outage("attempt to write a readonly database (8)".to_owned());
    assert_eq!(sorted(&mut second, named).await, readonly);
    let missing = StoreError::Outage("no such table: no_such (1)".to_owned());
    assert_eq!(sorted(&mut second, "SELECT * FROM no_such").await, missing);
}

#[tokio::test]
async fn plans_made_while_the_tables_were_empty_use_their_indexes() {
    let home = Home::postgres(Cluster::shared()).await;
    home.ready().await.close().await;
    let scans = async |kind: &str| {
        let tables = "FROM pg_stat_user_tables WHERE relname IN ('subscriptions', 'users')";
        home.number(&format!("SELECT coalesce(sum({kind}), 0)::bigint {tables}"))
            .await
    };
    let (whole, by_index) = (scans("seq_scan").await, scans("idx_scan").await);
    let store = home.open().await;
    for number in 0..40 {
        let mut new = purchase(&number.to_string());
        new.buyer.user_id = None;
        store.subscriptions().create(new).await.unwrap();
    }
    store.close().await;
    // The server counts a connection's scans when the connection ends, a moment after it was closed here.
    while scans("idx_scan").await < by_index + 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(scans("seq_scan").await, whole);
}

const CHILD: &str = "SUREPASS_TEST_CHILD_ADDRESS";

/// Not a test of its own: the process that the next test kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_buys_until_it_is_killed() {
    let Ok(address) = std::env::var(CHILD) else { return };
    let store = store::open(&address.into(), &Options::default()).await.unwrap();
    let mut buyers = JoinSet::new();
    for buyer in 0..64 {
        let store = Arc::clone(&store);
        buyers.spawn(async move {
            for number in 0.. {
                let name = format!("{}-{buyer}-{number}", std::process::id());
                buy_and_upgrade(&store, &name).await;
                println!("\nbought {name}");
            }
        });
    }
    buyers.join_all().await;
}

#[tokio::test]
async fn a_process_killed_in_mid_batch_leaves_all_of_a_purchase_or_nothing() {
    let home = Home::sqlite();
    let store = home.ready().await;
    let mut bought = HashSet::new();
    for round in 0_usize..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store_faults::child_that_buys_until_it_is_killed",
                "--nocapture",
            ])
            .env(CHILD, home.address().expose_secret())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            if let Some(name) = line.unwrap().strip_prefix("bought ") {
                bought.insert(name.to_owned());
            }
            if bought.len() > 300 * (round + 1) {
                // SIGKILL. What it printed before that is read to the end.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        // The survivor goes on with the same file.
        buy_and_upgrade(&store, &format!("survivor-{round}")).await;
        bought.insert(format!("survivor-{round}"));
    }

    assert_eq!(
        home.number("SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'")
            .await,
        0
    );
    assert_eq!(
        home.number("SELECT count(*) FROM pragma_foreign_key_check").await,
        0
    );
    assert_eq!(home.number(UNFINISHED_UPGRADES).await, 0);
    let held = store
        .subscriptions()
        .list(&SubscriptionFilter::default(), u32::MAX)
        .await
        .unwrap();
    let sessions: HashSet<_> = held.iter().map(|one| one.stripe_session_id.as_str()).collect();
    for name in &bought {
        assert!(
            sessions.contains(format!("cs_{name}").as_str()),
            "{name} was acknowledged"
        );
        assert!(
            sessions.contains(format!("cs_{name}-new").as_str()),
            "{name}'s upgrade was acknowledged"
        );
    }
}

#[tokio::test]
async fn an_address_of_no_store_is_refused_without_showing_its_password() {
    for (address, reason) in [
        (
            "sanity://project/production",
            "`sanity://project/production` names the Sanity store, which is not built yet: use sqlite://FILE or \
             postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (
            "hunter2",
            "`hun…` has no scheme: write it as sqlite://FILE or postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (
            "mysql://me:hunter2@host/db",
            "`mysql://***@host/db` is not an address of SQLite or PostgreSQL: use sqlite://FILE or \
             postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (
            "postgres://me:hunter2@host:port/db",
            "`postgres://***@host:port/db` cannot be read: expected postgres://USER:PASSWORD@HOST:PORT/DATABASE, with what is \
             special in the password percent-encoded",
        ),
        (
            "sqlite::memory:",
            "`sqlite::memory:` names no file: write one, as in sqlite://surepass.db, since several connections share it",
        ),
    ] {
        let refused = store::open(&address.into(), &Options::default())
            .await
            .unwrap_err();
        assert_eq!(refused.to_string(), reason);
    }
    // An address that is one, of a server that is not there: neither errors nor `Debug` show the password.
    let store = store::open(
        &"postgres://me:hunter2@127.0.0.1:1/db".into(),
        &Options::default(),
    )
    .await
    .unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(!format!("{store:?} {error:?} {error}").contains("hunter2"));
    assert!(matches!(error, StoreError::Outage(_)), "{error:?}");
}
