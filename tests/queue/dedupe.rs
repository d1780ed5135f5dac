//! Fault 3: dedupe does nothing by default, its caller cannot tell new from duplicate, its key outlives the job's death.
//! Fault 12: two processes, every cron tick twice.

use std::time::Duration;

use futures::future::join_all;
use surepass::queue::{Enqueued, Item, JobError, JobStatus};

use crate::world::{Size, Work, World, act, gated, ok, quick, work};

const DAY: Duration = Duration::from_hours(24);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_3_dedupe_does_nothing_by_default_fifty_pushes_of_one_key_at_once_are_one_job() {
    let world = World::new(quick()).await;
    let queues: Vec<_> = (0..5).map(|_| world.queue.reconnected().unwrap()).collect();
    let pushes = (0..50).map(|n| {
        let queue = queues[n % 5].clone();
        tokio::spawn(async move { queue.enqueue(&[work("fulfil:cs_1")]).await.unwrap()[0] })
    });
    let answers: Vec<_> = join_all(pushes).await.into_iter().map(Result::unwrap).collect();
    let new = answers.iter().filter(|answer| **answer == Enqueued::New).count();
    let live = answers.iter().filter(|answer| **answer == Enqueued::Live).count();
    assert_eq!((new, live), (1, 49), "the caller learns new or duplicate");
    world.until_counts([1, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_3_the_key_is_held_while_its_job_waits_is_scheduled_or_runs_and_no_longer() {
    let world = World::new(quick()).await;
    let (wait, gate) = gated();
    assert_eq!(world.enqueue(work("a").after(DAY)).await, Enqueued::New);
    assert_eq!(world.enqueue(work("a")).await, Enqueued::Live, "scheduled");
    assert_eq!(world.enqueue(work("b")).await, Enqueued::New);
    assert_eq!(world.enqueue(work("b")).await, Enqueued::Live, "waiting");
    let mut worker = world.hire("w", Size::of(1, 0), wait);
    worker.next().await;
    assert_eq!(world.enqueue(work("b")).await, Enqueued::Live, "running");
    gate.add_permits(1);
    worker.next().await;
    world.until_counts([0, 1, 0, 0]).await;
    assert_eq!(world.enqueue(work("b")).await, Enqueued::New, "done");
    gate.add_permits(1);
    worker.until_ended(1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_3_the_key_outlives_the_jobs_death_a_lookback_revives_it_if_the_cause_was_transient() {
    let mut config = quick();
    config.retry.max_attempts = 1;
    let world = World::new(config).await;
    let worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|job, _| async move {
            match job.0.as_str() {
                "passing" => Err(JobError::retry("store_unavailable", "away").into()),
                _ => Err(JobError::fail("unresolved_pass", "no such pass").into()),
            }
        }),
    );
    world
        .queue
        .enqueue(&[work("passing"), work("lasting")])
        .await
        .unwrap();
    world.until_counts([0, 0, 0, 2]).await;
    worker.stop().await;

    assert_eq!(
        world.enqueue(work("passing")).await,
        Enqueued::Dead,
        "who does not ask changes nothing"
    );
    assert_eq!(world.enqueue(work("passing").revive()).await, Enqueued::New);
    assert_eq!(
        world.enqueue(work("lasting").revive()).await,
        Enqueued::Dead,
        "a person must look"
    );
    world.until_counts([1, 0, 0, 1]).await;
    // A person's retry is an act of its own, which the key does not block.
    let ids = ["lasting".to_owned(), "passing".to_owned(), "never".to_owned()];
    assert_eq!(world.queue.retry(&ids).await.unwrap(), [true, false, false]);
    world.until_counts([2, 0, 0, 0]).await;
    let mut worker = world.hire("v", Size::of(1, 0), ok());
    worker.until_ended(2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_job_runs_again_for_the_reason_that_is_named_or_at_a_new_word_and_its_fate_is_told() {
    let world = World::new(quick()).await;
    let worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|job, _| async move { Err(JobError::fail(format!("reason_{}", job.0), "no").into()) }),
    );
    let ids = ["a", "b", "c"].map(str::to_owned);
    let items: Vec<_> = ids.iter().map(|id| work(id)).collect();
    world.queue.enqueue(&items).await.unwrap();
    world.until_counts([0, 0, 0, 3]).await;
    worker.stop().await;
    let dead = |id: &str| JobStatus::Dead {
        reason: format!("reason_{id}"),
        transient: false,
    };
    assert_eq!(
        world.queue.job_statuses(&ids).await.unwrap(),
        [dead("a"), dead("b"), dead("c")]
    );
    assert_eq!(
        world.enqueue(work("a").revive_of("reason_b")).await,
        Enqueued::Dead
    );
    assert_eq!(
        world.enqueue(work("b").revive_of("reason_b")).await,
        Enqueued::New
    );
    assert_eq!(world.enqueue(work("c").rerun()).await, Enqueued::New);
    assert_eq!(world.enqueue(work("c").rerun()).await, Enqueued::Live);
    let asked = ["a", "b", "c", "never"].map(str::to_owned);
    let statuses = world.queue.job_statuses(&asked).await.unwrap();
    assert_eq!(
        statuses,
        [dead("a"), JobStatus::Live, JobStatus::Live, JobStatus::Gone]
    );
    let payload = async |id: &str| world.queue.payload::<Work>(id).await.unwrap();
    assert_eq!(payload("b").await.map(|job| job.0), Some("b".to_owned()));
    assert!(payload("never").await.is_none());
    let many: Vec<String> = (0..1_200)
        .map(|n| format!("never{n}"))
        .chain(["a".to_owned()])
        .collect();
    let statuses = world.queue.job_statuses(&many).await.unwrap();
    assert_eq!((statuses.len(), statuses.last()), (1_201, Some(&dead("a"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seen_is_never_recorded_without_enqueued() {
    let world = World::new(quick()).await;
    let event = |event: &str, job: &str| {
        work(job)
            .dedupe(format!("event:{event}"), DAY)
            .log(b"h".to_vec(), b"b".to_vec())
    };
    assert_eq!(world.enqueue(event("evt_1", "a")).await, Enqueued::New);
    assert_eq!(world.enqueue(event("evt_1", "a")).await, Enqueued::Seen);
    assert_eq!(
        world.enqueue(event("evt_2", "a")).await,
        Enqueued::Live,
        "another event of the same purchase"
    );
    assert_eq!(
        world.queue.counts().await.unwrap().log,
        2,
        "a doubled event is logged once"
    );

    // A Redis that refuses writes takes nothing of it, so the event comes as new when it is sent again.
    let _: () = world.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = world.everything().await;
    assert!(
        world
            .queue
            .enqueue(&[event("evt_3", "b"), event("evt_4", "c")])
            .await
            .is_err()
    );
    assert_eq!(world.everything().await, before);
    let _: () = world.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(world.enqueue(event("evt_3", "b")).await, Enqueued::New);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_12_two_processes_every_cron_tick_twice_a_tick_has_a_key_and_fires_once() {
    let world = World::new(quick()).await;
    let other = world.queue.reconnected().unwrap();
    for tick in 0..20 {
        let fire = |queue: surepass::queue::Queue| async move {
            let item: Item = work(&format!("nightly-{tick}")).dedupe(format!("cron:nightly:{tick}"), DAY);
            queue.enqueue(&[item]).await.unwrap()[0]
        };
        let answers = tokio::join!(fire(world.queue.clone()), fire(other.clone()));
        assert!(matches!(
            answers,
            (Enqueued::New, Enqueued::Seen) | (Enqueued::Seen, Enqueued::New)
        ));
    }
    // A tick that has run does not fire again either.
    let mut worker = world.hire("w", Size::of(4, 0), ok());
    worker.until_ended(20).await;
    world.until_counts([0, 0, 0, 0]).await;
    let again = work("nightly-0").dedupe("cron:nightly:0".to_owned(), DAY);
    assert_eq!(world.enqueue(again).await, Enqueued::Seen);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_event_that_is_delivered_later_is_a_duplicate_and_its_delivery_is_recorded() {
    let world = World::new(quick()).await;
    let event = || work("a").dedupe("event:evt_1".to_owned(), DAY);
    let hand = async || -> String { world.ask(&["GET", &world.queue.key("event:evt_1")]).await };
    assert_eq!(world.enqueue(event().polled()).await, Enqueued::New);
    assert_eq!(hand().await, "2");
    assert_eq!(world.enqueue(event()).await, Enqueued::Seen);
    assert_eq!(hand().await, "1");
    assert_eq!(world.enqueue(event().polled()).await, Enqueued::Seen);
    assert_eq!(hand().await, "1");
    let life: i64 = world.ask(&["PTTL", &world.queue.key("event:evt_1")]).await;
    assert!(life > 0, "the key is forgotten one day: {life}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_hearsay_could_not_make_out_runs_again_when_the_source_tells_and_once_only() {
    let world = World::new(quick()).await;
    let event = || work("a").dedupe("event:evt_1".to_owned(), DAY);
    let worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|_, _| async move { Err(JobError::fail("unresolved", "whose is it?").into()) }),
    );
    assert_eq!(world.enqueue(event().polled()).await, Enqueued::New);
    world.until_counts([0, 0, 0, 1]).await;
    worker.stop().await;
    assert_eq!(
        world.enqueue(event().revive_of("unresolved")).await,
        Enqueued::New
    );
    world.until_counts([1, 0, 0, 0]).await;
    // Stripe sends it again.
    assert_eq!(
        world.enqueue(event().revive_of("unresolved")).await,
        Enqueued::Seen
    );
    world.until_counts([1, 0, 0, 0]).await;
}
