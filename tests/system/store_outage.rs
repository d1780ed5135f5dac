//! What is wrong with the whole store buries no purchase.

use std::sync::Arc;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor};
use surepass::up::sample::SampleSession;

use support::answer::Answer;
use support::pgbouncer::PgBouncer;
use support::postgres::Cluster;
use support::program::{eventually, stderr};
use support::shop::{EXAMPLE_CATALOG, Shop};

/// Two attempts, both within a second: what counts them buries a purchase at once.
const SETTINGS: &str = "[queue]\nmax_attempts = 2\nbackoff_base_ms = 50\nbackoff_cap_seconds = 1";

#[tokio::test]
async fn a_table_that_is_away_buries_no_purchase_on_sqlite() {
    let mut shop = Shop::prepare(SETTINGS).await;
    a_table_is_away_under_load(&mut shop).await;
}

#[tokio::test]
async fn a_table_that_is_away_buries_no_purchase_on_postgres() {
    let cluster = Arc::new(Cluster::start());
    let mut shop = Shop::empty(SETTINGS).await;
    shop.set("DATABASE_URL", &cluster.url("postgres"));
    shop.import_example().await;
    a_table_is_away_under_load(&mut shop).await;
}

async fn a_table_is_away_under_load(shop: &mut Shop) {
    const PUT_OFF: &str = "put off: the store is not available";

    shop.start_server().await;
    shop.start_worker().await;
    let sessions: Vec<_> = (0..40).map(|_| shop.session()).collect();
    for (nth, session) in sessions.iter().enumerate() {
        if nth == 10 {
            run(shop, "ALTER TABLE subscriptions RENAME TO away").await;
        }
        assert_eq!(shop.buy(session).await, Answer::accepted());
    }
    let worker = &shop.workers[0];
    worker.says("purchases wait in the queue and none is lost").await;
    eventually("three tries of each", async || {
        worker.said().matches(PUT_OFF).count() >= 3 * 30
    })
    .await;
    let (status, ready) = readyz(shop).await;
    assert_eq!((status, &ready["store"]), (503, &"no answer".into()));
    assert!(
        ready["cause"].as_str().unwrap().contains("subscriptions"),
        "{ready}"
    );

    run(shop, "ALTER TABLE away RENAME TO subscriptions").await;
    shop.settled().await;
    shop.workers[0].says("the store is available again").await;
    // A look serves for a second.
    eventually("a worker that is ready", async || readyz(shop).await.0 == 200).await;
    assert_eq!(shop.counts().await.dead, 0);
    let mut bought: Vec<_> = sessions.iter().map(SampleSession::session_id).collect();
    bought.sort();
    assert_eq!(shop.fulfilled().await, bought);
}

async fn readyz(shop: &Shop) -> (u16, Value) {
    let line = shop.workers[0].says("listening: GET /metrics").await;
    let line: Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}/readyz", line["address"].as_str().unwrap());
    let answer = surepass::http_client::http()
        .build()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Runs a statement past our programs.
pub(crate) async fn run(shop: &Shop, sql: &str) {
    let (sql, address) = (AssertSqlSafe(sql.to_owned()), shop.setting("DATABASE_URL"));
    if address.starts_with("sqlite:") {
        let mut connection = sqlx::SqliteConnection::connect(address).await.unwrap();
        connection.execute("PRAGMA busy_timeout = 20000").await.unwrap();
        connection.execute(sql).await.unwrap();
    } else {
        let mut connection = sqlx::PgConnection::connect(address).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

#[tokio::test]
async fn sixty_purchases_at_once_through_pgbouncer_are_all_fulfilled() {
    let cluster = Arc::new(Cluster::start());
    let Some(bouncer) = PgBouncer::start((cluster.port, cluster.user), "") else {
        return;
    };
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &bouncer.url("postgres"));
    shop.import_example().await;
    shop.start_server().await;
    shop.start_worker().await;
    let sessions: Vec<_> = (0..60).map(|_| shop.session()).collect();
    let bought = futures::future::join_all(sessions.iter().map(|session| shop.buy(session))).await;
    assert_eq!(bought, vec![Answer::accepted(); 60]);
    shop.settled().await;
    assert_eq!(shop.counts().await.dead, 0);
    assert_eq!(shop.fulfilled().await.len(), 60);
    assert!(!shop.workers[0].said().contains("WARN"));
}

#[tokio::test]
async fn programs_refuse_older_tables_by_naming_the_cure_and_take_newer_ones_that_only_add() {
    let mut shop = Shop::prepare("").await;
    run(
        &shop,
        "UPDATE _sqlx_migrations SET version = 9000 WHERE version = 10",
    )
    .await;
    for mut program in [shop.launch_worker(&[]), shop.launch_server()] {
        program.says("run `surepass migrate`").await;
        assert_eq!(program.ended().await.code(), Some(1));
        shop.bury(program);
    }
    let refused = shop.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
    assert!(
        stderr(&refused).contains("run `surepass migrate`"),
        "{}",
        stderr(&refused)
    );

    run(
        &shop,
        "INSERT INTO _sqlx_migrations SELECT 10, description, installed_on, success, checksum, execution_time \
         FROM _sqlx_migrations WHERE version = 9000",
    )
    .await;
    shop.start_server().await;
    shop.start_worker().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
}
