//! Faults 7, 8 and 9: undecodable payloads, panics and time-outs, `max_attempts` and `RetryAfter`.

use std::time::Duration;

use apalis::prelude::{AbortError, RetryAfterError};
use serde_json::Value;
use surepass::queue::{Enqueued, JobError};

use crate::world::{Size, Told, World, act, began, ended, ok, quick, work};

const HOUR: Duration = Duration::from_hours(1);

/// The `code` of each failed attempt, with its number.
async fn codes(world: &World, id: &str) -> Vec<(u64, String)> {
    let errors = world.queue.errors(id).await.unwrap();
    errors
        .iter()
        .map(|text| {
            let error: Value = serde_json::from_str(text).unwrap();
            (
                error["attempt"].as_u64().unwrap(),
                error["code"].as_str().unwrap().to_owned(),
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_7_a_payload_that_cannot_be_decoded_is_a_dead_letter_and_its_worker_lives_on() {
    let world = World::new(quick()).await;
    // Each with what a foreign or broken hand may leave behind.
    let broken = [
        ("not-json", "work 1700000000000 0 0\n{"),
        ("not-json-either", "work/1 - - 1700000000000 0 0\n{"),
        ("no-version", "work/x - - 1700000000000 0 0\n[]"),
        ("no-counts", "work\n{}"),
        ("no-numbers", "work x y z\n\"no-numbers\""),
        ("no-header", "no line ever ends"),
        ("empty", ""),
        ("long-header", &"x".repeat(300)),
    ];
    world.enqueue(work("good-1")).await;
    for (id, data) in broken {
        let _: () = world
            .ask(&["SET", &world.queue.key(&format!("data:{id}")), data])
            .await;
        let _: () = world.ask(&["RPUSH", &world.queue.key("wait"), id]).await;
    }
    world.enqueue(work("good-2")).await;
    let mut worker = world.hire("w", Size::of(1, 20), ok());
    let told = worker.until_ended(2).await;
    assert_eq!(
        told,
        [
            began("good-1", 1),
            ended("good-1", 1),
            began("good-2", 1),
            ended("good-2", 1)
        ]
    );
    world.until_counts([0, 0, 0, broken.len()]).await;
    for (id, _) in broken {
        assert_eq!(
            world.queue.death(id).await.unwrap().as_deref(),
            Some("undecodable"),
            "{id}"
        );
        assert_eq!(codes(&world, id).await, [(1, "undecodable".to_owned())], "{id}");
        assert_eq!(world.enqueue(work(id)).await, Enqueued::Dead, "{id}");
    }
    assert!(worker.lives());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_8_a_panic_or_a_time_out_is_not_dead_at_once_but_retried_with_its_attempt_counted() {
    let world = World::new(quick()).await;
    let size = Size {
        timeout: Duration::from_millis(100),
        ..Size::of(1, 0)
    };
    let mut worker = world.hire(
        "w",
        size,
        act(|_, attempt| async move {
            match attempt {
                1 => panic!("the first attempt panics"),
                2 => std::future::pending().await,
                3 => Err("an error of no known type".into()),
                _ => Ok(()),
            }
        }),
    );
    world.enqueue(work("a")).await;
    let dropped = |attempt| Told::Dropped("a".to_owned(), attempt);
    let mut told = Vec::new();
    for _ in 0..8 {
        told.push(worker.next().await);
    }
    assert_eq!(
        told,
        [
            began("a", 1),
            dropped(1),
            began("a", 2),
            dropped(2),
            began("a", 3),
            ended("a", 3),
            began("a", 4),
            ended("a", 4)
        ]
    );
    world.until_counts([0, 0, 0, 0]).await;
    let expected = [(1, "panic"), (2, "timeout"), (3, "error")].map(|(n, code)| (n, code.to_owned()));
    assert_eq!(codes(&world, "a").await, expected);
    assert!(worker.lives(), "a bare panic does not take the worker with it");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_9_max_attempts_is_not_ignored_the_last_failure_is_a_dead_letter_with_the_whole_chain() {
    let mut config = quick();
    config.retry.max_attempts = 3;
    let world = World::new(config).await;
    let mut worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|_, attempt| async move { Err(JobError::retry(format!("cause_{attempt}"), "away").into()) }),
    );
    world.enqueue(work("a")).await;
    let told = worker.until_ended(3).await;
    assert_eq!(told.last(), Some(&ended("a", 3)));
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(world.queue.death("a").await.unwrap().as_deref(), Some("cause_3"));
    let chain = [(1, "cause_1"), (2, "cause_2"), (3, "cause_3")].map(|(n, code)| (n, code.to_owned()));
    assert_eq!(codes(&world, "a").await, chain);

    // An operator's retry begins at the first attempt, with its errors still told.
    assert_eq!(world.queue.retry(&["a".to_owned()]).await.unwrap(), [true]);
    assert_eq!(worker.next().await, began("a", 1));
    worker.until_ended(3).await;
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(codes(&world, "a").await.len(), 6);
    worker.stop().await;
}

/// When a job is due, and when its last attempt had ended, both in ms by Redis' clock.
async fn due_and_ended(world: &World, id: &str) -> (u64, u64) {
    let due: f64 = world.ask(&["ZSCORE", &world.queue.key("sched"), id]).await;
    let errors = world.queue.errors(id).await.unwrap();
    let last: Value = serde_json::from_str(errors.last().unwrap()).unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time in ms since 1970"
    )]
    (due as u64, last["ended"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_9_retry_after_is_not_ignored_and_backoff_is_exponential_in_ms_and_persisted_in_redis() {
    let mut config = quick();
    config.retry.base = Duration::from_millis(123);
    let world = World::new(config).await;
    let mut worker = world.hire(
        "w",
        Size::of(8, 0),
        act(|job, attempt| async move {
            match (job.0.as_str(), attempt) {
                ("ours", _) => {
                    Err(JobError::retry_after("busy", "429", Duration::from_millis(1_234_567)).into())
                }
                ("apalis", _) => Err(RetryAfterError::new("busy", HOUR).into()),
                // Until the wait is 123 · 2^7 ms, long enough to be looked at.
                ("backoff", _) => Err(JobError::retry("store_unavailable", "away").into()),
                _ => Ok(()),
            }
        }),
    );
    world
        .queue
        .enqueue(&[work("ours"), work("apalis"), work("backoff")])
        .await
        .unwrap();
    while worker.next().await != ended("backoff", 3) {}
    world.until_counts([0, 3, 0, 0]).await;
    for (id, delay) in [("ours", 1_234_567), ("apalis", 3_600_000), ("backoff", 123 * 8)] {
        let (due, ended) = due_and_ended(&world, id).await;
        assert_eq!(due - ended, delay, "{id}");
    }
    // Nothing of it is in the worker: another one has the same schedule before it.
    worker.crash().await;
    let mut other = world.hire("v", Size::of(8, 0), ok());
    assert_eq!(
        other.until_ended(1).await,
        [began("backoff", 4), ended("backoff", 4)]
    );
    world.until_counts([0, 2, 0, 0]).await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_9_a_retry_does_not_sleep_in_the_slot_good_jobs_run_behind_one_bad() {
    let mut config = quick();
    config.retry.base = HOUR;
    config.retry.cap = HOUR;
    let world = World::new(config).await;
    let mut worker = world.hire(
        "w",
        Size::of(1, 0),
        act(|job, _| async move { if job.0 == "bad" { Err("no".into()) } else { Ok(()) } }),
    );
    world
        .queue
        .enqueue(&[work("bad"), work("good-1"), work("good-2")])
        .await
        .unwrap();
    let told = worker.until_ended(3).await;
    assert_eq!(told.last(), Some(&ended("good-2", 1)));
    world.until_counts([0, 1, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permanent_failures_are_dead_at_once() {
    let world = World::new(quick()).await;
    let worker = world.hire(
        "w",
        Size::of(2, 0),
        act(|job, _| async move {
            match job.0.as_str() {
                "ours" => Err(JobError::fail("unresolved_pass", "no such pass").into()),
                _ => Err(AbortError::new("no").into()),
            }
        }),
    );
    world
        .queue
        .enqueue(&[work("ours"), work("apalis")])
        .await
        .unwrap();
    world.until_counts([0, 0, 0, 2]).await;
    assert_eq!(
        world.queue.death("ours").await.unwrap().as_deref(),
        Some("unresolved_pass")
    );
    assert_eq!(
        world.queue.death("apalis").await.unwrap().as_deref(),
        Some("aborted")
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_turn_has_not_come_is_put_off_uncounted_however_often_and_is_no_failure() {
    let mut config = quick();
    config.retry.max_attempts = 1;
    let world = World::new(config).await;
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = turns.clone();
    let mut worker = world.hire(
        "w",
        Size::of(1, 0),
        act(move |_, _| {
            let turn = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                match turn {
                    0..2 => Err(JobError::put_off("stripe_busy", "a long line", Duration::ZERO).into()),
                    _ => Ok(()),
                }
            }
        }),
    );
    world.enqueue(work("a")).await;
    let told = worker.until_ended(3).await;
    let each = || [began("a", 1), ended("a", 1)];
    assert_eq!(told, [each(), each(), each()].concat());
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(codes(&world, "a").await, []);
    worker.stop().await;
}
