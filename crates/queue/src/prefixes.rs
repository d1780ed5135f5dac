//! Queues with another prefix in the same Redis, such as after a change of `queue.prefix`.

use std::collections::BTreeSet;

use super::client::{Queue, QueueConfig};
use super::error::QueueError;
use super::inspector::{InspectError, Inspector};
use super::scripts;

/// How many keys one call reads, and how many are read in all.
const PORTION: usize = 2_000;
const MOST_KEYS: usize = 2_000_000;

/// A queue with waiting jobs and no worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unserved {
    pub prefix: String,
    pub queue: String,
    /// That wait, or are scheduled.
    pub jobs: usize,
}

impl Queue {
    /// The queues with another prefix that have waiting jobs and no living worker. Changes nothing; reads all keys, in a
    /// cluster those of the node that holds this queue.
    pub async fn unserved(&self) -> Result<Vec<Unserved>, InspectError> {
        let mut unserved = Vec::new();
        for (prefix, name) in self.others().await? {
            let config = QueueConfig {
                prefix: prefix.clone(),
                name: name.clone(),
                ..QueueConfig::clone(&self.config)
            };
            let other = Self::new(&self.redis, config)?;
            let counts = other.counts().await?;
            let jobs = counts.waiting + counts.scheduled;
            let workers = Inspector::new(vec![other]).workers().await?;
            if jobs > 0 && workers.iter().all(|worker| worker.dead) {
                unserved.push(Unserved {
                    prefix,
                    queue: name,
                    jobs,
                });
            }
        }
        Ok(unserved)
    }

    async fn others(&self) -> Result<BTreeSet<(String, String)>, QueueError> {
        let mut found = BTreeSet::new();
        let mut cursor = "0".to_owned();
        for _ in 0..MOST_KEYS / PORTION {
            let answer: Vec<String> = scripts::PREFIXES
                .on(&[self.key("turn")])
                .arg(self.prefix())
                .arg(&cursor)
                .arg(PORTION)
                .invoke_async(&mut self.connection.clone())
                .await?;
            let mut words = answer.into_iter();
            cursor = words.next().ok_or(QueueError::Answer("prefixes"))?;
            while let (Some(prefix), Some(name)) = (words.next(), words.next()) {
                if prefix != self.config.prefix {
                    found.insert((prefix, name));
                }
            }
            if cursor == "0" {
                break;
            }
        }
        Ok(found)
    }
}
