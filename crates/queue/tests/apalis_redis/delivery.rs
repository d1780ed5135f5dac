//! Probes of how jobs reach a worker: faults 1 to 4, 10 and 11.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use apalis_core::backend::Vacuum;
use tokio::sync::Notify;

use super::table::{Seen, fixed, present};
use super::world::{World, act, end_of, hang, nothing, quick, until};

/// Lua unpacks less than 8,000 values.
const MANY: usize = 9_000;

/// 1: many due jobs.
pub(crate) async fn many_due_jobs() -> Seen {
    let world = World::new().await;
    let mut storage = world.storage(quick()).await;
    for from in (0..MANY).step_by(1_000) {
        let jobs = (from..from + 1_000).map(|nth| format!("job-{nth}"));
        storage.push_bulk(jobs.collect()).await.unwrap();
    }
    let mut worker = world.hire_quick("worker", 16, &nothing()).await;
    until(async || {
        let done = world.size("done").await;
        if done == MANY {
            return Some(fixed(format!("all of {MANY} due jobs were done")));
        }
        let end = end_of(&mut worker).await?;
        Some(present(format!(
            "after {done} of {MANY} due jobs the worker ended: {end}"
        )))
    })
    .await
}

/// 2: a job for an idle worker.
pub(crate) async fn wake_up() -> Seen {
    let world = World::new().await;
    let patient = quick().heartbeat_interval(Duration::from_secs(3));
    let storage = world.storage(patient).await;
    // As shipped: it is not told to look now and then.
    let idle = WorkerBuilder::new("idle").backend(storage);
    let begun = Arc::new(Notify::new());
    let begins = begun.clone();
    let worker = idle.build(move |_: String| {
        begins.notify_one();
        std::future::ready(Ok::<_, BoxDynError>(()))
    });
    let _worker = tokio::spawn(worker.run());
    // It has looked and found nothing.
    until(async || (world.info("commandstats", "cmdstat_lrange", "calls").await > 0).then_some(())).await;
    let registered = world.heard("idle").await;
    world.push(["job"]).await;
    begun.notified().await;
    if world.heard("idle").await == registered {
        fixed("an idle worker began the job before its next heartbeat")
    } else {
        present("an idle worker began the job only with its next heartbeat")
    }
}

/// 3: two pushes of one key.
pub(crate) async fn idempotency_key() -> Seen {
    let world = World::new().await;
    for _ in 0..2 {
        let task = TaskBuilder::new("job".to_owned()).idempotency_key("key").build();
        world.push_task(task).await;
    }
    match world.size("data").await {
        1 => fixed("two pushes of one idempotency key made one job"),
        jobs => present(format!("two pushes of one idempotency key made {jobs} jobs")),
    }
}

/// 4: a worker that is busy, with fetched jobs in its buffer.
pub(crate) async fn busy_worker() -> Seen {
    let world = World::new().await;
    world.push(["first", "second", "third"]).await;
    let _busy = world.hire_quick("busy", 1, &hang()).await;
    until(async || world.runs().first().map(drop)).await;
    let _other = world.hire_quick("other", 1, &nothing()).await;
    let hired = until(async || world.heard("other").await).await;
    until(async || {
        if world.runs_of("first") > 1 {
            return Some(present(
                "another worker ran the job of one that was only busy, too",
            ));
        }
        // Each heartbeat looks for the dead, and this is twice as long as it takes to be one.
        let late = world.heard("other").await? >= hired + 4.0;
        late.then(|| fixed("a busy worker kept its job"))
    })
    .await
}

/// 10: what the lock costs.
pub(crate) async fn lock() -> Seen {
    const JOBS: usize = 100;
    let world = World::new().await;
    let mut storage = world.storage(quick()).await;
    storage
        .push_bulk((0..JOBS).map(|nth| nth.to_string()).collect())
        .await
        .unwrap();
    let _worker = world.hire_quick("worker", 1, &nothing()).await;
    until(async || (world.size("done").await == JOBS).then_some(())).await;
    match world.info("commandstats", "cmdstat_lrem", "calls").await {
        0 => fixed(format!("{JOBS} jobs without a walk over the waiting ones")),
        walks => present(format!(
            "{walks} walks (LREM) over the waiting jobs, for {JOBS} jobs"
        )),
    }
}

/// 11: what is left of jobs that are done, and what trims it.
pub(crate) async fn trimming() -> Seen {
    let world = World::new().await;
    // After so many attempts it waits for its next for longer than this takes.
    let late = TaskBuilder::new("fails".to_owned()).attempt(20).build();
    world.push_task(late).await;
    world.push((0..10).map(|nth| nth.to_string())).await;
    let mut storage = world.storage(quick()).await;
    let fail_one = act(|run| async move {
        if run.job == "fails" {
            Err("it failed".into())
        } else {
            Ok(())
        }
    });
    let worker = world.hire(storage.clone(), "worker", 4, &fail_one);
    until(async || (world.size("done").await == 10 && world.size("scheduled").await == 1).then_some(()))
        .await;
    worker.abort();
    storage.vacuum().await.unwrap();
    let (done, data) = (world.size("done").await, world.size("data").await);
    if done > 0 || data != 1 {
        let lost = if data == 0 {
            ", and the job that waits for its retry is gone"
        } else {
            ""
        };
        present(format!(
            "after `vacuum` {done} of 10 done jobs are still listed{lost}"
        ))
    } else {
        fixed("`vacuum` removed what was done, and nothing else")
    }
}
