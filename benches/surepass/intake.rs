//! 1. Requests a second, and how long one takes, against the same server that does less.

use std::sync::Arc;

use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;

use crate::bare_server::{self, Running};
use crate::load::{Peak, open_loop, peak, quantiles};
use crate::report::{Goal, Table, float, latency, median, per_second, thousands};
use crate::requests::Requests;
use crate::{Outcome, ROUNDS};

const REQUESTS: usize = 60_000;
const CONNECTIONS: usize = 64;
/// At the fixed rate: ten seconds.
const SLOW_REQUESTS: usize = 5_000;
const SLOW_RATE: u32 = 500;

struct Stage<'a> {
    runtime: &'a Runtime,
    requests: Arc<Requests>,
    redis: RedisServer,
    durable: RedisServer,
    folder: tempfile::TempDir,
}

#[derive(Default)]
struct Figures {
    rate: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    slow_p50: Vec<f64>,
    slow_p99: Vec<f64>,
}

pub(crate) fn measure(runtime: &Runtime) -> Outcome<Table> {
    let folder = tempfile::tempdir()?;
    let start = |name: &str, append_fsync| {
        let folder = folder.path().join(name);
        runtime.block_on(RedisServer::start(RedisServerOptions {
            folder,
            append_fsync,
            debug: false,
        }))
    };
    let stage = Stage {
        runtime,
        requests: Arc::new(Requests::signed(REQUESTS, 1)),
        redis: start("redis", None)?,
        durable: start("durable", Some("always"))?,
        folder,
    };
    let [mut verifying, mut enqueueing, mut ours, mut durable] = [const { Figures::new() }; 4];
    for _ in 0..ROUNDS {
        stage.run(&stage.redis, &mut verifying, bare_server::verifying)?;
        stage.run(&stage.redis, &mut enqueueing, || {
            bare_server::enqueueing(&stage.redis.url())
        })?;
        stage.run(&stage.redis, &mut ours, || {
            bare_server::ours(&stage.redis.url(), stage.database())
        })?;
        stage.run(&stage.durable, &mut durable, || {
            bare_server::ours(&stage.durable.url(), stage.database())
        })?;
    }

    let mut table = Table::new("1. Intake: POST /webhooks/stripe");
    let limit = median(&enqueueing.rate);
    table.plain("(a) bare: verify", verifying.peak());
    table.plain("(b) bare: verify, EVALSHA of SET NX + LPUSH", enqueueing.peak());
    table.compared(
        "Surepass",
        ours.peak(),
        median(&ours.rate) / limit,
        Some(Goal::AtLeast(85.0)),
    );
    table.compared(
        "  against (a)",
        String::new(),
        median(&ours.rate) / median(&verifying.rate),
        None,
    );
    table.compared(
        "  with appendfsync always",
        durable.peak(),
        median(&durable.rate) / limit,
        None,
    );
    table.plain("(a) at 500/s", verifying.slow());
    table.plain("(b) at 500/s", enqueueing.slow());
    table.judged(
        "Surepass at 500/s",
        ours.slow(),
        median(&ours.slow_p99),
        Goal::AtMost(1.0),
        " ms",
    );
    table.plain("  with appendfsync always", durable.slow());
    table.note(format!(
        "{} requests of {} bytes over {CONNECTIONS} keep-alive connections; server, Redis and load share the cores;",
        thousands(float(u64::try_from(REQUESTS)?)),
        stage.requests.body_bytes()
    ));
    table.note(
        "Redis on a Unix socket, appendonly no unless said otherwise. At 500/s: open loop, from when due.",
    );
    runtime.block_on(async {
        stage.redis.stop().await?;
        stage.durable.stop().await
    })?;
    Ok(table)
}

impl Stage<'_> {
    fn database(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("intake.db").display())
    }

    fn run(
        &self,
        redis: &RedisServer,
        figures: &mut Figures,
        start: impl Fn() -> Outcome<Running>,
    ) -> Outcome<()> {
        crate::system::flush(self.runtime, redis)?;
        let server = start()?;
        figures.add(&peak(server.address, &self.requests, 0..REQUESTS, CONNECTIONS)?);
        crate::system::flush(self.runtime, redis)?;
        let latencies = open_loop(
            server.address,
            &self.requests,
            0..SLOW_REQUESTS,
            SLOW_RATE,
            16,
            || Ok(|_| Ok(())),
        )?;
        let (p50, p99) = quantiles(&latencies);
        figures.slow_p50.push(p50);
        figures.slow_p99.push(p99);
        server.stop()
    }
}

impl Figures {
    const fn new() -> Self {
        Self {
            rate: Vec::new(),
            p50: Vec::new(),
            p99: Vec::new(),
            slow_p50: Vec::new(),
            slow_p99: Vec::new(),
        }
    }

    fn add(&mut self, peak: &Peak) {
        self.rate.push(peak.per_second);
        self.p50.push(peak.latency.0);
        self.p99.push(peak.latency.1);
    }

    fn peak(&self) -> String {
        let latencies = (median(&self.p50), median(&self.p99));
        format!("{}, {}", per_second(median(&self.rate)), latency(latencies))
    }

    fn slow(&self) -> String {
        latency((median(&self.slow_p50), median(&self.slow_p99)))
    }
}
