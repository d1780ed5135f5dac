//! A private Redis with a queue in it.

mod worker;

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::{Deserialize, Serialize};
use surepass::queue::{
    DecodeError, Enqueued, Item, Job, Queue, QueueConfig, Redis, RedisOptions, RetryPolicy,
};
use surepass::up::{RedisServer, RedisServerOptions};
use tempfile::TempDir;

pub(crate) use self::worker::*;

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
