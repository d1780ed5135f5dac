//! Rolling deploys: an old worker meets jobs of kinds and versions that only a newer one knows.

use std::time::Duration;

use apalis::prelude::*;
use surepass::queue::{DecodeError, Enqueued, Item, Job, Origin, RedisBackend};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, Size, World, began, ended, ok, quick, work};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// What `Work` is from its second version on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Newer(String);

impl Job for Newer {
    fn kind(&self) -> &'static str {
        "work"
    }

    fn version(&self) -> u32 {
        2
    }

    fn key(&self) -> Option<String> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&[&self.0])
    }

    fn decode(_: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(match version {
            1 => serde_json::from_slice(payload)?,
            _ => serde_json::from_slice::<[String; 1]>(payload)?.concat(),
        }))
    }
}

type Seen = (String, usize, Origin);

async fn newer(job: Newer, attempt: Attempt, origin: Data<Origin>, told: Data<mpsc::UnboundedSender<Seen>>) {
    let _ = told.send((job.0, attempt.current(), Origin::clone(&origin)));
}

/// Runs a worker of the newer program until it has seen `jobs`.
async fn deploy(world: &World, jobs: usize) -> Vec<Seen> {
    let (sender, mut told) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let worker = WorkerBuilder::new("newer")
        .backend(RedisBackend::<Newer>::new(&world.queue, "newer", 1, 0))
        .data(sender)
        .build(newer);
    let running = tokio::spawn(worker.run_until(async move {
        asked.cancelled().await;
        Ok::<(), std::io::Error>(())
    }));
    let mut seen = Vec::new();
    while seen.len() < jobs {
        let next = tokio::time::timeout(PATIENCE, told.recv()).await;
        seen.push(next.expect("the newer worker told nothing").unwrap());
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_worker_that_meets_a_payload_version_it_does_not_know_leaves_it_to_a_newer_one_uncounted() {
    let world = World::new(quick()).await;
    let mut old = world.hire("old", Size::of(1, 0), ok());
    let item = Item::job(&Newer("new".to_owned()))
        .unwrap()
        .group("studio")
        .trace(TRACE);
    assert_eq!(world.enqueue(item).await, Enqueued::New);
    world.enqueue(work("known")).await;
    assert_eq!(old.until_ended(1).await, [began("known", 1), ended("known", 1)]);
    // Not lost, not dead, and it does not go round and round.
    world.until_counts([0, 1, 0, 0]).await;
    assert_eq!(world.queue.errors("new").await.unwrap(), [""; 0]);
    let seen = deploy(&world, 1).await;
    let [(id, attempt, origin)] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!((id.as_str(), *attempt), ("new", 1));
    assert_eq!(origin.group.as_deref(), Some("studio"));
    assert_eq!(origin.trace.as_deref(), Some(TRACE));
    world.until_counts([0, 0, 0, 0]).await;
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_that_no_worker_knows_for_long_is_dead_and_a_newer_payload_may_revive_it() {
    let mut config = quick();
    config.leave_unknown = Duration::from_millis(1_500);
    let world = World::new(config).await;
    let data = world.queue.key("data:odd");
    let _: () = world
        .ask(&["SET", &data, "dance/1 - - 1700000000000 0 0\n[]"])
        .await;
    let _: () = world.ask(&["RPUSH", &world.queue.key("wait"), "odd"]).await;
    let worker = world.hire("w", Size::of(1, 0), ok());
    // It comes back once, and is dead the second time.
    world.until_counts([0, 1, 0, 0]).await;
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(
        world.queue.death("odd").await.unwrap().as_deref(),
        Some("unknown_kind")
    );
    assert_eq!(world.queue.errors("odd").await.unwrap().len(), 1);
    assert_eq!(world.enqueue(work("odd").revive()).await, Enqueued::New);
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_payloads_are_read_those_of_before_there_were_versions_too() {
    let world = World::new(quick()).await;
    world.enqueue(work("one")).await;
    let data = world.queue.key("data:none");
    let _: () = world
        .ask(&["SET", &data, "work 1700000000000 4 0\n\"none\""])
        .await;
    let _: () = world.ask(&["RPUSH", &world.queue.key("wait"), "none"]).await;
    let seen = deploy(&world, 2).await;
    let told: Vec<_> = seen
        .iter()
        .map(|(id, attempt, _)| (id.as_str(), *attempt))
        .collect();
    assert_eq!(told, [("one", 1), ("none", 5)]);
    world.until_counts([0, 0, 0, 0]).await;
}
