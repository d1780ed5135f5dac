//! What is counted where no worker is left to count it.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use redis::AsyncCommands;
use surepass::queue::Exposition;

use crate::world::{Size, World, began, hang, ok, quick, short_lease, work};

async fn page(exposition: &Exposition) -> String {
    let mut registry = Registry::default();
    exposition.register(&mut registry).await;
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

#[tokio::test]
async fn a_job_that_kills_its_worker_3_times_is_counted_as_poison() {
    let world = World::new(short_lease()).await;
    let exposition = Exposition::new([&world.queue]).unwrap();
    world.enqueue(work("deadly")).await;
    for (attempt, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut worker = world.hire(name, Size::of(1, 0), hang());
        assert_eq!(worker.next().await, began("deadly", attempt));
        worker.crash().await;
    }
    let worker = world.hire("d", Size::of(1, 0), ok());
    world.until_counts([0, 0, 0, 1]).await;
    let page = page(&exposition).await;
    for line in [
        r#"surepass_queue_reaped_total{queue="fulfil",reason="poison"} 1"#,
        r#"surepass_queue_reaped_total{queue="fulfil",reason="worker_lost"} 0"#,
        r#"surepass_queue_jobs{queue="fulfil",state="dead"} 1"#,
        r#"surepass_jobs_enqueued_total{queue="fulfil",kind="work"} 1"#,
        r#"surepass_jobs_started_total{queue="fulfil",kind="work"} 3"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} in\n{page}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn whatever_lies_first_in_a_paused_queue_its_age_is_told_and_that_it_is_paused() {
    let world = World::new(quick()).await;
    let exposition = Exposition::new([&world.queue]).unwrap();
    let mut redis = world.redis().await;
    let odd = b"\xff\xfe";
    let data = [world.queue.key("data:").as_bytes(), odd].concat();
    let old = "work/1 - - 1700000000000 0 0\n[]";
    let (): () = redis.set(data, old).await.unwrap();
    let (): () = redis.rpush(world.queue.key("wait"), &odd[..]).await.unwrap();
    world.enqueue(work("young").group("studio")).await;
    world.queue.pause().await.unwrap();
    let page = page(&exposition).await;
    for line in [
        r#"surepass_redis_up{queue="fulfil"} 1"#,
        r#"surepass_queue_paused{queue="fulfil"} 1"#,
        r#"surepass_queue_jobs{queue="fulfil",state="waiting"} 2"#,
    ] {
        assert!(page.lines().any(|have| have == line), "{line} in\n{page}");
    }
    let age = page
        .lines()
        .find_map(|line| line.strip_prefix(r#"surepass_queue_oldest_waiting_seconds{queue="fulfil"} "#));
    // Since November 2023.
    assert!(age.unwrap().parse::<f64>().unwrap() > 5e7, "{page}");
}
