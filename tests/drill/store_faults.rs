//! A store without room, and one that is slow and then gone.

use std::sync::Arc;

use nix::sys::signal::Signal;
use sqlx::{Connection, Executor, PgConnection};

use crate::Scale;
use crate::site::{Site, hire, play};
use crate::tally::Tally;
use support::postgres::Cluster;
use support::program::{WORKER, eventually};

/// The worker may write no file beyond 400 blocks of 512 bytes: what SQLite meets then is what a full disk gives it.
const FULL: &str = "trap '' XFSZ; ulimit -f 400; exec \"$0\"";

pub(crate) async fn disk_full(scale: Scale) -> Tally {
    let mut site = Site::open("always", 0).await;
    let full = site.shop.launch("/bin/sh", &["-c", FULL, &WORKER]);
    full.says(r#""message":"working""#).await;
    site.shop.workers.push(full);
    let shop = &site.shop;
    let customers = play(shop, scale, async |customers| {
        eventually("purchases that find no room", async || {
            shop.counts().await.scheduled >= 10
        })
        .await;
        tokio::time::sleep(scale.outage).await;
        customers.wait_for(&customers.accepted, 20).await;
    })
    .await;
    // Somebody makes room.
    shop.workers[0].signal(Signal::SIGTERM);
    let roomy = hire(shop).await;
    let tally = Tally::take(shop, &customers).await;
    drop(roomy);
    tally
}

pub(crate) async fn gone(scale: Scale) -> Tally {
    let cluster = Arc::new(Cluster::start());
    cluster.make("shop").await;
    let mut site = Site::prepare("always").await;
    site.shop.set("DATABASE_URL", &cluster.url("shop"));
    site.shop.import_example().await;
    site.shop.start_server().await;
    for _ in 0..2 {
        site.shop.start_worker().await;
    }
    let shop = &site.shop;
    let customers = play(shop, scale, async |customers| {
        // Slow: every write waits for a lock.
        let mut connection = PgConnection::connect(&cluster.url("shop")).await.unwrap();
        connection
            .execute("BEGIN; LOCK TABLE subscriptions IN ACCESS EXCLUSIVE MODE")
            .await
            .unwrap();
        tokio::time::sleep(scale.outage / 2).await;
        cluster.kill();
        tokio::time::sleep(scale.outage).await;
        customers.wait_for(&customers.accepted, 20).await;
        cluster.run_server();
        customers.wait_for(&customers.accepted, 20).await;
    })
    .await;
    Tally::take(shop, &customers).await
}
