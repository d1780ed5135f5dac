//! Every fault, one after the other, against the whole system under load: both programs as processes, a real Redis, a
//! real store. At the end a table; `lost` and `doubled` must be 0.
//!
//! `cargo test --test drill [-- WORDS]` runs it small, `SUREPASS_DRILL=long` (`make drill`) for minutes; WORDS choose
//! the faults whose names contain one of them.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a drill that cannot go on has failed"
)]

#[path = "../support/answer.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod answer;
#[path = "../support/customers.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod customers;
#[path = "../support/postgres.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod postgres;
#[path = "../support/program.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod program;
#[path = "../support/proxy.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod proxy;
mod redis_faults;
#[path = "../support/shop/mod.rs"]
#[expect(dead_code, reason = "other test programs use more of it")]
mod shop;
mod site;
mod store_faults;
mod tally;
mod worker_faults;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

use tally::Tally;

/// How long, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// Purchases that are accepted while the fault lasts, at least.
    jobs: usize,
    /// How long something is away.
    outage: Duration,
}

type Fault = fn(Size) -> BoxFuture<'static, Tally>;

const FAULTS: &[(&str, Fault)] = &[
    ("workers killed every second, 4 of them", |size| {
        worker_faults::killed(size).boxed()
    }),
    ("worker frozen past its lease, and thawed", |size| {
        worker_faults::frozen(size).boxed()
    }),
    ("workers' clocks 10 minutes off", |size| {
        worker_faults::clocks_off(size).boxed()
    }),
    ("Redis killed, AOF always", |size| {
        redis_faults::killed("always", size).boxed()
    }),
    ("Redis killed, AOF everysec", |size| {
        redis_faults::killed("everysec", size).boxed()
    }),
    ("Redis out of memory", |size| {
        redis_faults::refusing("out of memory", size).boxed()
    }),
    ("Redis read-only", |size| {
        redis_faults::refusing("read-only", size).boxed()
    }),
    ("Redis loading", |size| redis_faults::loading(size).boxed()),
    ("connections cut between effect and answer", |size| {
        redis_faults::cut(size).boxed()
    }),
    ("disk full under SQLite", |size| {
        store_faults::disk_full(size).boxed()
    }),
    ("PostgreSQL slow, then gone", |size| {
        store_faults::gone(size).boxed()
    }),
];

fn main() -> ExitCode {
    let size = match std::env::var("SUREPASS_DRILL").as_deref() {
        Ok("long") => Size {
            jobs: 10_000,
            outage: Duration::from_mins(1),
        },
        Ok("") | Err(_) => Size {
            jobs: 300,
            outage: Duration::from_secs(2),
        },
        Ok(other) => {
            eprintln!("SUREPASS_DRILL={other}: `long`, or nothing");
            return ExitCode::from(2);
        }
    };
    // What cargo and its like pass to every test program begins with a dash.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen = FAULTS
        .iter()
        .filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut rows = Vec::new();
    for (name, fault) in chosen {
        let started = Instant::now();
        eprintln!("drill: {name} …");
        // On a task of its own: what panics there ends this fault, not the drill.
        let tally = runtime.block_on(async { tokio::spawn(fault(size)).await.ok() });
        eprintln!("drill: {name}: {} s", started.elapsed().as_secs());
        rows.push((*name, tally));
    }
    println!("{}", tally::table(&rows));
    if rows
        .iter()
        .all(|(_, tally)| tally.as_ref().is_some_and(Tally::is_good))
    {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
