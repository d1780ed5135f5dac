//! 2. Jobs a second for a job that does nothing, against a bare loop of the same scripts without apalis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use redis::aio::MultiplexedConnection;
use redis::{Script, Value};
use surepass::queue::{
    DecodeError, Item, Job, JobError, Queue, QueueConfig, Redis, RedisBackend, RedisOptions,
};
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;

use crate::report::{Goal, Table, float, median, per_second, thousands};
use crate::stock::{self, Stock};
use crate::{Outcome, ROUNDS, requests, system};

pub(crate) const CONCURRENCY: usize = 256;
pub(crate) const PREFETCH: usize = 128;
/// What the bare loop claims at once.
const BARE_BATCH: usize = 256;
const JOBS: usize = 100_000;
const MANY: usize = 1_000_000;
/// A backlog of so few is gone in milliseconds: so many of them make a round.
const FEW: usize = 1_000;
const TIMES_FEW: usize = 30;

/// A purchase's id and payload, and nothing to do.
pub(crate) struct Nothing {
    id: String,
    payload: Arc<[u8]>,
}

impl Nothing {
    pub(crate) fn new(id: String, payload: Arc<[u8]>) -> Self {
        Self { id, payload }
    }
}

impl Job for Nothing {
    fn kind(&self) -> &'static str {
        "nothing"
    }

    fn key(&self) -> Option<String> {
        Some(self.id.clone())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(self.payload.to_vec())
    }

    fn decode(_: &str, _: u32, _: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            id: String::new(),
            payload: Arc::new([]),
        })
    }
}

/// What draining took.
struct Drained {
    jobs: usize,
    time: Duration,
    /// Of Redis, in its commands.
    redis: Duration,
}

#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    redis: Vec<f64>,
}

impl Figures {
    fn add(&mut self, drained: &[Drained]) -> Outcome<()> {
        let jobs = float(u64::try_from(drained.iter().map(|one| one.jobs).sum::<usize>())?);
        let time: Duration = drained.iter().map(|one| one.time).sum();
        let redis: Duration = drained.iter().map(|one| one.redis).sum();
        self.rate.push(jobs / time.as_secs_f64());
        self.redis.push(redis.as_secs_f64() * 1e6 / jobs);
        Ok(())
    }

    fn told(&self) -> String {
        let redis = thousands(median(&self.redis));
        format!("{}, Redis {redis} µs a job", per_second(median(&self.rate)))
    }
}

