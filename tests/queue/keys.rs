//! Fault 13: a cluster cannot work, for an undeclared key lies under another slot.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use surepass::queue::{JobError, Queue, Redis, RedisOptions};

use crate::world::{Size, World, act, quick, work};

/// Fails once, then succeeds; `dead` dies.
fn moody() -> crate::world::Act {
    act(|job, attempt| async move {
        match (job.0.as_str(), attempt) {
            ("dead", _) => Err(JobError::fail("no", "no").into()),
            (_, 1) => Err(JobError::retry("away", "away").into()),
            _ => Ok(()),
        }
    })
}

fn items() -> [surepass::queue::Item; 3] {
    [
        work("dead"),
        work("{other}tag").dedupe("event:evt_{1}".to_owned(), Duration::from_mins(1)),
        work("third").log(b"header".to_vec(), b"body".to_vec()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_13_every_key_of_a_queue_carries_one_hash_tag() {
    let world = World::new(quick()).await;
    let mut worker = world.hire("w", Size::of(2, 0), moody());
    world.queue.enqueue(&items()).await.unwrap();
    worker.until_ended(5).await;
    let keys: Vec<String> = world.ask(&["KEYS", "*"]).await;
    assert!(keys.len() >= 6, "{keys:?}");
    for key in keys {
        assert!(key.starts_with("{surepass:fulfil}:"), "{key}");
    }
    worker.stop().await;
}

/// A Redis in cluster mode that serves every slot: it refuses a script that leaves the slot of its keys.
struct ClusterNode {
    process: Child,
    port: u16,
}

impl Drop for ClusterNode {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl ClusterNode {
    async fn start(folder: &std::path::Path, program: &std::path::Path) -> Self {
        // The bus takes the port 10,000 above.
        let port = (20_000..50_000)
            .step_by(37)
            .find(|port| {
                std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()
                    && std::net::TcpListener::bind(("127.0.0.1", *port + 10_000)).is_ok()
            })
            .unwrap();
        let process = Command::new(program)
            .args([
                "--cluster-enabled",
                "yes",
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--port",
            ])
            .arg(port.to_string())
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let node = Self { process, port };
        let client = redis::Client::open(node.url()).unwrap();
        let mut connection = loop {
            match client.get_multiplexed_async_connection().await {
                Ok(connection) => break connection,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let _: () = redis::cmd("CLUSTER")
            .arg("ADDSLOTSRANGE")
            .arg(0)
            .arg(16_383)
            .query_async(&mut connection)
            .await
            .unwrap();
        loop {
            let info: String = redis::cmd("CLUSTER")
                .arg("INFO")
                .query_async(&mut connection)
                .await
                .unwrap();
            if info.contains("cluster_state:ok") {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_13_a_node_of_a_cluster_accepts_every_script() {
    let world = World::new(quick()).await;
    let node = ClusterNode::start(world.folder(), world.server.program()).await;
    let redis = Redis::open(&node.url().into(), RedisOptions::default()).unwrap();
    let mut config = crate::world::short_lease();
    config.keep_dead = Duration::ZERO;
    config.keep_done = Duration::ZERO;
    let queue = Queue::new(&redis, config).unwrap();
    queue.enqueue(&items()).await.unwrap();
    // Enqueue, claim, settle, renew, reap, resync, retry, trim: each has been called when this is over.
    let mut dying = crate::world::hire(&queue, "dying", Size::of(1, 2), crate::world::hang());
    dying.next().await;
    dying.crash().await;
    let mut worker = crate::world::hire(&queue, "w", Size::of(2, 0), moody());
    let mut ended = 0;
    while ended < 2 {
        // The attempt that the crash took was the first.
        let told = worker.next().await;
        ended += usize::from(matches!(&told, crate::world::Told::Ended(id, 2) if id != "dead"));
    }
    while queue.death("dead").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    worker.stop().await;
    queue.retry(&["dead".to_owned()]).await.unwrap();
    assert!(queue.trim().await.unwrap() >= 2);
    let counts = queue.counts().await.unwrap();
    assert_eq!((counts.waiting, counts.running, counts.dead), (1, 0, 0));
}
