//! 3. Queued purchases to rows: the worker's own code, against a bare consumer of the same rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::fulfil::{Fulfiller, Purchase};
use surepass::queue::{Item, Origin, Queue, Redis, RedisBackend, RedisOptions};
use surepass::store::{self, Options, Store, SubscriptionFilter, Synchronous, catalog::Catalog};
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;

use crate::bare_consumer::{self, Bare};
use crate::purchase_log::PurchaseLog;
use crate::report::{Goal, Table, float, median, per_second, thousands};
use crate::{Outcome, ROUNDS, fulfil, requests, system};
use support::postgres::Cluster;

const PURCHASES: usize = 20_000;

#[derive(Clone, Copy)]
struct Home {
    name: &'static str,
    synchronous: Synchronous,
    is_postgres: bool,
    goal: Option<Goal>,
}

const HOMES: [Home; 3] = [
    Home {
        name: "SQLite, NORMAL",
        synchronous: Synchronous::Normal,
        is_postgres: false,
        goal: Some(Goal::AtLeast(50.0)),
    },
    Home {
        name: "SQLite, FULL",
        synchronous: Synchronous::Full,
        is_postgres: false,
        goal: None,
    },
    Home {
        name: "PostgreSQL",
        synchronous: Synchronous::Full,
        is_postgres: true,
        goal: None,
    },
];

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let folder = tempfile::tempdir()?;
    let redis = runtime.block_on(RedisServer::start(RedisServerOptions {
        folder: folder.path().join("redis"),
        append_fsync: None,
        debug: false,
    }))?;
    let purchases = Arc::new(requests::purchases(PURCHASES, 3)?);
    // It panics where PostgreSQL is not installed: its row is left out then, and stderr says why.
    let cluster = std::panic::catch_unwind(Cluster::start).ok();
    let mut figures = [const { (Vec::new(), Vec::new()) }; HOMES.len()];
    for round in 0..ROUNDS {
        for (home, (bare, ours)) in HOMES.iter().zip(&mut figures) {
            for is_ours in [false, true] {
                let name = format!("whole_{}_{round}_{is_ours}", home.name.len());
                let url = match (&cluster, home.is_postgres) {
                    (Some(cluster), true) => {
                        runtime.block_on(cluster.make(&name));
                        cluster.url(&name)
                    }
                    (None, true) => continue,
                    (_, false) => format!("sqlite://{}", folder.path().join(name).display()),
                };
                system::flush(runtime, &redis)?;
                let taken = if is_ours {
                    runtime.block_on(surepass(&redis, &url, home.synchronous, &purchases))?
                } else {
                    runtime.block_on(consumer(&redis, &url, home.synchronous, &purchases))?
                };
                let rate = float(u64::try_from(PURCHASES)?) / taken.as_secs_f64();
                if is_ours { ours.push(rate) } else { bare.push(rate) }
            }
        }
    }

    let mut table = Table::new("3. Whole: queued purchases to rows");
    for (home, (bare, ours)) in HOMES.iter().zip(&figures) {
        if ours.is_empty() {
            table.plain(home.name, "not installed here".to_owned());
            continue;
        }
        let (bare, ours) = (median(bare), median(ours));
        table.plain(&format!("{}: bare consumer", home.name), per_second(bare));
        table.compared(
            &format!("{}: Surepass", home.name),
            per_second(ours),
            ours / bare,
            home.goal,
        );
    }
    table.note(format!(
        "{} purchases of new buyers; two rows each. Bare: LPOP of {}, serde, one transaction of two",
        thousands(float(u64::try_from(PURCHASES)?)),
        bare_consumer::BATCH
    ));
    table.note("INSERTs, no look whether they are there. Redis: appendonly no. PostgreSQL: on this machine, fsync off.");
    runtime.block_on(redis.stop())?;
    Ok(table)
}

async fn prepared(url: &str, synchronous: Synchronous) -> Outcome<Arc<Store>> {
    let options = Options {
        synchronous,
        ..Options::default()
    };
    let store = store::open(&url.into(), &options).await?;
    store.migrate().await?;
    let sample = Catalog::parse(include_str!("../../config/catalog.example.toml"))?;
    store.catalog().import(&sample.tenants, &sample.secrets).await?;
    Ok(store)
}