struct Stage {
    queue: Queue,
    stock: Stock,
    redis: MultiplexedConnection,
    payload: Arc<[u8]>,
    workers: AtomicUsize,
}

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let folder = tempfile::tempdir()?;
    let server = runtime.block_on(RedisServer::start(RedisServerOptions {
        folder: folder.path().to_owned(),
        append_fsync: None,
        debug: false,
    }))?;
    let stage = runtime.block_on(async {
        let queue = Queue::new(
            &Redis::open(&server.url(), RedisOptions::default())?,
            QueueConfig::default(),
        )?;
        let purchase = requests::purchases(1, 2)?.pop().ok_or("no purchase")?;
        let payload: Arc<[u8]> = purchase.encode()?.into();
        Outcome::Ok(Stage {
            queue,
            stock: Stock::new(&server, payload.len()).await?,
            redis: system::connect(&server).await?,
            payload,
            workers: AtomicUsize::new(0),
        })
    })?;
    let (mut bare, mut ours) = (Figures::default(), Figures::default());
    let (mut few, mut many) = (Figures::default(), Figures::default());
    let (mut locked, mut unlocked) = (Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        let run = |backlog, is_ours| runtime.block_on(stage.drain(backlog, is_ours));
        bare.add(&[run(JOBS, false)?])?;
        ours.add(&[run(JOBS, true)?])?;
        // To start a worker and to stop it takes about as long as a few hundred jobs: what that takes with one job.
        let with_one: Outcome<Vec<_>> = (0..TIMES_FEW).map(|_| run(1, true)).collect();
        let with_one: Duration = with_one?.iter().map(|one| one.time).sum();
        let small: Outcome<Vec<_>> = (0..TIMES_FEW).map(|_| run(FEW, true)).collect();
        let mut small = small?;
        for one in &mut small {
            one.time = one.time.saturating_sub(with_one / u32::try_from(TIMES_FEW)?);
        }
        few.add(&small)?;
        many.add(&[run(MANY, true)?])?;
        locked.add(&[runtime.block_on(stage.drain_stock(true))?])?;
        unlocked.add(&[runtime.block_on(stage.drain_stock(false))?])?;
    }

    let mut table = Table::new("2. Queue: a job that does nothing");
    let rate = median(&ours.rate);
    table.plain("bare loop of the same scripts", bare.told());
    table.compared(
        "Surepass, 100,000 waiting",
        ours.told(),
        rate / median(&bare.rate),
        Some(Goal::AtLeast(80.0)),
    );
    table.judged("", String::new(), rate, Goal::AtLeast(100_000.0), "/s");
    table.compared(
        "  1,000 waiting, to 100,000",
        few.told(),
        median(&few.rate) / rate,
        Some(Goal::AtLeast(90.0)),
    );
    table.compared(
        "  1,000,000 waiting, to 100,000",
        many.told(),
        median(&many.rate) / rate,
        Some(Goal::AtLeast(90.0)),
    );
    for (what, figures) in [
        ("RedisStorage, 7,000 waiting", &locked),
        ("  with its lock off", &unlocked),
    ] {
        table.compared(
            what,
            figures.told(),
            median(&figures.rate) / median(&bare.rate),
            None,
        );
    }
    table.note(format!(
        "A purchase's id and payload of {} bytes; {CONCURRENCY} at a time, {PREFETCH} ready. Bare: claims {BARE_BATCH} while it settles",
        stage.payload.len()
    ));
    table.note("the last. Redis appendonly no. 1,000 waiting: 30 times a round, less what a worker with one job takes.");
    table.note(
        "RedisStorage: apalis-redis' own, as shipped. With 8,000 due jobs it takes none, so it gets fewer.",
    );
    runtime.block_on(server.stop())?;
    Ok(table)
}

impl Stage {
    async fn drain(&self, backlog: usize, is_ours: bool) -> Outcome<Drained> {
        self.redis_does(&redis::cmd("FLUSHALL")).await?;
        for from in (0..backlog).step_by(500) {
            let items = (from..backlog.min(from + 500))
                .map(|nth| {
                    let id = format!("fulfil:cs_test_a1WvnB3eDguI7dxy6llB3LBqeRB5l2QhNNr16hRCO6{nth:012}");
                    Item::job(&Nothing::new(id, self.payload.clone()))
                })
                .collect::<Result<Vec<_>, _>>()?;
            self.queue.enqueue(&items).await?;
        }
        self.reset_time().await?;
        let time = if is_ours {
            self.worker(backlog).await?
        } else {
            self.bare(backlog).await?
        };
        let counts = self.queue.counts().await?;
        if counts.waiting + counts.running + counts.dead > 0 {
            return Err(format!("not drained: {counts:?}").into());
        }
        Ok(Drained {
            jobs: backlog,
            time,
            redis: self.redis_time().await?,
        })
    }

    async fn drain_stock(&self, is_locked: bool) -> Outcome<Drained> {
        self.redis_does(&redis::cmd("FLUSHALL")).await?;
        self.stock.fill().await?;
        self.reset_time().await?;
        Ok(Drained {
            jobs: stock::WAITING,
            time: self.stock.drain(is_locked).await?,
            redis: self.redis_time().await?,
        })
    }

    async fn redis_does(&self, command: &redis::Cmd) -> Outcome<()> {
        Ok(command.query_async(&mut self.redis.clone()).await?)
    }

    async fn reset_time(&self) -> Outcome<()> {
        self.redis_does(redis::cmd("CONFIG").arg("RESETSTAT")).await
    }

