//! PostgreSQL behind `PgBouncer` in transaction mode, which other programs use, too.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Executor, PgConnection, Row};
use surepass::store::{self, Created, Options, SubscriptionFilter, WebhookSecrets};
use tokio::task::JoinSet;

use crate::store_faults::buy_and_upgrade;
use support::home::Home;
use support::pgbouncer::PgBouncer;
use support::postgres::Cluster;
use support::purchases::{purchase, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_pgbouncer_all_purchases_are_stored_and_nothing_is_left_in_its_sessions() {
    behind("").await;
}

/// It then takes the options of a session, and loses them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_pgbouncer_that_ignores_options_all_purchases_are_stored() {
    behind("ignore_startup_parameters = options").await;
}

async fn behind(settings: &str) {
    let home = Home::postgres(Arc::new(Cluster::start())).await;
    let Home::Postgres { cluster, database } = &home else {
        unreachable!()
    };
    let Some(bouncer) = PgBouncer::start((cluster.port, cluster.user), settings) else {
        return;
    };
    let url = bouncer.url(database);
    // Several programs: their tables made at once, each with its own connections.
    let mut programs = Vec::new();
    for _ in 0..3 {
        programs.push(
            store::open(&url.as_str().into(), &Options::default())
                .await
                .unwrap(),
        );
    }
    let made = programs
        .iter()
        .map(|store| store::make_tables(store.as_ref(), false));
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    let tenants = [tenant("studio"), tenant("other")];
    programs[0]
        .catalog()
        .import(&tenants, &WebhookSecrets::new())
        .await
        .unwrap();

    let mut buyers = JoinSet::new();
    for number in 0..60 {
        let store = Arc::clone(&programs[number % 3]);
        buyers.spawn(async move {
            buy_and_upgrade(&store, &number.to_string()).await;
            let mut guest = purchase(&format!("guest-{number}"));
            guest.buyer.user_id = None;
            let created = store.subscriptions().create(guest).await;
            assert!(matches!(created, Ok(Created::New { .. })), "{created:?}");
            assert_eq!(store.catalog().all().await.unwrap().len(), 2);
            store.lookback().count_sessions("none").await.unwrap();
            store.try_write().await.unwrap();
        });
    }
    buyers.join_all().await;
    let all = programs[0]
        .subscriptions()
        .list(&SubscriptionFilter::default(), 1_000)
        .await
        .unwrap();
    assert_eq!(all.len(), 3 * 60);
    for store in &programs {
        assert_eq!(store.outage(), None);
    }

    // All eight of its sessions, each held by one of another program's transactions.
    let mut others = Vec::new();
    for _ in 0..8 {
        let options: PgConnectOptions = url.parse().unwrap();
        let mut other: PgConnection = options.extra_float_digits(None).connect().await.unwrap();
        other.execute("BEGIN").await.unwrap();
        others.push(other);
    }
    for other in &mut others {
        let row = other
            .fetch_one(
                "SELECT current_setting('enable_seqscan') || current_setting('statement_timeout') \
                 || (SELECT count(*) FROM pg_prepared_statements) \
                 || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')",
            )
            .await
            .unwrap();
        assert_eq!(row.get::<String, _>(0), "on000");
    }
}
