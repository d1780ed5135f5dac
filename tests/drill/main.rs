//! Every fault, one after the other, against the whole system under load: both programs as processes, a real Redis, a
//! real store. At the end a table; `lost` and `doubled` must be 0.
//!
//! `cargo test --test drill [-- WORDS]` runs it small, `SUREPASS_DRILL=long` (`make drill`) for minutes; WORDS choose
//! the faults whose names contain one of them.

#![expect(clippy::unwrap_used, reason = "a drill that cannot go on has failed")]

mod redis_faults;
mod shared_account;
mod site;
mod store_faults;
mod tally;
mod worker_faults;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use tally::Tally;

/// How long, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Purchases that are accepted while the fault lasts, at least.
    jobs: usize,
    /// How long something is away.
    outage: Duration,
}

type Fault = fn(Scale) -> LocalBoxFuture<'static, Tally>;

const FAULTS: &[(&str, Fault)] = &[
    ("workers killed every second, 4 of them", |scale| {
        worker_faults::killed(scale).boxed_local()
    }),
    ("workers killed, two endpoints in one account", |scale| {
        shared_account::killed(scale).boxed_local()
    }),
    ("worker frozen past its lease, and thawed", |scale| {
        worker_faults::frozen(scale).boxed_local()
    }),
    ("workers' clocks 10 minutes off", |scale| {
        worker_faults::clocks_off(scale).boxed_local()
    }),
    ("Redis killed, AOF always", |scale| {
        redis_faults::killed("always", scale).boxed_local()
    }),
    ("Redis killed, AOF everysec", |scale| {
        redis_faults::killed("everysec", scale).boxed_local()
    }),
    ("Redis out of memory", |scale| {
        redis_faults::refusing("out of memory", scale).boxed_local()
    }),
    ("Redis read-only", |scale| {
        redis_faults::refusing("read-only", scale).boxed_local()
    }),
    ("Redis loading", |scale| {
        redis_faults::loading(scale).boxed_local()
    }),
    ("connections cut between effect and answer", |scale| {
        redis_faults::cut(scale).boxed_local()
    }),
    ("disk full under SQLite", |scale| {
        store_faults::disk_full(scale).boxed_local()
    }),
    ("PostgreSQL slow, then gone", |scale| {
        store_faults::gone(scale).boxed_local()
    }),
];

fn main() -> ExitCode {
    let scale = match std::env::var("SUREPASS_DRILL").as_deref() {
        Ok("long") => Scale {
            jobs: 10_000,
            outage: Duration::from_mins(1),
        },
        Ok("") | Err(_) => Scale {
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
        // What panics ends this fault, not the drill.
        let tally = runtime
            .block_on(AssertUnwindSafe(fault(scale)).catch_unwind())
            .ok();
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