    /// What the scripts have taken since.
    async fn redis_time(&self) -> Outcome<Duration> {
        let text: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.redis.clone())
            .await?;
        let scripts = text
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        let microseconds = scripts
            .and_then(|line| line.split_once("usec=")?.1.split(',').next()?.parse().ok())
            .ok_or("INFO without evalsha")?;
        Ok(Duration::from_micros(microseconds))
    }

    async fn worker(&self, backlog: usize) -> Outcome<Duration> {
        let nth = self.workers.fetch_add(1, Ordering::Relaxed);
        let name = format!("bench-{nth}");
        let backend = RedisBackend::<Nothing>::new(&self.queue, &name, CONCURRENCY, PREFETCH);
        let done = Arc::new(AtomicUsize::new(0));
        let worker = WorkerBuilder::new(name.as_str())
            .backend(backend)
            .concurrency(CONCURRENCY)
            .build(move |_: Nothing, worker: WorkerContext| {
                let done = done.clone();
                async move {
                    if done.fetch_add(1, Ordering::Relaxed) + 1 == backlog {
                        let _ = worker.stop();
                    }
                    Ok::<_, JobError>(())
                }
            });
        let begun = Instant::now();
        worker.run().await?;
        Ok(begun.elapsed())
    }

    async fn bare(&self, backlog: usize) -> Outcome<Duration> {
        let scripts = Scripts::new();
        let begun = Instant::now();
        let (mut done, mut number) = (0, 1_u64);
        let mut claimed = self.claim(&scripts, number).await?;
        while !claimed.is_empty() {
            let (next, settled) = tokio::join!(
                self.claim(&scripts, number + 1),
                self.settle(&scripts, number, &claimed)
            );
            done += settled?;
            claimed = next?;
            number += 1;
        }
        if done != backlog {
            return Err(format!("{done} of {backlog} settled").into());
        }
        Ok(begun.elapsed())
    }

    async fn claim(&self, scripts: &Scripts, number: u64) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        let queue = &self.queue;
        let answer: Vec<Value> = scripts
            .claim
            .key(queue.key("wait"))
            .key(queue.key("sched"))
            .key(queue.key("lease"))
            .key(queue.key("dead"))
            .arg(queue.prefix())
            .arg("bare")
            .arg(600_000)
            .arg(BARE_BATCH)
            .arg(u8::from(number == 1))
            .arg(16)
            .arg(3)
            .arg(number)
            .invoke_async(&mut self.redis.clone())
            .await?;
        let mut values = answer.into_iter().skip(2);
        let mut jobs = Vec::with_capacity(BARE_BATCH);
        while let (Some(Value::BulkString(id)), Some(Value::BulkString(data))) =
            (values.next(), values.next())
        {
            jobs.push((id, data));
        }
        Ok(jobs)
    }

    async fn settle(&self, scripts: &Scripts, number: u64, jobs: &[(Vec<u8>, Vec<u8>)]) -> Outcome<usize> {
        let queue = &self.queue;
        let mut call = scripts.settle.prepare_invoke();
        for name in ["sched", "done", "dead", "stats"] {
            call.key(queue.key(name));
        }
        call.arg(queue.prefix()).arg("bare").arg(10_000).arg(86_400_000);
        for (id, _) in jobs {
            call.arg(id).arg(number).arg(1).arg("done").arg(0).arg("").arg("");
        }
        let answers: Vec<usize> = call.invoke_async(&mut self.redis.clone()).await?;
        Ok(answers.into_iter().sum())
    }
}

/// The product's own scripts.
struct Scripts {
    claim: Script,
    settle: Script,
}

impl Scripts {
    fn new() -> Self {
        const PRELUDE: &str = include_str!("../../crates/queue/src/scripts/prelude.lua");
        let script = |text: &str| Script::new(&format!("{PRELUDE}{text}"));
        Self {
            claim: script(include_str!("../../crates/queue/src/scripts/claim.lua")),
            settle: script(include_str!("../../crates/queue/src/scripts/settle.lua")),
        }
    }
}
