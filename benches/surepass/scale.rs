//! 6. Scale: what taking, settling, listing and counting jobs costs beside a huge backlog; and what more workers bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use secrecy::SecretString;
use surepass::queue::JobState;
use surepass::queue::inspector::{Filter, Inspector, PageOptions};
use surepass::queue::{Item, Job, JobError, Queue, QueueConfig, Redis, RedisBackend, RedisOptions};
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::queue::{CONCURRENCY, Nothing, PREFETCH};
use crate::report::{Goal, Table, float, median, per_second, thousands};
use crate::{Outcome, ROUNDS, requests, system};

/// Jobs that are worked off for one figure.
const WORKED: usize = 50_000;
const DAY: Duration = Duration::from_hours(24);

/// How much lies in the queue beside what is worked off.
#[derive(Clone, Copy)]
struct Backlog {
    waiting: usize,
    scheduled: usize,
    dead: usize,
}

const SMALL: Backlog = Backlog {
    waiting: 1_000,
    scheduled: 1_000,
    dead: 1_000,
};
const HUGE: Backlog = Backlog {
    waiting: 1_000_000,
    scheduled: 1_000_000,
    dead: 100_000,
};
const CREWS: [usize; 4] = [1, 2, 4, 8];

/// What to measure beside a backlog.
#[derive(Default)]
struct Figures {
    /// Jobs a second.
    rate: Vec<f64>,
    /// Redis' time for a job taken and settled, in µs.
    redis: Vec<f64>,
    /// A page of each state, and the counts of the queue, in ms.
    list: Vec<f64>,
    count: Vec<f64>,
}

struct Stage {
    server: RedisServer,
    queue: Queue,
    inspector: Inspector,
    payload: Arc<[u8]>,
    /// Names are never used twice.
    named: usize,
}

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let folder = tempfile::tempdir()?;
    let mut stage = runtime.block_on(Stage::new(folder.path()))?;
    let (mut small, mut huge) = (Figures::default(), Figures::default());
    for (backlog, figures) in [(SMALL, &mut small), (HUGE, &mut huge)] {
        stage.fill(runtime, backlog)?;
        for _ in 0..ROUNDS {
            stage.weigh(runtime, backlog, figures)?;
        }
    }
    let mut crews = [const { Vec::new() }; CREWS.len()];
    for _ in 0..ROUNDS {
        for (size, rates) in CREWS.into_iter().zip(&mut crews) {
            runtime.block_on(stage.clear())?;
            runtime.block_on(stage.enqueue(2 * WORKED, Duration::ZERO))?;
            let took = stage.work(size, 2 * WORKED, false)?;
            rates.push(float(u64::try_from(2 * WORKED)?) / took.as_secs_f64());
        }
    }

    let mut table = Table::new(
        "6. Scale: beside 1,000 waiting, scheduled and dead jobs; beside a million, a million and 100,000",
    );
    let mut both = |what: &str, few: &[f64], many: &[f64], unit: &str| {
        let (few, many) = (median(few), median(many));
        table.plain(what, format!("{} {unit}", thousands(few)));
        let told = format!("{} {unit}", thousands(many));
        table.compared(
            "  beside the huge backlog",
            told,
            many / few,
            Some(Goal::AtMost(125.0)),
        );
    };
    both(
        "take and settle a job: Redis' time",
        &small.redis,
        &huge.redis,
        "µs",
    );
    both("list a page of 50 of each state", &small.list, &huge.list, "ms");
    both("count the jobs in each state", &small.count, &huge.count, "ms");
    table.plain(
        "jobs that do nothing, beside few",
        per_second(median(&small.rate)),
    );
    table.compared(
        "  beside the huge backlog",
        per_second(median(&huge.rate)),
        median(&huge.rate) / median(&small.rate),
        Some(Goal::AtLeast(90.0)),
    );
    let one = median(&crews[0]);
    for (size, rates) in CREWS.into_iter().zip(&crews) {
        let rate = median(rates);
        let goal = (size > 1).then_some(Goal::AtLeast(90.0));
        table.compared(
            &format!("{size} worker{}", if size > 1 { "s" } else { "" }),
            per_second(rate),
            rate / one,
            goal,
        );
    }
    table.note("Workers are threads of this process, each with its own connections; they, Redis and nothing else share the cores.");
    runtime.block_on(stage.server.stop())?;
    Ok(table)
}

impl Stage {
    async fn new(folder: &std::path::Path) -> Outcome<Self> {
        let server = RedisServer::start(RedisServerOptions {
            folder: folder.to_owned(),
            append_fsync: None,
            debug: false,
        })
        .await?;
        let queue = open(&server.url())?;
        let purchase = requests::purchases(1, 6)?.pop().ok_or("no purchase")?;
        Ok(Self {
            inspector: Inspector::new(vec![queue.clone()]),
            queue,
            server,
            payload: purchase.encode()?.into(),
            named: 0,
        })
    }

    async fn clear(&self) -> Outcome<()> {
        let mut redis = system::connect(&self.server).await?;
        Ok(redis::cmd("FLUSHALL").query_async(&mut redis).await?)
    }

