//! A master, two replicas, and three sentinels.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use surepass::queue::JobEvents;
use tempfile::TempDir;

use crate::topologies::job_events::heard;
use support::customers::Customers;
use support::program::{PATIENCE, eventually};
use support::redis_node::{Node, free_port};
use support::shop::Shop;

struct Watched {
    /// The first of them is the master at first.
    servers: Vec<Node>,
    sentinels: Vec<Node>,
    _folder: TempDir,
}

impl Watched {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let master = free_port().to_string();
        let quick = ["--repl-diskless-sync-delay", "0"];
        let mut servers = vec![Node::start(folder.path(), master.parse().unwrap(), &quick)];
        servers[0].until(&["PING"], |pong: &String| pong == "PONG").await;
        for _ in 0..2 {
            let replica = ["--replicaof", "127.0.0.1", &master];
            servers.push(Node::start(
                folder.path(),
                free_port(),
                &[&quick[..], &replica[..]].concat(),
            ));
        }
        let both = |info: &String| info.contains("connected_slaves:2") && !info.contains("state=wait");
        servers[0].until(&["INFO", "replication"], both).await;
        let sentinels: Vec<Node> = (0..3)
            .map(|_| {
                let port = free_port();
                let own = folder.path().join(port.to_string());
                std::fs::create_dir(&own).unwrap();
                let lines = format!(
                    "sentinel monitor shop 127.0.0.1 {master} 2\n\
                     sentinel down-after-milliseconds shop 1000\n\
                     sentinel failover-timeout shop 5000\n"
                );
                std::fs::write(own.join("redis.conf"), lines).unwrap();
                Node::start(folder.path(), port, &["--sentinel"])
            })
            .collect();
        let all = Self {
            servers,
            sentinels,
            _folder: folder,
        };
        all.until_whole().await;
        all
    }

    /// Waits until each sentinel knows the others and two replicas that are well.
    async fn until_whole(&self) {
        for sentinel in &self.sentinels {
            let knows = |master: &HashMap<String, String>| {
                (
                    master["num-slaves"].as_str(),
                    master["num-other-sentinels"].as_str(),
                ) == ("2", "2")
            };
            sentinel.until(&["SENTINEL", "MASTER", "shop"], knows).await;
            let well = |replicas: &Vec<HashMap<String, String>>| {
                replicas
                    .iter()
                    .all(|replica| replica["flags"] == "slave" && replica["master-link-status"] == "ok")
            };
            sentinel.until(&["SENTINEL", "REPLICAS", "shop"], well).await;
        }
    }

    fn url(&self, replicas: usize) -> String {
        let addresses: Vec<String> = self.sentinels.iter().map(Node::address).collect();
        format!(
            "redis+sentinel://{}/shop?replicas={replicas}",
            addresses.join(",")
        )
    }

    /// The port of the master, by what a sentinel says.
    async fn master(&self) -> u16 {
        let (_, port): (String, u16) = self.sentinels[0]
            .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"])
            .await;
        port
    }

    async fn until_master_is_not(&self, port: u16) {
        eventually("another master", async || self.master().await != port).await;
    }
}

/// A shop without any program that runs yet.
pub(crate) async fn prepare(redis_url: &str) -> Shop {
    let mut shop = Shop::at(redis_url, "[queue]\nlease_seconds = 3\nbackoff_base_ms = 50");
    shop.set("RUST_LOG", "info");
    shop.import_example().await;
    shop
}

/// A shop with one server and two workers.
pub(crate) async fn open(redis_url: &str) -> Shop {
    let mut shop = prepare(redis_url).await;
    shop.start_server().await;
    for _ in 0..2 {
        shop.start_worker().await;
    }
    shop
}

#[tokio::test]
async fn the_master_killed_under_load_is_replaced_and_nothing_acknowledged_is_lost_or_doubled() {
    let mut redis = Watched::start().await;
    let shop = open(&redis.url(1)).await;
    let customers = Customers::default();
    let failover = async {
        customers.wait_for(&customers.accepted, 100).await;
        let old = redis.master().await;
        assert_eq!(old, redis.servers[0].port);
        // With the workers frozen, so that it dies with purchases that nobody else has.
        shop.signal_workers(Signal::SIGSTOP);
        customers.wait_for(&customers.accepted, 20).await;
        redis.servers[0].kill().await;
        redis.until_master_is_not(old).await;
        shop.signal_workers(Signal::SIGCONT);
        customers.wait_for(&customers.accepted, 100).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), failover);
    assert!(customers.refused.load(Ordering::Relaxed) > 0);
    customers.assert_answered_200_or_503();
    // Beside other tests a 503 came a second after the failover once: the sentinels may not be done.
    customers.all_get_their_passes(&shop, 0, PATIENCE).await;
}

#[tokio::test]
async fn a_failover_while_the_old_master_lives_is_followed_at_once_and_nothing_acknowledged_is_lost_or_doubled()
 {
    let redis = Watched::start().await;
    // The old master takes writes until it is told; only what both replicas have is then on the new one for sure.
    let shop = open(&redis.url(2)).await;
    let customers = Customers::default();
    let failover = async {
        customers.wait_for(&customers.accepted, 60).await;
        let old = redis.master().await;
        let _: () = redis.sentinels[1].ask(&["SENTINEL", "FAILOVER", "shop"]).await;
        redis.until_master_is_not(old).await;
        customers.wait_for(&customers.accepted, 60).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), failover);
    customers.assert_answered_200_or_503();
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}

#[tokio::test]
async fn who_waits_for_a_job_hears_of_it_after_failovers_too_also_where_the_old_master_only_fell_silent() {
    let redis = Watched::start().await;
    let shop = open(&redis.url(0)).await;
    let events = JobEvents::of(&shop.queue());
    heard(&events, &shop).await;
    let old = redis.master().await;
    let _: () = redis.sentinels[1].ask(&["SENTINEL", "FAILOVER", "shop"]).await;
    redis.until_master_is_not(old).await;
    heard(&events, &shop).await;
    redis.until_whole().await;
    let frozen = redis.master().await;
    let node = redis.servers.iter().find(|node| node.port == frozen).unwrap();
    node.signal(Signal::SIGSTOP);
    redis.until_master_is_not(frozen).await;
    heard(&events, &shop).await;
    node.signal(Signal::SIGCONT);
}
