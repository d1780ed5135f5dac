//! A Redis that dies, refuses, or answers nothing.

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use crate::Scale;
use crate::site::{Site, kill, play};
use crate::tally::Tally;
use support::program::eventually;
use support::proxy::Proxy;

/// Killed three times, and started again on its file after a while.
pub(crate) async fn killed(append_fsync: &'static str, scale: Scale) -> Tally {
    let mut site = Site::open(append_fsync, 2).await;
    let Site { shop, redis, .. } = &mut site;
    let shop = &*shop;
    let customers = play(shop, scale, async |customers| {
        for _ in 0..3 {
            // With the workers frozen, so that it dies with purchases that nobody else has.
            shop.signal_workers(Signal::SIGSTOP);
            customers.wait_for(&customers.accepted, 20).await;
            kill(redis).await;
            customers.wait_for(&customers.refused, 10).await;
            tokio::time::sleep(scale.outage / 3).await;
            redis.restart().await.unwrap();
            shop.signal_workers(Signal::SIGCONT);
            customers.wait_for(&customers.accepted, 40).await;
        }
    })
    .await;
    Tally::take(shop, &customers).await
}

/// Takes no writes for a while.
pub(crate) async fn refusing(how: &str, scale: Scale) -> Tally {
    let (spoil, mend): (&[&str], &[&str]) = match how {
        "out of memory" => (
            &["CONFIG", "SET", "maxmemory", "1mb"],
            &["CONFIG", "SET", "maxmemory", "0"],
        ),
        _ => (
            &["REPLICAOF", "no-such-host", "6379"],
            &["REPLICAOF", "NO", "ONE"],
        ),
    };
    let site = Site::open("always", 2).await;
    let shop = &site.shop;
    let customers = play(shop, scale, async |customers| {
        shop.redis(spoil).await.unwrap();
        customers.wait_for(&customers.refused, 10).await;
        tokio::time::sleep(scale.outage).await;
        shop.redis(mend).await.unwrap();
        customers.wait_for(&customers.accepted, 10).await;
    })
    .await;
    Tally::take(shop, &customers).await
}

/// Reads its file again, slowly, and answers `LOADING` meanwhile.
pub(crate) async fn loading(scale: Scale) -> Tally {
    let site = Site::open("always", 2).await;
    let shop = &site.shop;
    let customers = play(shop, scale, async |customers| {
        customers.wait_for(&customers.accepted, scale.jobs / 2).await;
        // Some seconds in all; it looks at its clients every 1,024 commands.
        let delay = (600_000 / scale.jobs).to_string();
        shop.redis(&["CONFIG", "SET", "key-load-delay", &delay])
            .await
            .unwrap();
        let load = async { shop.redis(&["DEBUG", "LOADAOF"]).await.unwrap() };
        let asked = async {
            eventually("LOADING", async || !matches!(shop.redis(&["PING"]).await, Err(error) if error.code() != Some("LOADING"))).await;
        };
        let bought = customers.wait_for(&customers.refused, 1);
        tokio::join!(load, asked, bought);
        shop.redis(&["CONFIG", "SET", "key-load-delay", "0"])
            .await
            .unwrap();
        customers.wait_for(&customers.accepted, 10).await;
    })
    .await;
    Tally::take(shop, &customers).await
}

/// Every connection of the programs breaks after a few thousand bytes of answers: scripts have run whose answers never
/// come.
pub(crate) async fn cut(scale: Scale) -> Tally {
    let mut site = Site::prepare("always").await;
    let proxy = Proxy::start(&site.redis, site.folder.path());
    site.shop.set("REDIS_URL", &proxy.url());
    site.shop.import_example().await;
    site.shop.start_server().await;
    for _ in 0..2 {
        site.shop.start_worker().await;
    }
    let shop = &site.shop;
    let customers = play(shop, scale, async |customers| {
        proxy.break_after(1_000);
        tokio::time::sleep(scale.outage * 2).await;
        customers.wait_for(&customers.accepted, scale.jobs / 3).await;
        assert!(proxy.broken() > 10, "only {} breaks", proxy.broken());
        proxy.break_after(0);
    })
    .await;
    site.shop.set("REDIS_URL", site.redis.url().expose_secret());
    Tally::take(&site.shop, &customers).await
}
