//! Keys of a queue that hold something else than what the queue writes there.

use super::client::Queue;
use super::error::QueueError;

/// The queue's keys that there is one of, and what each is to Redis.
const KEYS: [(&str, &str); 14] = [
    ("wait", "list"),
    ("turn", "zset"),
    ("sched", "zset"),
    ("lease", "zset"),
    ("done", "list"),
    ("dead", "zset"),
    ("steer", "hash"),
    ("stray", "zset"),
    ("spared", "set"),
    ("workers", "hash"),
    ("stats", "hash"),
    ("log", "stream"),
    ("parked", "stream"),
    ("cron", "zset"),
];

/// A key that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenKey {
    pub key: String,
    /// Its type, as Redis names it.
    pub is: String,
    pub should_be: &'static str,
}

impl Queue {
    /// The first of the queue's own keys that another program has overwritten, if there is one. One round trip. Keys of
    /// single jobs, groups and workers are not looked at.
    pub async fn broken_key(&self) -> Result<Option<BrokenKey>, QueueError> {
        let mut ask = redis::pipe();
        for (name, _) in KEYS {
            ask.cmd("TYPE").arg(self.key(name));
        }
        let types: Vec<String> = ask.query_async(&mut self.connection.clone()).await?;
        let broken = types
            .into_iter()
            .zip(KEYS)
            .find(|(is, (_, should_be))| is != "none" && is != should_be);
        Ok(broken.map(|(is, (name, should_be))| BrokenKey {
            key: self.key(name),
            is,
            should_be,
        }))
    }
}
