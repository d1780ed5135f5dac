//! 5. What a purchase costs: CPU over all processes, Redis commands, Redis memory, memory of each process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use surepass::event_log;
use surepass::queue::{Item, Queue, QueueConfig, Redis, RedisOptions};
use surepass::stripe::Event;
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;

use crate::bare_consumer::Consumer;
use crate::bare_server;
use crate::load::{open_loop, peak};
use crate::report::{Goal, Table, float, median, thousands};
use crate::requests::{self, Requests};
use crate::system::{self, Durability, System};
use crate::{Outcome, ROUNDS};

const AT_PEAK: usize = 20_000;
const SLOW: usize = 2_500;
const SLOW_RATE: u32 = 500;
const WAITING: usize = 100_000;
const LOGGED: usize = 20_000;

#[derive(Default)]
struct Figures {
    /// µs a purchase: the server, the worker, Redis.
    cpu: [Vec<f64>; 3],
    commands: Vec<f64>,
}

impl Figures {
    fn total(&self) -> f64 {
        self.cpu.iter().map(|one| median(one)).sum()
    }

    fn told(&self) -> String {
        let [server, worker, redis] = self.cpu.each_ref().map(|one| thousands(median(one).round()));
        format!(
            "{} µs: serve {server}, worker {worker}, Redis {redis}",
            thousands(self.total().round())
        )
    }
}

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let requests = Arc::new(Requests::signed(AT_PEAK + SLOW, 5));
    let (mut peaks, mut slow) = (Figures::default(), Figures::default());
    let mut memory = [const { Vec::new() }; 2];
    let mut limit = Vec::new();
    for _ in 0..ROUNDS {
        limit.push(bare(runtime, &requests)?);
        let system = System::start(runtime, Durability::Fast)?;
        let idle = residents(&system)?;
        account(runtime, &system, &mut slow, SLOW, SLOW, || {
            open_loop(system.address, &requests, 0..SLOW, SLOW_RATE, 16, || {
                Ok(|_| Ok(()))
            })?;
            Ok(())
        })?;
        account(runtime, &system, &mut peaks, AT_PEAK, SLOW + AT_PEAK, || {
            peak(system.address, &requests, SLOW..SLOW + AT_PEAK, 32)?;
            Ok(())
        })?;
        memory[0].push(idle);
        memory[1].push(residents(&system)?);
        system.stop(runtime)?;
    }
    let waiting = runtime.block_on(bytes_waiting())?;

    let mut table = Table::new("5. What a purchase costs");
    let limit = median(&limit);
    table.plain(
        "bare: server (b), consumer of its list, Redis; no event log",
        format!("{} µs", thousands(limit.round())),
    );
    table.judged(
        "CPU, at peak",
        peaks.told(),
        peaks.total(),
        Goal::AtMost(60.0),
        " µs",
    );
    table.compared(
        "  at peak against bare (of its CPU)",
        String::new(),
        peaks.total() / limit,
        Some(Goal::AtMost(188.0)),
    );
    table.plain("CPU, at 500/s", slow.told());
    let commands = |figures: &Figures| thousands(median(&figures.commands));
    table.judged(
        "Redis commands, at peak",
        commands(&peaks),
        median(&peaks.commands),
        Goal::AtMost(8.0),
        "",
    );
    table.plain("Redis commands, at 500/s", commands(&slow));
    table.judged(
        "Redis bytes for a waiting job",
        format!("{} with its dedupe keys", thousands(waiting.job)),
        waiting.job,
        Goal::AtMost(1_000.0),
        "",
    );
    table.plain("  of these the event's key, kept 35 days", thousands(waiting.key));
    table.plain("  apart: its entry in the log", thousands(waiting.entry));
    for (nth, name) in ["surepass serve", "surepass-worker"].into_iter().enumerate() {
        let [idle, busy] = memory
            .each_ref()
            .map(|rounds| median(&rounds.iter().map(|one: &[f64; 2]| one[nth]).collect::<Vec<_>>()));
        table.judged(
            &format!("memory (RSS) of {name}"),
            format!(
                "{} MB at rest, {} MB after the peak",
                thousands(idle),
                thousands(busy)
            ),
            busy,
            Goal::AtMost(20.0),
            " MB",
        );
    }
    table.note(format!(
        "{} purchases as fast as 32 connections take them, {} at 500/s; through `surepass serve`, Redis and `surepass-worker`",
        thousands(float(u64::try_from(AT_PEAK)?)),
        thousands(float(u64::try_from(SLOW)?))
    ));
    table.note("until their rows and their log entries are in SQLite (NORMAL). Commands: INFO commandstats, inside scripts included.");
    table.note("60 µs is the goal where bare code takes 32: 188 % of it.");
    Ok(table)
}

/// µs of CPU for a purchase, at peak, that bare code takes: all threads of this process but the one that sends, and Redis.
fn bare(runtime: &Runtime, requests: &Arc<Requests>) -> Outcome<f64> {
    // For its Redis, its tables and its catalog; its own programs sleep on another queue.
    let system = System::start(runtime, Durability::Fast)?;
    let server = bare_server::enqueueing(&system.redis.url())?;
    let consumer = Consumer::start(&system.redis, &system.database())?;
    let redis = system.redis.pid().ok_or("Redis is gone")?.to_string();
    let used = || {
        let all = seconds("self")? + seconds(&redis)?;
        Outcome::Ok(all - seconds("thread-self")?)
    };
    let before = used()?;
    peak(server.address, requests, 0..AT_PEAK, 32)?;
    runtime.block_on(until_stored(&system, AT_PEAK, 0))?;
    let used = used()? - before;
    server.stop()?;
    consumer.stop()?;
    system.stop(runtime)?;
    Ok(used * 1e6 / float(u64::try_from(AT_PEAK)?))
}

