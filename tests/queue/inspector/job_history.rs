//! One job's whole life, and what a queue tells of itself.

use std::time::Duration;

use surepass::queue::JobError;
use surepass::queue::JobState;
use surepass::queue::inspector::Act;

use crate::inspector::fixture::Fixture;
use crate::world::{Size, act, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_tells_each_failed_attempt_with_worker_times_and_error_and_the_next_run() {
    let office = Fixture::open().await;
    office.world.enqueue(work("moody").group("studio")).await;
    let moods = act(|_, attempt| async move {
        match attempt {
            1 => Err(JobError::retry("store_unavailable", std::io::Error::other("connection reset")).into()),
            2 => Err(JobError::retry_after("busy", "come back", Duration::from_hours(1)).into()),
            _ => Ok(()),
        }
    });
    let mut worker = office.world.hire("w", Size::of(1, 0), moods);
    worker.until_ended(2).await;
    office.world.until_counts([0, 1, 0, 0]).await;
    let life = office.inspector.job("moody", false).await.unwrap().unwrap();
    assert_eq!(life.job.state, JobState::Scheduled);
    assert_eq!(
        (
            life.job.kind.as_deref(),
            life.job.version,
            life.job.tenant.as_deref()
        ),
        (Some("work"), Some(1), Some("studio"))
    );
    assert_eq!((life.job.attempts, life.crashes), (Some(2), Some(0)));
    assert_eq!(life.payload, Some(serde_json::json!("moody")));
    let hour = life.job.due.unwrap() - life.now;
    assert!((3_500_000..=3_600_000).contains(&hour), "{hour}");
    let told: Vec<_> = life
        .failed_attempts
        .iter()
        .map(|one| {
            (
                one.attempt,
                one.worker.as_str(),
                one.code.as_str(),
                one.error.as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, "w:1", "store_unavailable", "connection reset"),
            (2, "w:1", "busy", "come back")
        ]
    );
    let mut last = life.job.enqueued.unwrap();
    for one in &life.failed_attempts {
        assert!(
            last <= one.claimed.unwrap() && one.claimed.unwrap() <= one.ended,
            "{one:?}"
        );
        last = one.ended;
    }
    // Now rather than in an hour; then it succeeds.
    office
        .operator()
        .act(Act::Retry, &["moody".to_owned()])
        .await
        .unwrap();
    worker.until_ended(1).await;
    worker.stop().await;
    let life = office.inspector.job("moody", false).await.unwrap().unwrap();
    assert_eq!((life.job.state, life.job.attempts), (JobState::Done, Some(3)));
    assert!(life.job.ended.unwrap() >= last);
    assert_eq!(
        life.failed_attempts.len(),
        2,
        "what failed before is told of a done job, too"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_life_tells_who_runs_a_job_and_since_when_and_why_one_is_dead() {
    let (office, worker, gate) = Fixture::with_each_state().await;
    let running = office.inspector.job("running", false).await.unwrap().unwrap();
    assert_eq!(
        (running.job.state, running.job.worker.as_deref()),
        (JobState::Running, Some("holder:1"))
    );
    assert!(running.job.claimed.unwrap() >= running.job.enqueued.unwrap());
    let dead = office.inspector.job("dead", false).await.unwrap().unwrap();
    assert_eq!(
        (dead.job.reason.as_deref(), dead.transient),
        (Some("no_pass"), Some(false))
    );
    assert!(office.inspector.job("nothing", false).await.unwrap().is_none());
    gate.add_permits(2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_emails_are_masked_unless_they_are_asked_for() {
    let office = Fixture::open().await;
    let data = "fulfil/1 - - 1700000000000 0 0\n{\"email\":\"kari@example.com\",\"name\":\"Kari Nordmann\",\"passName\":\"Ten\"}";
    let queue = &office.world.queue;
    let _: () = office.world.ask(&["SET", &queue.key("data:p"), data]).await;
    let _: i64 = office
        .world
        .ask(&["ZADD", &queue.key("dead"), "1700000000001", "p"])
        .await;
    let error = r#"{"ended":1700000000001,"attempt":1,"worker":"w:1","code":"no","error":"no user kari@example.com"}"#;
    let _: i64 = office.world.ask(&["RPUSH", &queue.key("errors:p"), error]).await;
    let life = office.inspector.job("p", false).await.unwrap().unwrap();
    let masked = serde_json::json!({"email": "k…@…", "name": "K…", "passName": "Ten"});
    assert_eq!(life.payload, Some(masked));
    assert_eq!(life.failed_attempts[0].error, "no user k…@…");
    let listed = office
        .page(&crate::inspector::fixture::of(JobState::Dead), 5, None)
        .await;
    assert_eq!(listed.jobs[0].error.as_deref(), Some("no user k…@…"));
    let life = office.inspector.job("p", true).await.unwrap().unwrap();
    assert_eq!(life.payload.unwrap()["email"], "kari@example.com");
    assert_eq!(life.failed_attempts[0].error, "no user kari@example.com");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_tells_its_counts_its_pause_and_the_age_of_its_oldest_waiting_job() {
    let (office, worker, gate) = Fixture::with_each_state().await;
    let [before] = &office.inspector.queues().await.unwrap()[..] else {
        panic!("one queue");
    };
    assert_eq!(
        [
            before.waiting,
            before.scheduled,
            before.running,
            before.dead,
            before.done
        ],
        [1, 1, 1, 1, 1]
    );
    assert!(!before.paused);
    let waiting = office.inspector.job("waiting", false).await.unwrap().unwrap();
    assert_eq!(before.oldest_waiting, waiting.job.enqueued);
    office.operator().pause("fulfil").await.unwrap();
    office
        .operator()
        .act(Act::Discard, &["waiting".to_owned()])
        .await
        .unwrap();
    let after = office.inspector.queues().await.unwrap().remove(0);
    assert_eq!(
        (after.paused, after.waiting, after.oldest_waiting, after.discarded),
        (true, 0, None, 1)
    );
    gate.add_permits(2);
    worker.stop().await;
}
