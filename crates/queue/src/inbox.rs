//! An inbox: jobs that another program pushes with stock `apalis_redis::RedisStorage`.
//!
//! Nothing of `RedisStorage`'s worker runs here, so its faults do not reach us: a batch is read, handed over to a queue of
//! ours by its dedupe keys, and removed only then. Several readers, or one that died in between, hand a job over twice; the
//! dedupe key makes one of them.

use std::time::SystemTime;

use apalis_redis::Config;

use super::connection::{FailoverConnection, Redis};
use super::error::QueueError;

/// Jobs in one batch.
pub const BATCH: usize = 100;

/// The jobs of one namespace of apalis-redis, which no worker of apalis-redis may take jobs from.
#[derive(Debug, Clone)]
pub struct Inbox {
    connection: FailoverConnection,
    config: Config,
}

/// A job as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Text, unless something else than `RedisStorage` wrote it.
    pub id: Vec<u8>,
    /// What `RedisStorage` encodes: JSON. Empty: the job's data is missing.
    pub payload: Vec<u8>,
}

impl Inbox {
    /// The inbox of a namespace: what the other program gives to `Config::queue`. Connects at the first call.
    pub fn new(redis: &Redis, namespace: &str) -> Result<Self, QueueError> {
        let config = Config::default().queue(namespace);
        let connection = redis.connection(&config.scheduled_jobs_set())?;
        Ok(Self { connection, config })
    }

    /// Jobs that are due at `now`, the oldest first; at most [`BATCH`]. They stay until [`Self::acknowledge`].
    ///
    /// # Errors
    /// [`QueueError`]; asking again is safe.
    pub async fn due(&self, now: SystemTime) -> Result<Vec<Pushed>, QueueError> {
        let seconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let connection = &mut self.connection.clone();
        // A push schedules the job for now; a worker that was once there has moved it to the other list.
        let (mut ids, scheduled): (Vec<Vec<u8>>, Vec<Vec<u8>>) = redis::pipe()
            .lrange(self.config.active_jobs_list(), 0, BATCH.cast_signed() - 1)
            .zrangebyscore_limit(
                self.config.scheduled_jobs_set(),
                "-inf",
                seconds,
                0,
                BATCH.cast_signed(),
            )
            .query_async(connection)
            .await?;
        ids.extend(scheduled);
        ids.truncate(BATCH);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let payloads: Vec<Option<Vec<u8>>> = redis::cmd("HMGET")
            .arg(self.config.job_data_hash())
            .arg(&ids)
            .query_async(connection)
            .await?;
        let pushed = ids.into_iter().zip(payloads).map(|(id, payload)| Pushed {
            id,
            payload: payload.unwrap_or_default(),
        });
        Ok(pushed.collect())
    }

    /// Removes jobs that were handed over.
    ///
    /// # Errors
    /// [`QueueError`]; asking again is safe.
    pub async fn acknowledge(&self, ids: &[&[u8]]) -> Result<(), QueueError> {
        let mut pipe = self.removal(ids);
        for id in ids {
            pipe.hdel(self.config.job_data_hash(), *id).ignore();
            pipe.del(self.meta(id)).ignore();
        }
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    /// Makes a job a dead one of apalis-redis, with its data and the reason, where its tools list it.
    ///
    /// # Errors
    /// [`QueueError`]; asking again is safe.
    pub async fn refuse(&self, id: &[u8], why: &str, now: SystemTime) -> Result<(), QueueError> {
        let seconds = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut pipe = self.removal(&[id]);
        let result = serde_json::to_string(&Err::<(), _>(why)).map_err(QueueError::Encode)?;
        pipe.sadd(self.config.dead_jobs_set(), id).ignore();
        pipe.hset_multiple(
            self.meta(id),
            &[
                ("status", "Killed"),
                ("result", &result),
                ("done_at", &seconds.to_string()),
            ],
        )
        .ignore();
        Ok(pipe.query_async(&mut self.connection.clone()).await?)
    }

    fn removal(&self, ids: &[&[u8]]) -> redis::Pipeline {
        let mut pipe = redis::pipe();
        pipe.atomic().zrem(self.config.scheduled_jobs_set(), ids).ignore();
        for id in ids {
            // From the head, where it was read.
            pipe.lrem(self.config.active_jobs_list(), 1, *id).ignore();
        }
        pipe
    }

    fn meta(&self, id: &[u8]) -> Vec<u8> {
        [self.config.job_meta_hash().as_bytes(), b":", id].concat()
    }
}
