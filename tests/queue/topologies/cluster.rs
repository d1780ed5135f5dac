//! A cluster of three masters.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::Signal;
use surepass::queue::JobEvents;
use surepass::up::sample::SampleSession;
use tempfile::TempDir;

use crate::topologies::job_events::heard;
use crate::topologies::sentinel::{open, prepare};
use support::customers::Customers;
use support::program::eventually;
use support::redis_node::{Node, free_port};

/// Each node has its share of the slots.
const SHARES: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
/// A key whose slot is that of all keys of the queue.
const KEY: &str = "{surepass:fulfil}:wait";

struct Cluster {
    /// The masters first.
    nodes: Vec<Node>,
    folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        for (from, to) in SHARES {
            cluster.add().await;
            let _: () = cluster.last().ask(&["CLUSTER", "ADDSLOTSRANGE", from, to]).await;
        }
        cluster.until_whole().await;
        cluster
    }

    fn last(&self) -> &Node {
        self.nodes.last().unwrap()
    }

    /// One more node, which has met the others.
    async fn add(&mut self) {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1500",
            "--repl-diskless-sync-delay",
            "0",
        ];
        let node = Node::start(self.folder.path(), free_port(), &arguments);
        if let Some(first) = self.nodes.first() {
            let port = first.port.to_string();
            let _: () = node.ask(&["CLUSTER", "MEET", "127.0.0.1", &port]).await;
        }
        self.nodes.push(node);
        let all = self.nodes.len().to_string();
        for node in &self.nodes {
            let met = |info: &String| info.contains(&format!("cluster_known_nodes:{all}\r\n"));
            node.until(&["CLUSTER", "INFO"], met).await;
        }
    }

    async fn until_whole(&self) {
        for node in &self.nodes {
            let whole = |info: &String| info.contains("cluster_state:ok");
            node.until(&["CLUSTER", "INFO"], whole).await;
        }
    }

    /// Two replicas of a node.
    async fn replicate(&mut self, master: usize) {
        let id = self.id(master).await;
        for _ in 0..2 {
            self.add().await;
            // It learns who is a master a moment after it has met them.
            let knows = |nodes: &String| {
                nodes
                    .lines()
                    .any(|line| line.starts_with(&id) && line.contains('-'))
            };
            self.last().until(&["CLUSTER", "NODES"], knows).await;
            let _: () = self.last().ask(&["CLUSTER", "REPLICATE", &id]).await;
        }
        let both = |info: &String| info.contains("connected_slaves:2") && !info.contains("state=wait");
        self.nodes[master].until(&["INFO", "replication"], both).await;
    }

    async fn id(&self, node: usize) -> String {
        self.nodes[node].ask(&["CLUSTER", "MYID"]).await
    }

    /// Which node has the queue, by what another says.
    async fn home(&self, asked: usize) -> u16 {
        let slot: u16 = self.nodes[asked].ask(&["CLUSTER", "KEYSLOT", KEY]).await;
        let shares: Vec<(u16, u16, Vec<redis::Value>)> = self.nodes[asked]
            .ask::<Vec<Vec<redis::Value>>>(&["CLUSTER", "SLOTS"])
            .await
            .into_iter()
            .map(|share| {
                let mut share = share.into_iter();
                let mut number = || redis::from_redis_value(share.next().unwrap()).unwrap();
                let (from, to) = (number(), number());
                (from, to, redis::from_redis_value(share.next().unwrap()).unwrap())
            })
            .collect();
        let (_, _, node) = shares
            .into_iter()
            .find(|(from, to, _)| (*from..=*to).contains(&slot))
            .unwrap();
        redis::from_redis_value(node[1].clone()).unwrap()
    }

    fn index(&self, port: u16) -> usize {
        self.nodes.iter().position(|node| node.port == port).unwrap()
    }

    fn url(&self, replicas: usize) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(Node::address).collect();
        format!("redis+cluster://{}?replicas={replicas}", addresses.join(","))
    }

    async fn slot(&self) -> String {
        let slot: u16 = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", KEY]).await;
        slot.to_string()
    }

    async fn set_slot(&self, node: usize, state: &str, id: &str) {
        let slot = self.slot().await;
        let _: () = self.nodes[node]
            .ask(&["CLUSTER", "SETSLOT", &slot, state, id])
            .await;
    }

    /// Begins to move the queue's slot from one node to another: no key has moved yet.
    async fn open_slot(&self, from: usize, to: usize) {
        self.set_slot(to, "IMPORTING", &self.id(from).await).await;
        self.set_slot(from, "MIGRATING", &self.id(to).await).await;
    }

    async fn move_keys(&self, from: usize, to: usize, keys: &[String]) {
        let port = self.nodes[to].port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        let _: () = self.nodes[from].ask(&words).await;
    }

    /// Moves all keys that are left, a few at a time, and says so to all.
    async fn finish_slot(&self, from: usize, to: usize) {
        let slot = self.slot().await;
        loop {
            let keys: Vec<String> = self.nodes[from]
                .ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "7"])
                .await;
            if keys.is_empty() {
                break;
            }
            self.move_keys(from, to, &keys).await;
        }
        let id = self.id(to).await;
        for node in [to, from, 3 - to - from] {
            self.set_slot(node, "NODE", &id).await;
        }
    }
}

