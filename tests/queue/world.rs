//! A private Redis with a queue in it, and workers whose handlers the test directs.

use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use surepass::queue::{
    DecodeError, Enqueued, GiveBack, Item, Job, Queue, QueueConfig, Redis, RedisBackend, RedisOptions,
    RetryPolicy,
};
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing here takes nearly as long, unless it never happens.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A job whose id is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work(pub(crate) String);

impl Job for Work {
    fn kind(&self) -> &'static str {
        "work"
    }

    fn key(&self) -> Option<String> {
        Some(self.0.clone())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn decode(kind: &str, version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        if kind != "work" {
            return Err(DecodeError::UnknownKind(kind.to_owned()));
        }
        if version != 1 {
            let kind = kind.to_owned();
            return Err(DecodeError::UnknownVersion { kind, version });
        }
        Ok(serde_json::from_slice(payload)?)
    }
}

pub(crate) fn work(id: &str) -> Item {
    Item::job(&Work(id.to_owned())).unwrap()
}

pub(crate) fn works(ids: impl Iterator<Item = u32>) -> Vec<Item> {
    ids.map(|n| work(&format!("job-{n}"))).collect()
}

pub(crate) type Ending = Result<(), BoxDynError>;
/// What a handler does with an attempt: the job, and which attempt it is.
pub(crate) type Act = Arc<dyn Fn(Work, usize) -> BoxFuture<'static, Ending> + Send + Sync>;

pub(crate) fn act<F: Future<Output = Ending> + Send + 'static>(
    act: impl Fn(Work, usize) -> F + Send + Sync + 'static,
) -> Act {
    Arc::new(move |job, attempt| act(job, attempt).boxed())
}

/// Succeeds at once.
pub(crate) fn ok() -> Act {
    act(|_, _| async { Ok(()) })
}

/// Runs until it is cancelled, or its worker dies.
pub(crate) fn hang() -> Act {
    act(|_, _| std::future::pending())
}

/// Runs until the test lets it go on.
pub(crate) fn gated() -> (Act, Arc<tokio::sync::Semaphore>) {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let wait = act(move |_, _| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    (wait, gate)
}

/// What a worker's handlers tell the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Began(String, usize),
    Ended(String, usize),
    /// The handler was dropped in the middle.
    Dropped(String, usize),
}

pub(crate) fn began(id: &str, attempt: usize) -> Told {
    Told::Began(id.to_owned(), attempt)
}

pub(crate) fn ended(id: &str, attempt: usize) -> Told {
    Told::Ended(id.to_owned(), attempt)
}

/// Tells how a handler ended, even when it is dropped.
struct Ear {
    told: mpsc::UnboundedSender<Told>,
    id: String,
    attempt: usize,
    ended: bool,
}

impl Drop for Ear {
    fn drop(&mut self) {
        let (id, attempt) = (self.id.clone(), self.attempt);
        let told = if self.ended {
            Told::Ended(id, attempt)
        } else {
            Told::Dropped(id, attempt)
        };
        let _ = self.told.send(told);
    }
}

#[derive(Clone)]
struct Desk {
    told: mpsc::UnboundedSender<Told>,
    act: Act,
}

async fn handle(job: Work, attempt: Attempt, desk: Data<Desk>) -> Ending {
    let (id, attempt) = (job.0.clone(), attempt.current());
    let _ = desk.told.send(began(&id, attempt));
    let mut ear = Ear {
        told: desk.told.clone(),
        id,
        attempt,
        ended: false,
    };
    let answer = (desk.act)(job, attempt).await;
    ear.ended = true;
    answer
}

/// How much a worker takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) concurrency: usize,
    pub(crate) prefetch: usize,
    /// The longest that an attempt may take.
    pub(crate) timeout: Duration,
}

impl Size {
    pub(crate) const fn of(concurrency: usize, prefetch: usize) -> Self {
        Self {
            concurrency,
            prefetch,
            timeout: Duration::from_mins(10),
        }
    }
}

pub(crate) struct Worker {
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    pub(crate) give_back: GiveBack,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    pub(crate) async fn next(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("the worker told nothing")
            .expect("the worker is gone")
    }

    /// Waits until `jobs` attempts have ended; answers all that was told meanwhile. Redis may not know of the last of them
    /// yet: who reads there waits with [`World::until_counts`], or until the worker has stopped.
    pub(crate) async fn until_ended(&mut self, jobs: usize) -> Vec<Told> {
        let mut all = Vec::new();
        let mut count = 0;
        while count < jobs {
            let told = self.next().await;
            count += usize::from(matches!(told, Told::Ended(..)));
            all.push(told);
        }
        all
    }

