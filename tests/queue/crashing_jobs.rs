//! A job that a worker has died with runs alone from then on, and only crashes alone make it poison.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use surepass::queue::{Enqueued, Item};

use crate::world::{Size, Told, World, act, began, hang, ok, short_lease, work, works};

/// A worker takes all of these and dies.
async fn crash_with(world: &World, name: &str, jobs: usize) {
    let mut victim = world.hire(name, Size::of(jobs, 0), hang());
    world.until_counts([0, 0, jobs, 0]).await;
    for _ in 0..jobs {
        victim.next().await;
    }
    victim.crash().await;
}

/// How often each job crashed alone, as its header has it.
async fn crashes(world: &World, id: &str) -> String {
    let data: String = world.ask(&["GET", &world.queue.key(&format!("data:{id}"))]).await;
    let header = data.lines().next().unwrap();
    header.rsplit(' ').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn innocents_that_a_deadly_job_took_down_run_alone_and_end_and_only_it_is_poison() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..40)).await.unwrap();
    world.enqueue(work("deadly")).await;
    crash_with(&world, "first", 41).await;
    for n in 0.. {
        let running = Arc::new(Mutex::new(BTreeSet::new()));
        let together = running.clone();
        let moody = act(move |job, _| {
            let together = together.clone();
            async move {
                let alone = {
                    let mut running = together.lock().unwrap();
                    running.insert(job.0.clone());
                    running.len() == 1
                };
                assert!(alone, "{} ran beside others", job.0);
                if job.0 == "deadly" {
                    std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
                together.lock().unwrap().remove(&job.0);
                Ok(())
            }
        });
        let mut worker = world.hire(&format!("w-{n}"), Size::of(64, 0), moody);
        let dead = async {
            loop {
                let counts = world.queue.counts().await.unwrap();
                if [counts.waiting, counts.scheduled, counts.running, counts.dead] == [0, 0, 0, 1] {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let is_over = tokio::select! {
            () = dead => true,
            () = async { while worker.next().await != began("deadly", n + 2) {} } => false,
        };
        if is_over {
            worker.stop().await;
            assert_eq!(n, 3, "it crashed three workers alone");
            break;
        }
        worker.crash().await;
    }
    let death = world.queue.death("deadly").await.unwrap();
    assert_eq!(death.as_deref(), Some("poison"));
    assert_eq!(world.queue.counts().await.unwrap().done, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_dies_with_many_jobs_charges_none_of_them() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..300)).await.unwrap();
    crash_with(&world, "first", 300).await;
    // Nobody of these takes more than one of them.
    let mut second = world.hire("second", Size::of(300, 0), hang());
    second.next().await;
    world.until_counts([299, 0, 1, 0]).await;
    for n in 0..300 {
        assert_eq!(crashes(&world, &format!("job-{n}")).await, "00");
    }
    second.crash().await;
    let rest = world.hire("rest", Size::of(300, 0), ok());
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(world.queue.counts().await.unwrap().done, 300);
    rest.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspects_get_through_on_a_worker_that_is_always_full_and_so_does_its_backlog() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..50)).await.unwrap();
    crash_with(&world, "first", 50).await;
    let other = |n: usize| work(&format!("other-{n}")).group("shop");
    let backlog: Vec<Item> = (0..100).map(other).collect();
    world.queue.enqueue(&backlog).await.unwrap();
    let mut worker = world.hire("w", Size::of(8, 8), ok());
    let (mut suspects, mut others) = (0, 0);
    while suspects < 50 {
        if let Told::Ended(id, _) = worker.next().await {
            if id.starts_with("job-") {
                suspects += 1;
            } else {
                // There is always as much to do.
                world.enqueue(other(100 + others)).await;
                others += 1;
            }
        }
    }
    assert!(others > 0);
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_job_wakes_a_sleeping_worker_while_only_suspects_wait_that_it_must_not_take() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..2)).await.unwrap();
    crash_with(&world, "first", 2).await;
    // It runs one of them and takes nothing beside it; the other waits for another worker.
    let mut one = world.hire("one", Size::of(8, 0), hang());
    one.next().await;
    world.until_counts([1, 0, 1, 0]).await;
    let mut two = world.hire("two", Size::of(8, 0), ok());
    two.until_ended(1).await;
    world.enqueue(work("new")).await;
    assert_eq!(
        two.until_ended(1).await,
        [began("new", 1), Told::Ended("new".to_owned(), 1)]
    );
    two.stop().await;
    one.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_tried_again_once_a_day_and_alone() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("deadly")).await;
    for n in 0..3 {
        crash_with(&world, &format!("victim-{n}"), 1).await;
    }
    let survivor = world.hire("survivor", Size::of(1, 0), ok());
    world.until_counts([0, 0, 0, 1]).await;
    survivor.stop().await;
    assert_eq!(world.enqueue(work("deadly").revive()).await, Enqueued::New);
    assert_eq!(crashes(&world, "deadly").await, "00", "it runs alone");
    for n in 3..6 {
        crash_with(&world, &format!("victim-{n}"), 1).await;
    }
    let survivor = world.hire("survivor-2", Size::of(1, 0), ok());
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(
        world.enqueue(work("deadly").revive()).await,
        Enqueued::Dead,
        "once a day"
    );
    let tried = world.queue.key("tried:deadly");
    let _: i64 = world.ask(&["PEXPIRE", &tried, "0"]).await;
    assert_eq!(world.enqueue(work("deadly").revive()).await, Enqueued::New);
    world.until_counts([0, 0, 0, 0]).await;
    survivor.stop().await;
}
