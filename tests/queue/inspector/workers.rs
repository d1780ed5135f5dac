//! Who works.

use std::time::Duration;

use surepass::queue::inspector::WorkerStatus;

use crate::inspector::fixture::Fixture;
use crate::world::{PATIENCE, Size, World, hang, short_lease, work};
use surepass::queue::inspector::Inspector;

async fn until(inspector: &Inspector, fits: impl Fn(&[WorkerStatus]) -> bool) -> Vec<WorkerStatus> {
    let mut last = Vec::new();
    let waiting = async {
        loop {
            last = inspector.workers().await.unwrap();
            if fits(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(came.is_ok(), "{last:?}");
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_registered_with_host_version_queues_concurrency_running_jobs_and_last_heartbeat() {
    let world = World::new(short_lease()).await;
    let inspector = Inspector::new(vec![world.queue.clone()]);
    world.enqueue(work("held")).await;
    let worker = world.hire("w", Size::of(3, 0), hang());
    let seen = until(&inspector, |all| all.len() == 1 && all[0].running == 1).await;
    let one = &seen[0];
    assert_eq!((one.name.as_str(), one.dead, one.concurrency), ("w", false, 3));
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert_eq!((one.host.as_str(), one.pid), (host.as_str(), std::process::id()));
    assert_eq!(one.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(one.queues.iter().collect::<Vec<_>>(), ["fulfil"]);
    let (started, heard) = (one.started, one.last_heartbeat);
    assert!(started <= heard && heard <= one.now);
    let later = until(&inspector, |all| all[0].last_heartbeat > heard).await;
    assert_eq!(later[0].started, started);
    // Dead is shown as dead; an hour later it is forgotten, by the list and by Redis.
    worker.crash().await;
    until(&inspector, |all| all.len() == 1 && all[0].dead).await;
    let key = world.queue.key("workers");
    let entry: String = world.ask(&["HGET", &key, "w"]).await;
    let about = entry.splitn(3, ' ').nth(2).unwrap();
    let hour_ago = later[0].now - 3_700_000;
    let entry = format!("{hour_ago} {hour_ago} {about}");
    let _: i64 = world.ask(&["HSET", &key, "w", &entry]).await;
    assert_eq!(inspector.workers().await.unwrap(), []);
    let next = world.hire("next", Size::of(1, 0), hang());
    until(&inspector, |all| all.len() == 1 && all[0].name == "next").await;
    // Each renewal looks at a part of them.
    let forgotten = async {
        while world.ask::<i64>(&["HEXISTS", &key, "w"]).await == 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let forgotten = tokio::time::timeout(PATIENCE, forgotten).await;
    assert!(forgotten.is_ok());
    next.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stops_in_good_order_is_forgotten_at_once() {
    let world = World::new(short_lease()).await;
    let inspector = Inspector::new(vec![world.queue.clone()]);
    let worker = world.hire("w", Size::of(1, 0), crate::world::ok());
    until(&inspector, |all| all.len() == 1).await;
    worker.stop().await;
    assert_eq!(inspector.workers().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_worker_is_an_empty_list() {
    let office = Fixture::open().await;
    assert_eq!(office.inspector.workers().await.unwrap(), []);
}