/// As `workers/main.rs` has it, with the same handler.
async fn surepass(
    redis: &RedisServer,
    url: &str,
    synchronous: Synchronous,
    purchases: &[Purchase],
) -> Outcome<Duration> {
    let settings =
        Settings::load_from(|name| std::env::var(name).ok().filter(|_| name == "SUREPASS_CONFIG"))?;
    let store = prepared(url, synchronous).await?;
    let queue = Queue::new(
        &Redis::open(&redis.url(), RedisOptions::default())?,
        settings.queue_config(),
    )?;
    for chunk in purchases.chunks(500) {
        let items = chunk.iter().map(Item::job).collect::<Result<Vec<_>, _>>()?;
        queue.enqueue(&items).await?;
    }
    // As a key would say: without either, test purchases ask the store.
    let fulfiller = Arc::new(Fulfiller::new(store.clone(), Some(false), Clock::system()));
    // So that the first purchase does not pay for the connection and the catalog alone.
    store
        .subscriptions()
        .list(&SubscriptionFilter::default(), 1)
        .await?;
    let (total, done) = (purchases.len(), Arc::new(AtomicUsize::new(0)));
    let concurrency = *settings.worker.concurrency;
    let backend = RedisBackend::<Purchase>::new(
        &queue,
        &ulid::Ulid::generate().to_string(),
        concurrency,
        concurrency / 2,
    );
    let worker = WorkerBuilder::new("whole")
        .backend(backend)
        .data(fulfiller)
        .data(Arc::new(PurchaseLog::start(Clock::system())))
        .concurrency(concurrency)
        .timeout(*settings.worker.job_timeout)
        .build(
            move |purchase: Purchase,
                  fulfiller: Data<Arc<Fulfiller>>,
                  attempt: Attempt,
                  origin: Data<Origin>,
                  log: Data<Arc<PurchaseLog>>,
                  worker: WorkerContext| {
                let done = done.clone();
                async move {
                    let answer = fulfil::run(purchase, fulfiller, attempt, origin, log).await;
                    if done.fetch_add(1, Ordering::Relaxed) + 1 == total {
                        let _ = worker.stop();
                    }
                    answer
                }
            },
        );
    let begun = Instant::now();
    worker.run().await?;
    let taken = begun.elapsed();
    let counts = queue.counts().await?;
    let held = store
        .subscriptions()
        .list(&SubscriptionFilter::default(), u32::try_from(total)? + 1)
        .await?
        .len();
    if held != total || counts.waiting + counts.scheduled + counts.running + counts.dead > 0 {
        return Err(format!("{held} rows of {total}; {counts:?}").into());
    }
    store.close().await;
    Ok(taken)
}

async fn consumer(
    redis: &RedisServer,
    url: &str,
    synchronous: Synchronous,
    purchases: &[Purchase],
) -> Outcome<Duration> {
    const LIST: &str = "bare:purchases";
    let store = prepared(url, synchronous).await?;
    let mut connection = system::connect(redis).await?;
    for chunk in purchases.chunks(500) {
        let bodies = chunk
            .iter()
            .map(serde_json::to_vec)
            .collect::<Result<Vec<_>, _>>()?;
        redis::cmd("RPUSH")
            .arg(LIST)
            .arg(bodies)
            .query_async::<()>(&mut connection)
            .await?;
    }
    let mut bare = Bare::open(url, synchronous).await?;
    let begun = Instant::now();
    let taken = loop {
        let bodies = bare_consumer::take(&mut connection, LIST).await?;
        if bodies.is_empty() {
            break begun.elapsed();
        }
        let batch = bodies
            .iter()
            .map(|body| serde_json::from_slice(body))
            .collect::<Result<Vec<Purchase>, _>>()?;
        bare.insert(&batch, Clock::system().now()).await?;
    };
    let held = store
        .subscriptions()
        .list(
            &SubscriptionFilter::default(),
            u32::try_from(purchases.len())? + 1,
        )
        .await?
        .len();
    if held != purchases.len() {
        return Err(format!("{held} rows of {}", purchases.len()).into());
    }
    store.close().await;
    Ok(taken)
}
