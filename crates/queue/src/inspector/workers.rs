//! The workers: living ones, and dead ones for an hour.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::{InspectError, Inspector, instant, now};
use crate::client::{Queue, millis};
use crate::workers::{About, REMEMBERED};

/// A worker. Instants are in ms since 1970, by Redis' clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    pub name: String,
    /// It was silent for longer than a lease lasts: its jobs run elsewhere.
    pub dead: bool,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub queues: BTreeSet<String>,
    /// Jobs at a time, in all its queues.
    pub concurrency: usize,
    /// Jobs that it holds, those included that it has fetched ahead.
    pub running: usize,
    #[serde(serialize_with = "instant::one")]
    pub started: u64,
    #[serde(serialize_with = "instant::one")]
    pub last_heartbeat: u64,
    /// The clock that all of this goes by.
    #[serde(serialize_with = "instant::one")]
    pub now: u64,
}

impl Inspector {
    /// The workers of all queues, by name; dead ones for an hour.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>, InspectError> {
        let mut all: BTreeMap<String, WorkerStatus> = BTreeMap::new();
        for queue in &self.queues {
            for worker in of_queue(queue).await? {
                match all.get_mut(&worker.name) {
                    None => {
                        all.insert(worker.name.clone(), worker);
                    }
                    Some(known) => {
                        known.dead &= worker.dead;
                        known.queues.extend(worker.queues);
                        known.concurrency += worker.concurrency;
                        known.running += worker.running;
                        known.started = known.started.min(worker.started);
                        known.last_heartbeat = known.last_heartbeat.max(worker.last_heartbeat);
                    }
                }
            }
        }
        Ok(all.into_values().collect())
    }
}

async fn of_queue(queue: &Queue) -> Result<Vec<WorkerStatus>, InspectError> {
    let mut connection = queue.connection.clone();
    let (entries, tokens): (HashMap<String, String>, Vec<String>) = redis::pipe()
        .hgetall(queue.key("workers"))
        .zrange(queue.key("lease"), 0, -1)
        .query_async(&mut connection)
        .await?;
    // After the heartbeats: none is later than the time that it is compared with.
    let now = now(queue).await?;
    let mut held: HashMap<&str, usize> = HashMap::new();
    if !tokens.is_empty() {
        let mut ask = redis::pipe();
        for token in &tokens {
            ask.hlen(queue.key(&format!("run:{token}")));
        }
        let counts: Vec<usize> = ask.query_async(&mut connection).await?;
        for (token, count) in tokens.iter().zip(counts) {
            // A token is its worker's name and the number of its lease.
            let name = token.rsplit_once(':').map_or(token.as_str(), |(name, _)| name);
            *held.entry(name).or_default() += count;
        }
    }
    Ok(entries
        .into_iter()
        .filter_map(|(name, entry)| {
            let mut words = entry.splitn(3, ' ');
            let (started, heard) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let about: About = serde_json::from_str(words.next()?).ok()?;
            let silent = now.saturating_sub(heard);
            (silent < millis(REMEMBERED)).then(|| WorkerStatus {
                dead: silent > about.lease,
                host: about.host,
                pid: about.pid,
                version: about.version,
                queues: BTreeSet::from([queue.config.name.clone()]),
                concurrency: about.concurrency,
                running: held.get(name.as_str()).copied().unwrap_or_default(),
                started,
                last_heartbeat: heard,
                now,
                name,
            })
        })
        .collect())
}
