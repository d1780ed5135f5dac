//! The log stream: verified events on their way to the store.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamAutoClaimReply;
use redis::{RedisError, cmd, from_redis_value};

use super::client::Queue;
use super::enqueue::Enqueued;
use super::error::QueueError;

/// The consumer group of all workers.
const GROUP: &str = "store";
/// How long an entry may be with a worker before another takes it over, in ms.
const ABANDONED_AFTER: u64 = 30_000;

/// The fields of an entry.
type Fields = Vec<(String, Vec<u8>)>;
/// What `XREADGROUP` answers: streams, their entries, the fields of each. redis' own `StreamReadReply` clones the whole
/// answer before it takes it apart, bodies and all.
type Streams = Vec<(String, Vec<(String, Fields)>)>;

/// An entry of the log.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Redis' id of the entry: `ms-n`.
    pub id: String,
    pub header: Vec<u8>,
    pub body: Vec<u8>,
    /// What became of its item.
    pub outcome: Option<Enqueued>,
}

impl LogEntry {
    /// When Redis accepted it, in ms since 1970.
    #[must_use]
    pub fn accepted_ms(&self) -> Option<i64> {
        self.id.split_once('-')?.0.parse().ok()
    }
}

/// Reads the log in batches, for one worker among many. An entry stays until it is acknowledged.
pub struct LogConsumer {
    queue: Queue,
    name: String,
    connection: Option<MultiplexedConnection>,
    block: Duration,
}

impl std::fmt::Debug for LogConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogConsumer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl LogConsumer {
    /// A consumer of the queue's log; `name` must be unique. It waits up to `block` for entries.
    #[must_use]
    pub fn new(queue: &Queue, name: String, block: Duration) -> Self {
        Self {
            queue: queue.clone(),
            name,
            connection: None,
            block,
        }
    }

