//! Retry and discard while workers run, and the audit log.

use surepass::operator::OperatorError;
use surepass::queue::Enqueued;
use surepass::queue::JobState;
use surepass::queue::inspector::{Act, Outcome};

use crate::inspector::fixture::{Fixture, names, of};
use crate::world::{Size, began, ended, gated, ok, work, works};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_is_discarded_is_gone_and_its_settlement_changes_nothing() {
    let office = Fixture::open().await;
    let world = &office.world;
    world.enqueue(work("j")).await;
    let (wait, gate) = gated();
    let mut worker = world.hire("w", Size::of(1, 0), wait);
    worker.next().await;
    let outcomes = office.operator().act(Act::Discard, &names(&["j"])).await.unwrap();
    assert_eq!(outcomes, [Outcome::Discarded]);
    assert_eq!(office.state("j").await, None);
    // Enqueued anew meanwhile: the old attempt's end is not taken for that of the new job.
    assert_eq!(world.enqueue(work("j")).await, Enqueued::New);
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("j", 1));
    assert_eq!(
        worker.next().await,
        began("j", 1),
        "the new job runs at its first attempt"
    );
    assert_eq!(office.state("j").await, Some(JobState::Running));
    assert_eq!(
        office.list(&of(JobState::Done)).await,
        names(&[]),
        "the old one was not counted as done"
    );
    gate.add_permits(1);
    assert_eq!(worker.next().await, ended("j", 1));
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(office.list(&of(JobState::Done)).await, ["j"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_is_discarded_leaves_nothing_behind_when_its_attempt_fails() {
    let office = Fixture::open().await;
    let world = &office.world;
    let before = world.everything().await;
    world.enqueue(work("j")).await;
    let fail = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let gate = fail.clone();
    let failing = crate::world::act(move |_, _| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Err("late".into())
        }
    });
    let mut worker = world.hire("w", Size::of(1, 0), failing);
    worker.next().await;
    office.operator().act(Act::Discard, &names(&["j"])).await.unwrap();
    fail.add_permits(1);
    worker.next().await;
    worker.stop().await;
    assert!(before.is_empty());
    let left: Vec<String> = world.ask(&["KEYS", "*:j"]).await;
    assert_eq!(left, names(&[]));
    world.until_counts([0, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_not_retried_a_scheduled_one_runs_now_and_a_dead_one_again_from_its_first_attempt() {
    let (office, mut worker, gate) = Fixture::with_each_state().await;
    let ids = names(&["running", "scheduled", "dead", "waiting", "done", "nothing"]);
    let outcomes = office.operator().act(Act::Retry, &ids).await.unwrap();
    assert_eq!(
        outcomes,
        [
            Outcome::Left(JobState::Running),
            Outcome::Retried,
            Outcome::Retried,
            Outcome::Left(JobState::Waiting),
            Outcome::Unknown,
            Outcome::Unknown
        ]
    );
    gate.add_permits(4);
    let mut told = worker.until_ended(4).await;
    told.retain(|one| matches!(one, crate::world::Told::Began(..)));
    told.sort_by_key(|one| format!("{one:?}"));
    assert_eq!(
        told,
        [began("dead", 1), began("scheduled", 1), began("waiting", 1)]
    );
    office.world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_discarded_job_is_out_of_its_wait_list_so_enqueued_again_it_runs_once() {
    let office = Fixture::open().await;
    let world = &office.world;
    for group in ["", "studio"] {
        world
            .queue
            .enqueue(&[work("a").group(group), work("b").group(group)])
            .await
            .unwrap();
        office
            .operator()
            .act(Act::Discard, &names(&["a", "b"]))
            .await
            .unwrap();
        let lines: Vec<String> = world.ask(&["KEYS", "*:wait*"]).await;
        assert_eq!(lines, names(&[]));
        let turns: i64 = world.ask(&["ZCARD", &world.queue.key("turn")]).await;
        assert_eq!(turns, 0);
        world.enqueue(work("a").group(group)).await;
        let mut worker = world.hire(&format!("w{group}"), Size::of(2, 0), ok());
        assert_eq!(worker.until_ended(1).await, [began("a", 1), ended("a", 1)]);
        world.until_counts([0, 0, 0, 0]).await;
        assert_eq!(worker.stop().await, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarding_takes_each_state_and_a_dead_workers_job_does_not_come_back() {
    let (office, worker, _gate) = Fixture::with_each_state().await;
    worker.crash().await;
    let ids = names(&["running", "scheduled", "dead", "waiting", "done"]);
    let outcomes = office.operator().act(Act::Discard, &ids).await.unwrap();
    let mut expected = [Outcome::Discarded; 5];
    expected[4] = Outcome::Unknown;
    assert_eq!(outcomes, expected);
    office.world.until_counts([0, 0, 0, 0]).await;
    let left: Vec<String> = office.world.ask(&["KEYS", "*data:*"]).await;
    assert_eq!(left, names(&[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_act_is_in_the_audit_log_with_who_what_and_why() {
    let office = Fixture::open().await;
    office.kill(works(0..3)).await;
    let operator = office.operator();
    operator.pause("fulfil").await.unwrap();
    operator
        .act(Act::Retry, &names(&["job-0", "nothing"]))
        .await
        .unwrap();
    operator
        .act_on_all(Act::Discard, &of(JobState::Dead), |_| {})
        .await
        .unwrap();
    operator.resume("fulfil").await.unwrap();
    let mut told: Vec<_> = office.audit().await;
    told.reverse();
    let lines: Vec<_> = told
        .iter()
        .map(|one| {
            (
                one.action.as_str(),
                one.target.as_str(),
                one.outcome.as_deref().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            ("queue.pause", r#"{"queue":"fulfil"}"#, "paused"),
            ("jobs.retry", r#"{"count":2,"ids":["job-0","nothing"]}"#, "1 of 2"),
            (
                "jobs.discard",
                r#"{"filter":{"state":"dead"}}"#,
                "2 of 2 that fitted"
            ),
            ("queue.resume", r#"{"queue":"fulfil"}"#, "resumed"),
        ]
    );
    for one in &told {
        assert_eq!(
            (one.actor.as_str(), one.reason.as_deref()),
            ("kari@desk", Some("a test"))
        );
        assert!(one.ended_at.unwrap() >= one.began_at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_to_the_audit_log_is_not_done() {
    let office = Fixture::open().await;
    office.kill(works(0..1)).await;
    office.store.close().await;
    let before = office.world.everything().await;
    let retried = office.operator().act(Act::Retry, &names(&["job-0"])).await;
    assert!(matches!(retried, Err(OperatorError::Audit(_))), "{retried:?}");
    let paused = office.operator().pause("fulfil").await;
    assert!(matches!(paused, Err(OperatorError::Audit(_))), "{paused:?}");
    assert_eq!(office.world.everything().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_act_that_redis_cut_off_has_left_its_trace() {
    let mut office = Fixture::open().await;
    office.kill(works(0..1)).await;
    // Redis refuses the act itself: the key is none that the script can use.
    let _: i64 = office.world.ask(&["DEL", &office.world.queue.key("dead")]).await;
    let _: () = office
        .world
        .ask(&["SET", &office.world.queue.key("dead"), "broken"])
        .await;
    assert!(
        office
            .operator()
            .act(Act::Retry, &names(&["job-0"]))
            .await
            .is_err()
    );
    let audit = office.audit().await;
    assert!(
        audit[0].outcome.as_deref().unwrap().starts_with("failed: "),
        "{audit:?}"
    );
    office.kill_redis().await;
    assert!(
        office
            .operator()
            .act(Act::Retry, &names(&["job-0"]))
            .await
            .is_err()
    );
}
