//! What is counted where no worker is left to count it.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use surepass::queue::Exposition;

use crate::world::{Size, World, began, hang, ok, short_lease, work};

async fn page(exposition: &Exposition) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(exposition.read().await));
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
