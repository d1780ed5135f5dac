//! How many jobs there are.

use std::time::Duration;

use surepass::queue::{QueueConfig, RetryPolicy};

use crate::world::{Size, World, act, quick, work};

const JOBS: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_goes_round_from_list_to_list_is_counted_once_at_every_moment() {
    let world = World::new(QueueConfig {
        retry: RetryPolicy {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(1),
            max_attempts: 1_000_000,
        },
        ..quick()
    })
    .await;
    for n in 0..JOBS {
        let item = work(&format!("job-{n}")).group(&format!("group-{}", n % 7));
        world.enqueue(item).await;
    }
    let fails = || act(|_, _| async { Err("not yet".into()) });
    let workers = [
        world.hire("a", Size::of(8, 20), fails()),
        world.hire("b", Size::of(8, 20), fails()),
    ];
    let (mut waited, mut ran, mut slept) = (0, 0, 0);
    for _ in 0..1_000 {
        let counts = world.queue.counts().await.unwrap();
        assert_eq!(counts.waiting + counts.running + counts.scheduled, JOBS);
        waited += counts.waiting;
        ran += counts.running;
        slept += counts.scheduled;
    }
    assert!(waited > 0 && ran > 0 && slept > 0, "they did not go round");
    for worker in workers {
        worker.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_more_groups_than_one_call_looks_at_are_all_counted() {
    let world = World::new(quick()).await;
    let items: Vec<_> = (0..1_200)
        .map(|n| work(&format!("job-{n}")).group(&format!("group-{n}")))
        .collect();
    world.queue.enqueue(&items).await.unwrap();
    world.enqueue(work("nobodys")).await;
    assert_eq!(world.queue.counts().await.unwrap().waiting, 1_201);
}
