//! A shop whose Redis and workers can be taken down while customers buy.

use std::sync::atomic::Ordering;
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;

use crate::Scale;
use support::customers::Customers;
use support::program::{Program, eventually};
use support::shop::Shop;

/// Retries that outlast the fault, and leases that do not.
const SETTINGS: &str =
    "[queue]\nlease_seconds = 2\nbackoff_base_ms = 50\nbackoff_cap_seconds = 2\nmax_attempts = 100";

pub(crate) struct Site {
    pub(crate) shop: Shop,
    pub(crate) redis: RedisServer,
    pub(crate) folder: TempDir,
}

impl Site {
    /// With the example catalog, and no program that runs yet.
    pub(crate) async fn prepare(append_fsync: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisServerOptions {
            folder: folder.path().to_owned(),
            append_fsync: Some(append_fsync),
            debug: true,
        };
        let redis = RedisServer::start(options).await.unwrap();
        let mut shop = Shop::at(redis.url().expose_secret(), SETTINGS);
        shop.set("RUST_LOG", "info");
        Self { shop, redis, folder }
    }

    /// The same with a server and so many workers.
    pub(crate) async fn open(append_fsync: &'static str, workers: usize) -> Self {
        let mut site = Self::prepare(append_fsync).await;
        site.shop.import_example().await;
        site.shop.start_server().await;
        for _ in 0..workers {
            site.shop.start_worker().await;
        }
        site
    }
}

/// A worker that works.
pub(crate) async fn hire(shop: &Shop) -> Program {
    let worker = shop.launch_worker(&[]);
    worker.says(r#""message":"working""#).await;
    worker
}

/// Kills a Redis as a crash would.
pub(crate) async fn kill(redis: &mut RedisServer) {
    let pid = i32::try_from(redis.pid().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    redis.wait().await.unwrap();
}

/// Waits until jobs run.
pub(crate) async fn running(shop: &Shop, jobs: usize) {
    eventually("running jobs", async || shop.counts().await.running >= jobs).await;
}

/// Customers who have begun to buy; a line of progress every few seconds while `fault` is played.
pub(crate) async fn play(shop: &Shop, scale: Scale, fault: impl AsyncFnOnce(&Customers)) -> Customers {
    let customers = Customers::default();
    let played = async {
        customers.wait_for(&customers.accepted, scale.jobs / 5).await;
        Box::pin(fault(&customers)).await;
        customers.close_after(scale.jobs).await;
    };
    let progress = async {
        while !customers.closed.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            eprintln!(
                "drill:   {} accepted, {} refused",
                customers.accepted.load(Ordering::Relaxed),
                customers.refused.load(Ordering::Relaxed)
            );
        }
    };
    let playing = async { tokio::join!(customers.buy(shop), played) };
    tokio::select! {
        _ = playing => {}
        () = async { progress.await; std::future::pending().await } => {}
    }
    customers
}
