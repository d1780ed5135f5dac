//! Probes of jobs that fail: faults 6 to 9.

use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;

use super::table::{Seen, fixed, present};
use super::world::{POLL, World, act, end_of, hang, nothing, quick, until};

/// 6: the attempt of a job whose worker died.
pub(crate) async fn attempt_after_a_crash() -> Seen {
    let world = World::new().await;
    world.push(["job"]).await;
    let dies = world.hire_quick("dies", 1, &hang()).await;
    until(async || world.runs().first().map(drop)).await;
    dies.abort();
    let _lives = world.hire_quick("lives", 1, &nothing()).await;
    let again = until(async || world.runs().get(1).cloned()).await;
    let seen = format!("the attempt after the crash was number {}", again.attempt);
    if again.attempt == 2 {
        fixed(seen)
    } else {
        present(seen)
    }
}

/// 7: a payload that cannot be decoded.
pub(crate) async fn undecodable_payload() -> Seen {
    let world = World::new().await;
    world.push(["broken", "good"]).await;
    let ids: Vec<String> = world.ask(&["HKEYS", "{probe}:data"]).await;
    for id in ids {
        let data: String = world.ask(&["HGET", "{probe}:data", &id]).await;
        if data.contains("broken") {
            let _: i64 = world.ask(&["HSET", "{probe}:data", &id, "no JSON"]).await;
        }
    }
    let mut worker = world.hire_quick("worker", 1, &nothing()).await;
    until(async || {
        // Both have been looked at.
        if world.runs_of("good") == 1 && world.size("dead").await == 1 {
            return Some(fixed("it became a dead letter, and the worker went on"));
        }
        let end = end_of(&mut worker).await?;
        Some(present(format!("the worker ended: {end}")))
    })
    .await
}

/// 8: a handler that panics, and one that takes too long.
pub(crate) async fn panic_and_timeout() -> Seen {
    let world = World::new().await;
    world.push(["job"]).await;
    let panics = act(|run| async move {
        assert!(run.attempt > 1, "the handler panics, as the probe wants it");
        Ok(())
    });
    let mut worker = world.hire_quick("panics", 1, &panics).await;
    let panic = until(async || {
        if world.size("done").await == 1 {
            return Some(None);
        }
        let end = end_of(&mut worker).await?;
        Some(Some(format!("a panic ended the worker: {end}")))
    })
    .await;

    let world = World::new().await;
    world.push(["job"]).await;
    let storage = world.storage(quick()).await.poll_with_interval(POLL);
    let slow = WorkerBuilder::new("slow")
        .backend(storage)
        .timeout(Duration::from_millis(50))
        .build(|_: String, attempt: Attempt| async move {
            if attempt.current() == 1 {
                std::future::pending::<()>().await;
            }
        });
    let _slow = tokio::spawn(slow.run());
    let timeout = until(async || {
        if world.size("done").await == 1 {
            return Some(None);
        }
        let dead = world.size("dead").await == 1;
        dead.then(|| Some("a time-out was the job's end, at its first attempt".to_owned()))
    })
    .await;
    let faults: Vec<_> = [panic, timeout].into_iter().flatten().collect();
    if faults.is_empty() {
        fixed("both were tried again")
    } else {
        present(faults.join(", and "))
    }
}

/// From the failure of the only job until it is due again; nothing while it is not scheduled, or has not failed.
const SECONDS_UNTIL_RETRY: &str = "
    local id = redis.call('HKEYS', '{probe}:data')[1]
    local failed = redis.call('HGET', '{probe}:meta:' .. id, 'done_at')
    local due = redis.call('ZSCORE', '{probe}:scheduled', id)
    return failed and due and due - failed";

/// 9: `max_attempts`, and an error that says when to try again.
pub(crate) async fn retry_limits() -> Seen {
    let world = World::new().await;
    world
        .push_task(TaskBuilder::new("fails".to_owned()).max_attempts(2).build())
        .await;
    let fails = act(|_| async { Err("it failed".into()) });
    let _worker = world.hire_quick("worker", 1, &fails).await;
    let limit = until(async || {
        if world.runs_of("fails") > 2 {
            return Some(Some("a job of two attempts had a third".to_owned()));
        }
        (world.size("dead").await == 1).then_some(None)
    })
    .await;

    let world = World::new().await;
    world.push(["later"]).await;
    let later = act(|_| async { Err(RetryAfterError::new("later", Duration::from_secs(30)).into()) });
    let _worker = world.hire_quick("worker", 1, &later).await;
    let delay: u64 = until(async || world.ask(&["EVAL", SECONDS_UNTIL_RETRY, "0"]).await).await;
    let delay = (delay != 30).then(|| format!("30 s to wait became {delay}"));
    let faults: Vec<_> = [limit, delay].into_iter().flatten().collect();
    if faults.is_empty() {
        fixed("both were kept to")
    } else {
        present(faults.join(", and "))
    }
}
