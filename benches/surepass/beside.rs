//! 7. A fresh purchase beside a lookback: how long it waits for its handler while the same worker has 50,000 customers to
//!    look back at, against the same worker with nothing else to do.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use surepass::queue::{self, Item, JobError, Queue, QueueConfig, Redis, RedisBackend, RedisOptions};
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::queue::{CONCURRENCY, Nothing};
use crate::report::{Goal, Table, float, median, thousands};
use crate::{Outcome, ROUNDS};

const CUSTOMERS: usize = 50_000;
const PURCHASES: usize = 200;
/// Between two purchases: each finds the one before it done.
const APART: Duration = Duration::from_millis(10);
/// As the defaults have them.
const WEIGHTS: [u32; 2] = [10, 1];
/// What a customer takes: of the worker's thread, and of waiting for the store.
const BUSY: Duration = Duration::from_micros(100);
const AWAY: Duration = Duration::from_millis(2);

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let folder = tempfile::tempdir()?;
    let redis = runtime.block_on(RedisServer::start(RedisServerOptions {
        folder: folder.path().to_owned(),
        append_fsync: Some("everysec"),
        debug: false,
    }))?;
    let url = redis.url();
    let (told, began) = channel();
    let stop = CancellationToken::new();
    let worker = std::thread::spawn({
        let (url, stop) = (url.clone(), stop.clone());
        move || work(&url, told, &stop)
    });
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut left = Vec::new();
    for round in 0..ROUNDS {
        alone.push(runtime.block_on(buy(&url, &format!("alone-{round}"), &began))?);
        let sync = {
            let _entered = runtime.enter();
            open(&url, "sync")?
        };
        runtime.block_on(look_back(&sync, round))?;
        beside.push(runtime.block_on(buy(&url, &format!("beside-{round}"), &began))?);
        left.push(float(u64::try_from(runtime.block_on(sync.counts())?.waiting)?));
        while runtime.block_on(sync.counts())?.waiting > 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    stop.cancel();
    worker.join().map_err(|_| "the worker panicked")??;
    runtime.block_on(redis.stop())?;

    let mut table = Table::new("7. A fresh purchase while the same worker looks back at 50,000 customers");
    let figures =
        |rounds: &[Waits], pick: fn(&Waits) -> f64| median(&rounds.iter().map(pick).collect::<Vec<_>>());
    for (what, pick) in [
        (
            "enqueued to begun, p50",
            (|waits: &Waits| waits.p50) as fn(&Waits) -> f64,
        ),
        ("enqueued to begun, worst", |waits| waits.worst),
    ] {
        let (few, many) = (figures(&alone, pick), figures(&beside, pick));
        table.plain(what, format!("{} ms", thousands(few)));
        table.judged(
            "  beside the lookback",
            format!("{} ms", thousands(many)),
            many - few,
            Goal::AtMost(100.0),
            " ms more",
        );
    }
    table.note(format!(
        "{PURCHASES} purchases, one each {} ms; {} customers were still waiting after the last.",
        APART.as_millis(),
        thousands(median(&left))
    ));
    table.note("A customer: 0.1 ms of the worker's only thread, and 2 ms of waiting.");
    Ok(table)
}

/// How long purchases waited, in ms.
struct Waits {
    p50: f64,
    worst: f64,
}

/// Hands purchases in, one after the other, and hears when each began.
async fn buy(url: &SecretString, name: &str, began: &Receiver<(String, Instant)>) -> Outcome<Waits> {
    let fulfil = open(url, "fulfil")?;
    let mut waits = Vec::new();
    for nth in 0..PURCHASES {
        let id = format!("{name}-{nth}");
        let handed_in = Instant::now();
        fulfil
            .enqueue(&[Item::job(&Nothing::new(id.clone(), Arc::new([])))?])
            .await?;
        let (which, at) = began.recv_timeout(Duration::from_secs(30))?;
        if which != id {
            return Err(format!("{which} began instead of {id}").into());
        }
        waits.push(at.saturating_duration_since(handed_in).as_secs_f64() * 1e3);
        tokio::time::sleep(APART).await;
    }
    let worst = waits.iter().copied().fold(0.0, f64::max);
    Ok(Waits {
        p50: median(&waits),
        worst,
    })
}

async fn look_back(sync: &Queue, round: usize) -> Outcome<()> {
    for from in (0..CUSTOMERS).step_by(500) {
        let items = (from..from + 500)
            .map(|nth| Item::job(&Nothing::new(format!("sync:{round}:{nth}"), Arc::new([]))))
            .collect::<Result<Vec<_>, _>>()?;
        sync.enqueue(&items).await?;
    }
    Ok(())
}

/// One worker of both queues, as `surepass-worker` is one: on one thread, with slots by weight.
fn work(url: &SecretString, told: Sender<(String, Instant)>, stop: &CancellationToken) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let slots = queue::slots(CONCURRENCY, &WEIGHTS);
        let purchases = hire(url, "fulfil", slots[0], stop, move |id| {
            let heard = told.send((id, Instant::now()));
            async move { heard.map_err(|error| JobError::fail("bench", error)) }.boxed()
        })?;
        let customers = hire(url, "sync", slots[1], stop, |_| {
            async {
                let busy = Instant::now();
                while busy.elapsed() < BUSY {
                    std::hint::spin_loop();
                }
                tokio::time::sleep(AWAY).await;
                Ok(())
            }
            .boxed()
        })?;
        futures::future::try_join(purchases, customers).await?;
        Ok(())
    })
}

type Ended = BoxFuture<'static, Result<(), WorkerError>>;

fn hire(
    url: &SecretString,
    queue: &str,
    slots: usize,
    stop: &CancellationToken,
    handler: impl Fn(String) -> BoxFuture<'static, Result<(), JobError>> + Clone + Send + Sync + 'static,
) -> Outcome<Ended> {
    let queue = open(url, queue)?;
    let prefetch = if slots < 64 { 0 } else { slots / 2 };
    let backend = RedisBackend::<Nothing>::new(&queue, "worker", slots, prefetch);
    let worker = WorkerBuilder::new("worker")
        .backend(backend)
        .concurrency(slots)
        .build(move |_: Nothing, id: TaskId| handler(id.to_string()));
    let told = stop.clone();
    let stopped = async move {
        told.cancelled().await;
        Ok::<(), std::io::Error>(())
    };
    Ok(worker.run_until(stopped).boxed())
}

fn open(url: &SecretString, name: &str) -> Outcome<Queue> {
    let redis = Redis::open(url, RedisOptions::default())?;
    let config = QueueConfig {
        name: name.to_owned(),
        ..QueueConfig::default()
    };
    Ok(Queue::new(&redis, config)?)
}