#[tokio::test]
async fn the_slot_of_the_queue_moves_to_another_node_of_a_cluster_under_load_and_nothing_is_lost_or_doubled()
{
    let cluster = Cluster::start().await;
    let shop = open(&cluster.url(0)).await;
    let customers = Customers::default();
    let moving = async {
        for _ in 0..3 {
            customers.wait_for(&customers.accepted, 60).await;
            let home = cluster.index(cluster.home(0).await);
            cluster.open_slot(home, (home + 1) % 3).await;
            cluster.finish_slot(home, (home + 1) % 3).await;
        }
        customers.wait_for(&customers.accepted, 60).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), moving);
    customers.assert_answered_200_or_503();
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}

#[tokio::test]
async fn a_claim_while_the_slot_of_the_queue_is_half_moved_takes_nothing_and_so_loses_nothing() {
    let cluster = Cluster::start().await;
    let mut shop = prepare(&cluster.url(0)).await;
    shop.start_server().await;
    let home = cluster.index(cluster.home(0).await);
    let to = (home + 1) % 3;
    let node = &cluster.nodes[home];
    let sessions: Vec<_> = (0..6).map(|_| shop.session()).collect();
    for session in &sessions {
        assert_eq!(shop.buy(session).await.status, 200);
    }
    // Every key that a claim names is there, so nothing but the jobs' own data is missing.
    let queue = shop.queue();
    let others = ["sched", "lease", "dead"].map(|name| queue.key(name));
    for key in &others {
        let _: i64 = node.ask(&["ZADD", key, "1e15", "somebody"]).await;
    }
    cluster.open_slot(home, to).await;
    let data = |n: usize| queue.key(&format!("data:fulfil:{}", sessions[n].session_id()));
    cluster.move_keys(home, to, &[data(1), data(4)]).await;
    let worker = shop.launch_worker(&[]);
    worker.says("no jobs from Redis").await;
    let waiting: usize = node.ask(&["LLEN", &queue.key("wait:tenant-1")]).await;
    assert_eq!(waiting, 6);
    cluster.finish_slot(home, to).await;
    for key in &others {
        let _: i64 = cluster.nodes[to].ask(&["ZREM", key, "somebody"]).await;
    }
    shop.workers.push(worker);
    shop.worked_off().await;
    let expected: Vec<_> = sessions.iter().map(SampleSession::session_id).collect();
    assert_eq!(shop.fulfilled().await, expected);
}

#[tokio::test]
async fn a_node_of_a_cluster_killed_under_load_is_replaced_and_nothing_acknowledged_is_lost_or_doubled() {
    let mut cluster = Cluster::start().await;
    let home = cluster.index(cluster.home(0).await);
    cluster.replicate(home).await;
    let shop = open(&cluster.url(1)).await;
    let customers = Customers::default();
    let port = cluster.nodes[home].port;
    let asked = (home + 1) % 3;
    let failover = async {
        customers.wait_for(&customers.accepted, 100).await;
        // With the workers frozen, so that it dies with purchases that nobody else has.
        shop.signal_workers(Signal::SIGSTOP);
        customers.wait_for(&customers.accepted, 20).await;
        cluster.nodes[home].kill().await;
        eventually("another master", async || cluster.home(asked).await != port).await;
        shop.signal_workers(Signal::SIGCONT);
        customers.wait_for(&customers.accepted, 100).await;
        customers.closed.store(true, Ordering::Relaxed);
    };
    tokio::join!(customers.buy(&shop), failover);
    assert!(customers.refused.load(Ordering::Relaxed) > 0);
    customers.assert_answered_200_or_503();
    customers.all_get_their_passes(&shop, 0, Duration::ZERO).await;
}

#[tokio::test]
async fn who_waits_for_a_job_hears_of_it_wherever_the_slot_of_the_queue_has_moved() {
    let cluster = Cluster::start().await;
    let shop = open(&cluster.url(0)).await;
    let events = JobEvents::of(&shop.queue());
    for _ in 0..3 {
        heard(&events, &shop).await;
        let home = cluster.index(cluster.home(0).await);
        cluster.open_slot(home, (home + 1) % 3).await;
        cluster.finish_slot(home, (home + 1) % 3).await;
    }
    heard(&events, &shop).await;
}