/// Lets `load` run, waits until all of it is in the store, and accounts for what it took.
fn account(
    runtime: &Runtime,
    system: &System,
    figures: &mut Figures,
    purchases: usize,
    rows: usize,
    load: impl FnOnce() -> Outcome<()>,
) -> Outcome<()> {
    let mut redis = runtime.block_on(system::connect(&system.redis))?;
    runtime.block_on(async {
        redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .query_async::<()>(&mut redis)
            .await
    })?;
    let before = cpu(system)?;
    load()?;
    runtime.block_on(until_stored(system, rows, rows))?;
    let after = cpu(system)?;
    let count = float(u64::try_from(purchases)?);
    for ((figures, before), after) in figures.cpu.iter_mut().zip(before).zip(after) {
        figures.push((after - before) * 1e6 / count);
    }
    let commands = runtime.block_on(commands(&mut redis))?;
    figures.commands.push(float(commands) / count);
    Ok(())
}

async fn until_stored(system: &System, purchases: usize, logged: usize) -> Outcome<()> {
    let mut reader = system::reader(&system.database()).await?;
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let subscriptions = system::rows(&mut reader, "subscriptions").await?;
        let events = system::rows(&mut reader, "events").await?;
        if subscriptions == purchases && events == logged {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("{subscriptions} rows of {purchases}, {events} events of {logged}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Seconds of CPU that each process has used.
fn cpu(system: &System) -> Outcome<[f64; 3]> {
    let mut used = [0.0; 3];
    for (used, (_, id)) in used.iter_mut().zip(system.processes()?) {
        *used = seconds(&id.to_string())?;
    }
    Ok(used)
}

/// Seconds of CPU that one process (or `thread-self`) has used.
pub(crate) fn seconds(id: &str) -> Outcome<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name in brackets may hold spaces.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks: u64 = [11, 12]
        .iter()
        .map(|field| {
            fields
                .get(*field)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or(0)
        })
        .sum();
    // USER_HZ, which is 100 wherever Linux runs.
    Ok(float(ticks) / 100.0)
}

/// Resident memory of the server and of the worker, in MB.
fn residents(system: &System) -> Outcome<[f64; 2]> {
    let [(_, server), (_, worker), _] = system.processes()?;
    Ok([resident(server)?, resident(worker)?])
}

/// Resident memory of one process, in MB of 1,000,000 bytes.
pub(crate) fn resident(id: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    // `kB` there are of 1,024 bytes.
    let kilobytes: Option<u64> = status.lines().find_map(|line| {
        let line = line.strip_prefix("VmRSS:")?.trim();
        line.split(' ').next()?.parse().ok()
    });
    Ok(float(kilobytes.ok_or_else(|| format!("no VmRSS of {id}"))?) * 1.024 / 1_000.0)
}

/// How many commands Redis has run since its counters were reset.
async fn commands(redis: &mut MultiplexedConnection) -> Outcome<u64> {
    let text: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await?;
    let calls = |line: &str| -> Option<u64> { line.split_once("calls=")?.1.split(',').next()?.parse().ok() };
    Ok(text
        .lines()
        .filter(|line| line.starts_with("cmdstat_") && !line.starts_with("cmdstat_config"))
        .filter_map(calls)
        .sum())
}

struct Waiting {
    job: f64,
    key: f64,
    entry: f64,
}

async fn bytes_waiting() -> Outcome<Waiting> {
    let folder = tempfile::tempdir()?;
    let server = RedisServer::start(RedisServerOptions {
        folder: folder.path().to_owned(),
        append_fsync: None,
        debug: false,
    })
    .await?;
    let mut redis = system::connect(&server).await?;
    let queue = Queue::new(
        &Redis::open(&server.url(), RedisOptions::default())?,
        QueueConfig::default(),
    )?;
    let life = Duration::from_hours(35 * 24);
    let purchases = requests::purchases(WAITING, 6)?;
    let keyed = |item: Item, id: &Option<String>| {
        item.dedupe(format!("event:{}", id.as_deref().unwrap_or_default()), life)
    };

    let before = used(&mut redis).await?;
    for chunk in purchases.chunks(500) {
        let items: Vec<_> = chunk
            .iter()
            .map(|purchase| keyed(Item::default(), &purchase.event_id))
            .collect();
        queue.enqueue(&items).await?;
    }
    let key = (used(&mut redis).await? - before) / float(u64::try_from(WAITING)?);
    redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await?;

    let before = used(&mut redis).await?;
    for chunk in purchases.chunks(500) {
        let items = chunk
            .iter()
            .map(|purchase| Ok(keyed(Item::job(purchase)?, &purchase.event_id)))
            .collect::<Outcome<Vec<_>>>()?;
        queue.enqueue(&items).await?;
    }
    let job = (used(&mut redis).await? - before) / float(u64::try_from(WAITING)?);

    let before = used(&mut redis).await?;
    let mut items = Vec::new();
    for session in requests::sessions(LOGGED, 7) {
        let body = requests::body(&session);
        items.push(event_log::attach(
            Item::default(),
            &Event::parse(&body)?,
            None,
            None,
            &body,
        )?);
    }
    for chunk in items.chunks(500) {
        queue.enqueue(chunk).await?;
    }
    let entry = (used(&mut redis).await? - before) / float(u64::try_from(LOGGED)?);
    server.stop().await?;
    Ok(Waiting { job, key, entry })
}

async fn used(redis: &mut MultiplexedConnection) -> Outcome<f64> {
    let text: String = redis::cmd("INFO").arg("memory").query_async(redis).await?;
    let used: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
        .ok_or("INFO without used_memory")?;
    Ok(float(used))
}