    /// Lets so many new jobs wait, or run after `delay`.
    async fn enqueue(&mut self, jobs: usize, delay: Duration) -> Outcome<()> {
        for from in (0..jobs).step_by(500) {
            let items = (from..jobs.min(from + 500))
                .map(|_| {
                    self.named += 1;
                    let id = format!(
                        "fulfil:cs_test_a1WvnB3eDguI7dxy6llB3LBqeRB5l2QhNNr16hRCO6{:012}",
                        self.named
                    );
                    Item::job(&Nothing::new(id, self.payload.clone())).map(|item| item.after(delay))
                })
                .collect::<Result<Vec<_>, _>>()?;
            self.queue.enqueue(&items).await?;
        }
        Ok(())
    }

    fn fill(&mut self, runtime: &Runtime, backlog: Backlog) -> Outcome<()> {
        runtime.block_on(self.clear())?;
        runtime.block_on(self.enqueue(backlog.dead, Duration::ZERO))?;
        self.work(1, backlog.dead, true)?;
        runtime.block_on(self.enqueue(backlog.scheduled, DAY))?;
        runtime.block_on(self.enqueue(backlog.waiting, Duration::ZERO))
    }

    fn weigh(&mut self, runtime: &Runtime, backlog: Backlog, figures: &mut Figures) -> Outcome<()> {
        // The jobs that were under way when the last round was over have ended, too.
        let waiting = runtime.block_on(self.queue.counts())?.waiting;
        runtime.block_on(self.enqueue(backlog.waiting + WORKED - waiting, Duration::ZERO))?;
        let before = runtime.block_on(self.scripts())?;
        let took = self.work(1, WORKED, false)?;
        let used = runtime.block_on(self.scripts())? - before;
        let jobs = float(u64::try_from(WORKED)?);
        figures.rate.push(jobs / took.as_secs_f64());
        figures.redis.push(used / jobs);
        let (list, count) = runtime.block_on(self.look())?;
        figures.list.push(list);
        figures.count.push(count);
        Ok(())
    }

    /// Redis' time in scripts so far, in µs.
    async fn scripts(&self) -> Outcome<f64> {
        let mut redis = system::connect(&self.server).await?;
        let text: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut redis)
            .await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
        let used = line.and_then(|line| line.split_once("usec=")?.1.split(',').next()?.parse().ok());
        Ok(used.ok_or("INFO without evalsha")?)
    }

    /// How long a page of each state takes, and counting, in ms.
    async fn look(&self) -> Outcome<(f64, f64)> {
        const TIMES: u32 = 20;
        let begun = Instant::now();
        for _ in 0..TIMES {
            for state in [
                JobState::Waiting,
                JobState::Scheduled,
                JobState::Dead,
                JobState::Done,
            ] {
                let filter = Filter {
                    state: Some(state),
                    ..Filter::default()
                };
                let page = self.inspector.list(&filter, &PageOptions::default()).await?;
                if page.jobs.len() != 50 {
                    return Err(format!("a page of {} {state:?} jobs", page.jobs.len()).into());
                }
            }
        }
        let list = begun.elapsed() / TIMES;
        let begun = Instant::now();
        for _ in 0..TIMES {
            self.inspector.queues().await?;
        }
        let count = begun.elapsed() / TIMES;
        Ok((list.as_secs_f64() * 1e3, count.as_secs_f64() * 1e3))
    }

    /// Lets so many workers run until they have ended `jobs` of what waits.
    fn work(&mut self, workers: usize, jobs: usize, fails: bool) -> Outcome<Duration> {
        let ended = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        let begun = Instant::now();
        let crew: Vec<_> = (0..workers)
            .map(|_| {
                self.named += 1;
                let shift = Shift {
                    url: self.server.url(),
                    name: format!("worker-{}", self.named),
                    jobs,
                    fails,
                    ended: ended.clone(),
                    stop: stop.clone(),
                };
                std::thread::spawn(move || shift.run())
            })
            .collect();
        for worker in crew {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(begun.elapsed())
    }
}

/// One worker's work.
struct Shift {
    url: SecretString,
    name: String,
    jobs: usize,
    fails: bool,
    ended: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Shift {
    fn run(self) -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let queue = open(&self.url)?;
            let backend = RedisBackend::<Nothing>::new(&queue, &self.name, CONCURRENCY, PREFETCH);
            let give_back = backend.give_back();
            let (ended, stop, jobs, fails) = (self.ended, self.stop.clone(), self.jobs, self.fails);
            let worker = WorkerBuilder::new(self.name.as_str())
                .backend(backend)
                .concurrency(CONCURRENCY)
                .build(move |_: Nothing| {
                    if ended.fetch_add(1, Ordering::Relaxed) + 1 == jobs {
                        stop.cancel();
                    }
                    let result = if fails {
                        Err(JobError::fail("bench", "it shall be dead"))
                    } else {
                        Ok(())
                    };
                    async move { result }
                });
            let told = self.stop.clone();
            worker
                .run_until(async move {
                    told.cancelled().await;
                    Ok::<(), std::io::Error>(())
                })
                .await?;
            give_back.run().await;
            Ok(())
        })
    }
}

fn open(url: &SecretString) -> Outcome<Queue> {
    let redis = Redis::open(url, RedisOptions::default())?;
    Ok(Queue::new(&redis, QueueConfig::default())?)
}
