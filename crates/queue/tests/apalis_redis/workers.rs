//! Probes of what ends a worker, and of who it is: faults 5, 13, 14 and 15.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apalis::prelude::*;
use tokio::sync::Notify;

use super::ports::free_port;
use super::table::{Seen, fixed, present};
use super::world::{Hired, POLL, World, act, end_of, hang, nothing, quick, until};

/// Says whether a handler was left in the middle.
struct Middle(Arc<AtomicBool>);

impl Drop for Middle {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// 5: an error of Redis while a handler runs.
pub(crate) async fn redis_error() -> Seen {
    let world = World::new().await;
    world.push(["job"]).await;
    let (finish, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (finishes, drops) = (finish.clone(), dropped.clone());
    let waits = act(move |_| {
        let (finish, middle) = (finishes.clone(), Middle(drops.clone()));
        async move {
            finish.notified().await;
            // Finished: this is no longer the middle.
            std::mem::forget(middle);
            Ok(())
        }
    });
    let mut worker = world.hire_quick("worker", 2, &waits).await;
    until(async || world.runs().first().map(drop)).await;
    // Redis refuses all that would write.
    let () = world.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    until(async || {
        let errors = world.info("errorstats", "errorstat_OOM", "count").await;
        (worker.is_finished() || errors >= 2).then_some(())
    })
    .await;
    let () = world.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    finish.notify_one();
    until(async || {
        if world.size("done").await == 1 {
            return Some(fixed("the worker outlived it, and the job was done"));
        }
        let end = end_of(&mut worker).await?;
        let left = if dropped.load(Ordering::Relaxed) {
            ", and left its handler in the middle"
        } else {
            ""
        };
        Some(present(format!("it ended the worker{left}: {end}")))
    })
    .await
}

/// 13: one hash tag for all keys, on a server of a cluster that has only that slot.
pub(crate) async fn cluster() -> Seen {
    // Its bus takes the port 10,000 above.
    let port = loop {
        let port = free_port();
        if TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            break port.to_string();
        }
    };
    let address = ["--bind", "127.0.0.1", "--port", &port];
    let cluster = [
        "--cluster-enabled",
        "yes",
        "--cluster-require-full-coverage",
        "no",
    ];
    let world = World::with(&[address, cluster].concat()).await;
    let slot: u16 = world.ask(&["CLUSTER", "KEYSLOT", "{probe}"]).await;
    let () = world.ask(&["CLUSTER", "ADDSLOTS", &slot.to_string()]).await;
    until(async || {
        let info: String = world.ask(&["CLUSTER", "INFO"]).await;
        info.contains("cluster_state:ok").then_some(())
    })
    .await;
    world.push(["job"]).await;
    let mut worker = world.hire_quick("worker", 1, &nothing()).await;
    until(async || {
        if world.size("done").await == 1 {
            return Some(fixed("a job was done"));
        }
        let end = end_of(&mut worker).await?;
        Some(present(format!("the worker could not start: {end}")))
    })
    .await
}

/// 14: a second worker of a name, while the first is in the middle of a job.
pub(crate) async fn one_name() -> Seen {
    let world = World::new().await;
    // Heartbeats are stored in whole seconds: of any 1.5 s at least half a second looks like a heartbeat that was missed.
    let config = quick().heartbeat_interval(Duration::from_millis(1_500));
    world.push(["job"]).await;
    let _first = world.hire(world.storage(config.clone()).await, "name", 2, &hang());
    until(async || world.runs().first().map(drop)).await;
    let begun = world.heard("name").await.unwrap();
    let mut second = None;
    until(async || {
        // While it is refused it comes again, as under a supervisor.
        if second.as_ref().is_none_or(Hired::is_finished) {
            second = Some(world.hire(world.storage(config.clone()).await, "name", 2, &nothing()));
        }
        if world.runs_of("job") > 1 {
            return Some(present("the second took the job that the first was running"));
        }
        let heard = world.heard("name").await?;
        (heard >= begun + 6.0).then(|| fixed("the first kept its job"))
    })
    .await
}

/// 15: one of two workers ends under a `Monitor`.
pub(crate) async fn silent_end() -> Seen {
    let world = World::new().await;
    let (ended, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (breaks, lives) = (
        world.storage(quick()).await,
        world.storage(quick().queue("{lives}")).await,
    );
    let (ends, tells) = (ended.clone(), told.clone());
    let monitor = Monitor::new()
        .register(move |_| {
            let middle = Middle(ends.clone());
            WorkerBuilder::new("breaks")
                .backend(breaks.clone().poll_with_interval(POLL))
                .build(move |_: String| {
                    let _middle = &middle;
                    async { Ok::<_, BoxDynError>(()) }
                })
        })
        .register(move |_| {
            WorkerBuilder::new("lives")
                .backend(lives.clone().poll_with_interval(POLL))
                .build(|_: String| async { Ok::<_, BoxDynError>(()) })
        })
        .on_event(move |worker, event| {
            let end = matches!(event, Event::Error(_) | Event::Stop | Event::Exit);
            tells.fetch_or(end && worker.name() == "breaks", Ordering::Relaxed);
        });
    let monitor = tokio::spawn(monitor.run());
    until(async || world.heard("breaks").await).await;
    // It cannot take anything from a key of another type.
    let () = world.ask(&["SET", "{probe}:active", "no list"]).await;
    until(async || {
        let errors = world.info("errorstats", "errorstat_WRONGTYPE", "count").await;
        (ended.load(Ordering::Relaxed) || errors >= 3).then_some(())
    })
    .await;
    if !ended.load(Ordering::Relaxed) {
        return fixed("no error of Redis ends a worker");
    }
    let mut others = world.storage(quick().queue("{lives}")).await;
    others.push("job".to_owned()).await.unwrap();
    until(async || {
        if monitor.is_finished() || told.load(Ordering::Relaxed) {
            return Some(fixed("`Monitor` ended or told it"));
        }
        let done: usize = world.ask(&["SCARD", "{lives}:done"]).await;
        (done == 1).then(|| present("the other went on, `Monitor::run` too, and no event told it"))
    })
    .await
}
