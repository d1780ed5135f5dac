//! Facts about the Redis server of a queue, for operators.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::client::Queue;
use super::error::QueueError;

/// What the scripts need (`ZRANGE … BYSCORE`, `ZADD GT`) has this version of Redis; all of Valkey's are newer.
pub const LEAST_VERSION: (u32, u32) = (6, 2);

/// A server, by its own words.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// `redis` or `valkey`.
    pub name: &'static str,
    /// Such as `7.0.15`.
    pub version: String,
    /// Every write goes to a file.
    pub append_only: bool,
    /// When that file is brought to the disk: `always`, `everysec` or `no`; `None`: it does not say.
    pub append_fsync: Option<String>,
    /// Whole copies go to a file from time to time; `None`: it does not say.
    pub saves: Option<bool>,
    /// The last write to a file failed.
    pub cannot_persist: bool,
    /// Such as `noeviction`.
    pub eviction: Option<String>,
    /// In bytes.
    pub used_memory: u64,
    /// In bytes; `None`: no limit.
    pub max_memory: Option<u64>,
    pub replicas: u64,
    /// Its clock, in ms since 1970.
    pub clock: u64,
    /// How long an answer takes: the middle one of five.
    pub latency: Duration,
}

impl Queue {
    /// The server that holds this queue now.
    pub async fn server(&self) -> Result<Server, QueueError> {
        let mut connection = self.connection.clone();
        let info: String = redis::cmd("INFO").query_async(&mut connection).await?;
        let info: HashMap<_, _> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let text = |name: &str| info.get(name).map(|value| value.trim());
        let number = |name: &str| text(name).and_then(|text| text.parse::<u64>().ok());
        let (name, version) = match text("valkey_version") {
            Some(version) => ("valkey", version),
            None => ("redis", text("redis_version").unwrap_or("0")),
        };
        let failed = |name: &str| text(name).is_some_and(|status| status != "ok");
        let append_fsync = self.setting("appendfsync").await;
        let saves = self.setting("save").await.map(|save| !save.is_empty());
        let eviction = text("maxmemory_policy").map(str::to_owned);
        let mut times = Vec::with_capacity(5);
        for _ in 0..5 {
            let began = Instant::now();
            let _: String = redis::cmd("PING").query_async(&mut connection).await?;
            times.push(began.elapsed());
        }
        times.sort_unstable();
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(&mut connection).await?;
        Ok(Server {
            name,
            version: version.to_owned(),
            append_only: text("aof_enabled") == Some("1"),
            append_fsync,
            saves,
            cannot_persist: failed("aof_last_write_status") || failed("rdb_last_bgsave_status"),
            eviction,
            used_memory: number("used_memory").unwrap_or_default(),
            max_memory: number("maxmemory").filter(|max| *max > 0),
            replicas: number("connected_slaves").unwrap_or_default(),
            clock: seconds * 1_000 + micros / 1_000,
            latency: times[times.len() / 2],
        })
    }

    /// A setting of the server's; `None` where it keeps them to itself, as managed ones do.
    async fn setting(&self, name: &str) -> Option<String> {
        let mut ask = redis::cmd("CONFIG");
        ask.arg("GET").arg(name);
        let pair: Vec<String> = ask.query_async(&mut self.connection.clone()).await.ok()?;
        pair.into_iter().nth(1)
    }
}
