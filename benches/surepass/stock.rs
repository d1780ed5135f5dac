//! The same jobs under apalis-redis' own `RedisStorage`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use secrecy::ExposeSecret;
use surepass::up::RedisServer;

use crate::Outcome;
use crate::queue::CONCURRENCY;

/// At 8,000 due jobs it takes none of them for good.
pub(crate) const WAITING: usize = 7_000;

pub(crate) struct Stock {
    connection: ConnectionManager,
    payload: String,
}

impl Stock {
    /// With payloads of so many bytes.
    pub(crate) async fn new(server: &RedisServer, bytes: usize) -> Outcome<Self> {
        let connection = apalis_redis::connect(server.url().expose_secret()).await?;
        let payload = "x".repeat(bytes);
        Ok(Self { connection, payload })
    }

    /// As shipped, or without its lock.
    fn storage(&self, is_locked: bool) -> RedisStorage<String> {
        RedisStorage::new(self.connection.clone())
            .with_config(Config::default().queue("stock").lock_tasks(is_locked))
    }

    /// Fills an empty Redis.
    pub(crate) async fn fill(&self) -> Outcome<()> {
        let mut storage = self.storage(true);
        for _ in (0..WAITING).step_by(500) {
            storage.push_bulk(vec![self.payload.clone(); 500]).await?;
        }
        Ok(())
    }

    /// What it takes to do all jobs.
    pub(crate) async fn drain(&self, is_locked: bool) -> Outcome<Duration> {
        let done = Arc::new(AtomicUsize::new(0));
        let worker = WorkerBuilder::new("stock")
            .backend(self.storage(is_locked))
            .concurrency(CONCURRENCY)
            .build(move |_: String, worker: WorkerContext| {
                if done.fetch_add(1, Ordering::Relaxed) + 1 == WAITING {
                    let _ = worker.stop();
                }
                std::future::ready(Ok::<_, BoxDynError>(()))
            });
        let begun = Instant::now();
        worker.run().await?;
        let time = begun.elapsed();
        let finished: usize = redis::cmd("SCARD")
            .arg("stock:done")
            .query_async(&mut self.connection.clone())
            .await?;
        if finished != WAITING {
            return Err(format!("RedisStorage did {finished} of {WAITING} jobs").into());
        }
        Ok(time)
    }
}