    /// The next entries, at most `most`; none after `block` without any. Entries of a dead worker come first.
    ///
    /// # Errors
    /// [`QueueError`]; the next call connects again.
    pub async fn read(&mut self, most: usize) -> Result<Vec<LogEntry>, QueueError> {
        let answer = self.try_read(most).await;
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn connected(&mut self) -> Result<MultiplexedConnection, QueueError> {
        if let Some(connection) = &self.connection {
            return Ok(connection.clone());
        }
        let mut connection = self
            .queue
            .redis
            .blocking_connection(&self.queue.key("log"), self.block)
            .await?;
        let created: Result<(), RedisError> = cmd("XGROUP")
            .arg("CREATE")
            .arg(self.queue.key("log"))
            .arg(GROUP)
            .arg("0")
            .arg("MKSTREAM")
            .query_async(&mut connection)
            .await;
        match created {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
            _ => Ok(self.connection.insert(connection).clone()),
        }
    }

    async fn try_read(&mut self, most: usize) -> Result<Vec<LogEntry>, QueueError> {
        let key = self.queue.key("log");
        let mut connection = self.connected().await?;
        let left: StreamAutoClaimReply = cmd("XAUTOCLAIM")
            .arg(&key)
            .arg(GROUP)
            .arg(&self.name)
            .arg(ABANDONED_AFTER)
            .arg("0-0")
            .arg("COUNT")
            .arg(most)
            .query_async(&mut connection)
            .await?;
        if !left.claimed.is_empty() {
            let claimed = left.claimed.into_iter();
            let bytes = |(name, value)| Some((name, from_redis_value(value).ok()?));
            return Ok(claimed
                .map(|one| entry(one.id, one.map.into_iter().filter_map(bytes)))
                .collect());
        }
        let reply: Option<Streams> = cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(&self.name)
            .arg("COUNT")
            .arg(most)
            .arg("BLOCK")
            .arg(u64::try_from(self.block.as_millis()).unwrap_or(u64::MAX))
            .arg("STREAMS")
            .arg(&key)
            .arg(">")
            .query_async(&mut connection)
            .await?;
        let entries = reply.into_iter().flatten().flat_map(|(_, entries)| entries);
        Ok(entries
            .map(|(id, fields)| entry(id, fields.into_iter()))
            .collect())
    }

    /// Acknowledges entries that the store has, and removes them from the stream.
    ///
    /// # Errors
    /// [`QueueError`]; then the entries are read again, which is harmless.
    pub async fn settle(&self, entries: &[String]) -> Result<(), QueueError> {
        match self.try_settle(entries).await {
            // Twice is harmless; otherwise the entries stay until they count as abandoned.
            Err(error) if error.is_broken_connection() => self.try_settle(entries).await,
            answer => answer,
        }
    }

    /// Reads these entries again, those that still exist.
    pub async fn again(&self, entries: &[String]) -> Result<Vec<LogEntry>, QueueError> {
        let key = self.queue.key("log");
        let mut ask = redis::pipe();
        for id in entries {
            ask.cmd("XRANGE").arg(&key).arg(id).arg(id);
        }
        let found: Vec<Vec<(String, Fields)>> = ask.query_async(&mut self.queue.connection.clone()).await?;
        let found = found.into_iter().flatten();
        Ok(found.map(|(id, fields)| entry(id, fields.into_iter())).collect())
    }

    /// Moves an entry that the store refuses from the log to the parked entries, with the reason. About the newest thousand are
    /// kept.
    pub async fn park(&self, entry: &LogEntry, why: &str) -> Result<(), QueueError> {
        let mut connection = self.queue.connection.clone();
        redis::pipe()
            .cmd("XADD")
            .arg(self.queue.key("parked"))
            .arg(&["MAXLEN", "~", "1000", "*"])
            .arg("h")
            .arg(&entry.header)
            .arg("b")
            .arg(&entry.body)
            .arg("why")
            .arg(why)
            .ignore()
            .hincr(self.queue.key("stats"), "parked_log", 1)
            .ignore()
            .query_async::<()>(&mut connection)
            .await?;
        self.settle(std::slice::from_ref(&entry.id)).await
    }

    async fn try_settle(&self, entries: &[String]) -> Result<(), QueueError> {
        let key = self.queue.key("log");
        let mut connection = self.queue.connection.clone();
        redis::pipe()
            .atomic()
            .cmd("XACK")
            .arg(&key)
            .arg(GROUP)
            .arg(entries)
            .ignore()
            .cmd("XDEL")
            .arg(&key)
            .arg(entries)
            .ignore()
            .query_async(&mut connection)
            .await
            .map_err(Into::into)
    }

    /// Leaves the consumer group, so that its list of consumers does not grow with every deploy. A consumer with unacknowledged
    /// entries stays, because they would be lost with it.
    pub async fn leave(self) -> Result<(), QueueError> {
        let key = self.queue.key("log");
        let mut connection = self.queue.connection.clone();
        let pending: redis::streams::StreamPendingCountReply = cmd("XPENDING")
            .arg(&key)
            .arg(GROUP)
            .arg("-")
            .arg("+")
            .arg(1)
            .arg(&self.name)
            .query_async(&mut connection)
            .await?;
        if pending.ids.is_empty() {
            let _: i64 = cmd("XGROUP")
                .arg("DELCONSUMER")
                .arg(&key)
                .arg(GROUP)
                .arg(&self.name)
                .query_async(&mut connection)
                .await?;
        }
        Ok(())
    }
}

impl Queue {
    /// How many entries are parked, because the store refuses them.
    pub async fn parked_events(&self) -> Result<usize, QueueError> {
        let count = redis::Cmd::xlen(self.key("parked"));
        Ok(count.query_async(&mut self.connection.clone()).await?)
    }
}

fn entry(id: String, fields: impl Iterator<Item = (String, Vec<u8>)>) -> LogEntry {
    let (mut header, mut body, mut outcome) = (Vec::new(), Vec::new(), None);
    for (name, value) in fields {
        match name.as_str() {
            "h" => header = value,
            "b" => body = value,
            "o" => outcome = Enqueued::from_word(&value),
            _ => {}
        }
    }
    LogEntry {
        id,
        header,
        body,
        outcome,
    }
}
