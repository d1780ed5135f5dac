//! 4. From the request to the row that another connection can read, at 50 purchases a second.

use std::time::{Duration, Instant};

use sqlx::SqliteConnection;
use tokio::runtime::Runtime;

use crate::bare_consumer::Consumer;
use crate::bare_server;
use crate::load::{open_loop, quantiles};
use crate::report::{Goal, Table, latency, median};
use crate::requests::Requests;
use crate::system::{self, Durability, System};
use crate::{Outcome, ROUNDS};

const RATE: u32 = 50;
/// Ten seconds a round, after one that does not count.
const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
const CONNECTIONS: usize = 8;
/// Between two looks at the table: short beside what is measured, long enough to leave the cores to the others.
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);

#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Figures {
    fn add(&mut self, (p50, p99): (f64, f64)) {
        self.p50.push(p50);
        self.p99.push(p99);
    }

    fn medians(&self) -> (f64, f64) {
        (median(&self.p50), median(&self.p99))
    }
}

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let requests = Requests::signed(WARM_UP + REQUESTS, 4);
    let (mut bare, mut fast, mut full) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..ROUNDS {
        bare.add(consumer(runtime, &requests)?);
        fast.add(surepass(runtime, &requests, Durability::Fast)?);
        full.add(surepass(runtime, &requests, Durability::Full)?);
    }

    let mut table = Table::new("4. POST to row, at 50/s");
    let (limit, ours) = (bare.medians(), fast.medians());
    table.plain("bare: server (b), consumer of its list", latency(limit));
    table.judged("Surepass, p50", latency(ours), ours.0, Goal::AtMost(1.5), " ms");
    table.judged("Surepass, p99", latency(ours), ours.1, Goal::AtMost(4.0), " ms");
    table.compared(
        "  p50 against bare (of its time)",
        String::new(),
        ours.0 / limit.0,
        None,
    );
    table.plain(
        "  everything on disk before it is answered",
        latency(full.medians()),
    );
    table.note("Open loop, from when the request was due until another connection reads the row (asked every 50 µs).");
    table.note("Ours: `surepass serve` and `surepass-worker` as processes, SQLite NORMAL, Redis appendonly no. On disk: as");
    table.note("`surepass up` runs it, FULL and appendfsync always. Bare: on threads of this process, NORMAL, appendonly no.");
    Ok(table)
}

fn surepass(runtime: &Runtime, requests: &Requests, durability: Durability) -> Outcome<(f64, f64)> {
    let system = System::start(runtime, durability)?;
    let database = system.database();
    let run = |range| {
        open_loop(system.address, requests, range, RATE, CONNECTIONS, || {
            watcher(&database, requests)
        })
    };
    run(0..WARM_UP)?;
    let latencies = run(WARM_UP..WARM_UP + REQUESTS)?;
    system.stop(runtime)?;
    Ok(quantiles(&latencies))
}

/// Waits until the row of a request is there, over a connection of its own.
fn watcher<'a>(
    database: &str,
    requests: &'a Requests,
) -> Outcome<impl FnMut(usize) -> Outcome<()> + use<'a>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut connection = runtime.block_on(system::reader(database))?;
    Ok(move |nth: usize| {
        let id = requests.subscription_id(nth);
        let end = Instant::now() + Duration::from_secs(20);
        while !runtime.block_on(is_there(&mut connection, &id))? {
            if Instant::now() > end {
                return Err(format!("no row for {id} after 20 s").into());
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        Ok(())
    })
}

async fn is_there(connection: &mut SqliteConnection, id: &str) -> Outcome<bool> {
    let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM subscriptions WHERE id = ?")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    Ok(found.is_some())
}

fn consumer(runtime: &Runtime, requests: &Requests) -> Outcome<(f64, f64)> {
    // For its Redis, its tables and its catalog; its own programs sleep on another queue.
    let system = System::start(runtime, Durability::Fast)?;
    let server = bare_server::enqueueing(&system.redis.url())?;
    let database = system.database();
    let consumer = Consumer::start(&system.redis, &database)?;
    let run = |range| {
        open_loop(server.address, requests, range, RATE, CONNECTIONS, || {
            watcher(&database, requests)
        })
    };
    let latencies = run(0..WARM_UP).and_then(|_| run(WARM_UP..WARM_UP + REQUESTS));
    consumer.stop()?;
    let latencies = latencies?;
    server.stop()?;
    system.stop(runtime)?;
    Ok(quantiles(&latencies))
}
