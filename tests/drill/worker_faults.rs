//! Workers that die, freeze, and misjudge the time.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Scale;
use crate::site::{Site, hire, play, running};
use crate::tally::Tally;
use support::program::{Program, eventually};
use support::shop::{Shop, check_output};

/// Every second one of four workers is killed, in the middle of its jobs, and another one hired.
pub(crate) async fn killed(scale: Scale) -> Tally {
    let mut site = Site::open("always", 4).await;
    let mut workers = std::mem::take(&mut site.shop.workers);
    let shop = &site.shop;
    let mut dead: Vec<Program> = Vec::new();
    let customers = play(shop, scale, async |customers| {
        let mut kills = 0;
        while kills < 3 || customers.accepted.load(Ordering::Relaxed) < scale.jobs {
            dead.push(replace_one(shop, &mut workers).await);
            kills += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let tally = Tally::take(shop, &customers).await;
    for program in workers.iter().chain(&dead) {
        check_output(&program.said());
    }
    tally
}

/// Kills one of the workers, with the store locked for a moment, so that it dies with jobs in its hands; hires another, and
/// answers the dead one.
pub(crate) async fn replace_one(shop: &Shop, workers: &mut Vec<Program>) -> Program {
    let lock = shop.lock_store().await;
    running(shop, 4).await;
    let mut victim = workers.swap_remove(rand::random_range(0..workers.len()));
    victim.killed().await;
    lock.release().await;
    workers.push(hire(shop).await);
    victim
}

/// One of two workers stands still until others have its jobs, then goes on as if nothing had been.
pub(crate) async fn frozen(scale: Scale) -> Tally {
    let mut site = Site::open("always", 0).await;
    site.shop.start_worker().await;
    let shop = &site.shop;
    let worker = &shop.workers[0];
    let mut others: Vec<Program> = Vec::new();
    let customers = play(shop, scale, async |_| {
        let lock = shop.lock_store().await;
        running(shop, 4).await;
        worker.frozen().await;
        lock.release().await;
        let leases = async || -> Vec<String> {
            let all = shop
                .redis(&["ZRANGE", &shop.queue().key("lease"), "0", "-1"])
                .await;
            redis::from_redis_value(all.unwrap()).unwrap()
        };
        let theirs = leases().await;
        assert_eq!(theirs.len(), 1, "{theirs:?}");
        others.push(hire(shop).await);
        eventually("the end of its lease", async || {
            !leases().await.contains(&theirs[0])
        })
        .await;
        worker.signal(Signal::SIGCONT);
        worker.says("lease lost: its jobs run elsewhere").await;
    })
    .await;
    let tally = Tally::take(shop, &customers).await;
    check_output(&others[0].said());
    tally
}

/// One worker is 10 minutes ahead of Redis, the other behind.
pub(crate) async fn clocks_off(scale: Scale) -> Tally {
    let Some(library) = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ]
    .into_iter()
    .find(|path| Path::new(path).exists()) else {
        return Tally::skipped("libfaketime is not installed");
    };
    let mut site = Site::open("always", 0).await;
    let shop = &mut site.shop;
    shop.set("LD_PRELOAD", library);
    shop.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    shop.set("FAKETIME", "+600");
    let mut ahead = hire(shop).await;
    shop.set("FAKETIME", "-600");
    shop.start_worker().await;
    let shop = &*shop;
    let customers = play(shop, scale, async |_| {
        // A lease that ran by its worker's clock would have 10 minutes to go.
        let lock = shop.lock_store().await;
        running(shop, 4).await;
        ahead.killed().await;
        lock.release().await;
    })
    .await;
    Tally::take(shop, &customers).await
}