    /// Dies as a killed process does: nothing is settled, nothing is given back, the lease is not renewed.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Asks it to stop in good order.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end; answers what its handlers still told.
    pub(crate) async fn stopped(mut self) -> Vec<Told> {
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("the worker does not stop")
            .unwrap()
            .unwrap();
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    pub(crate) async fn stop(self) -> Vec<Told> {
        self.ask_to_stop();
        self.stopped().await
    }

    pub(crate) fn lives(&self) -> bool {
        !self.task.is_finished()
    }
}

pub(crate) struct World {
    pub(crate) server: RedisServer,
    pub(crate) queue: Queue,
    folder: TempDir,
}

/// Quick where Surepass' own defaults are patient.
pub(crate) fn quick() -> QueueConfig {
    QueueConfig {
        retry: RetryPolicy {
            base: Duration::from_millis(5),
            cap: Duration::from_mins(10),
            max_attempts: 16,
        },
        noise: || 0.5,
        ..QueueConfig::default()
    }
}

/// With a lease that ends while a test waits for it.
pub(crate) fn short_lease() -> QueueConfig {
    QueueConfig {
        lease: Duration::from_millis(600),
        ..quick()
    }
}

impl World {
    pub(crate) async fn new(config: QueueConfig) -> Self {
        Self::over(config, None).await
    }

    /// Over a Redis that keeps what it has acknowledged.
    pub(crate) async fn durable(config: QueueConfig) -> Self {
        Self::over(config, Some("always")).await
    }

    async fn over(config: QueueConfig, append_fsync: Option<&'static str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(RedisServerOptions {
            folder: folder.path().to_owned(),
            append_fsync,
            debug: false,
        })
        .await
        .unwrap();
        let redis = Redis::open(&server.url(), RedisOptions::default()).unwrap();
        let queue = Queue::new(&redis, config).unwrap();
        Self {
            server,
            queue,
            folder,
        }
    }

    /// A folder of this world's own.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub(crate) fn hire(&self, name: &str, size: Size, act: Act) -> Worker {
        hire(&self.queue, name, size, act)
    }

    /// A connection beside the queue's own.
    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        use secrecy::ExposeSecret;
        redis::Client::open(self.server.url().expose_secret())
            .unwrap()
            .get_multiplexed_async_connection()
            .await
            .unwrap()
    }

    pub(crate) async fn enqueue(&self, item: Item) -> Enqueued {
        self.queue.enqueue(&[item]).await.unwrap()[0]
    }

    /// Sends one command by hand.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.redis().await).await.unwrap()
    }

    /// Waits until the queue's counts are as they should be: waiting, scheduled, running, dead.
    pub(crate) async fn until_counts(&self, expected: [usize; 4]) {
        let mut last = None;
        let waiting = async {
            loop {
                let counts = self.queue.counts().await.unwrap();
                let now = [counts.waiting, counts.scheduled, counts.running, counts.dead];
                if now == expected {
                    return;
                }
                last = Some(now);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(
            ended.is_ok(),
            "waiting, scheduled, running, dead: {last:?} instead of {expected:?}"
        );
    }

    /// Waits until the lease of `token` has run out by Redis' own clock.
    pub(crate) async fn until_lease_ends(&self, token: &str) {
        loop {
            let ends: Option<f64> = self.ask(&["ZSCORE", &self.queue.key("lease"), token]).await;
            let (seconds, micros): (f64, f64) = self.ask(&["TIME"]).await;
            if ends.is_none_or(|ends| ends < seconds * 1_000.0 + micros / 1_000.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How often Redis has run each command, inside of scripts too.
    pub(crate) async fn command_calls(&self) -> std::collections::BTreeMap<String, u64> {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        info.lines()
            .filter_map(|line| {
                let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
            })
            .collect()
    }

    /// Every key with its serialised value: what a call that changes nothing leaves as it was.
    pub(crate) async fn everything(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut connection = self.redis().await;
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut connection)
            .await
            .unwrap();
        keys.sort();
        let mut all = Vec::new();
        for key in keys {
            let value: Vec<u8> = redis::cmd("DUMP")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            all.push((key, value));
        }
        all
    }
}

/// Hires a worker for a queue, over whatever way that queue goes to its Redis.
pub(crate) fn hire(queue: &Queue, name: &str, size: Size, act: Act) -> Worker {
    let (sender, told) = mpsc::unbounded_channel();
    let backend = RedisBackend::<Work>::new(queue, name, size.concurrency, size.prefetch);
    let give_back = backend.give_back();
    let stop = CancellationToken::new();
    let (asked, no_more) = (stop.clone(), backend.stop());
    let worker = WorkerBuilder::new(name)
        .backend(backend)
        .data(Desk { told: sender, act })
        .concurrency(size.concurrency)
        .timeout(size.timeout)
        .build(handle);
    let task = tokio::spawn(worker.run_until(async move {
        asked.cancelled().await;
        no_more.cancel();
        Ok::<(), std::io::Error>(())
    }));
    Worker {
        told,
        give_back,
        stop,
        task,
    }
}
