//! What befalls a shop: a locked store, a Redis that freezes or dies.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::{Connection, Executor, SqliteConnection};

use super::Shop;
use crate::program::PATIENCE;

impl Shop {
    /// Takes the SQLite file's write lock, as a long write of another process would.
    pub async fn lock_store(&self) -> StoreLock {
        let mut connection = SqliteConnection::connect(self.setting("DATABASE_URL"))
            .await
            .unwrap();
        connection
            .execute("PRAGMA busy_timeout = 20000; BEGIN IMMEDIATE")
            .await
            .unwrap();
        StoreLock(connection)
    }

    /// Says something to Redis.
    pub async fn redis(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.setting("REDIS_URL"))?;
        // The default answers after 500 ms that Redis is away.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await
    }

    pub fn signal_workers(&self, signal: Signal) {
        for worker in &self.workers {
            worker.signal(signal);
        }
    }

    pub fn signal_redis(&self, signal: Signal) {
        let pid = i32::try_from(self.redis.as_ref().unwrap().pid().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub async fn kill_redis(&mut self) {
        self.signal_redis(Signal::SIGKILL);
        self.redis.as_mut().unwrap().wait().await.unwrap();
    }

    /// Starts Redis again on its data.
    pub async fn restart_redis(&mut self) {
        self.redis.as_mut().unwrap().restart().await.unwrap();
    }
}

/// A write lock on the store, until it is released.
pub struct StoreLock(SqliteConnection);

impl StoreLock {
    pub async fn release(mut self) {
        self.0.execute("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}
