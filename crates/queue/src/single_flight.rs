//! Single-flight: one process fetches an answer, and all processes share it.

use std::time::Duration;

use redis::{Cmd, SetExpiry, SetOptions};

use super::client::millis;
use super::connection::{FailoverConnection, Redis};
use super::error::QueueError;
use super::scripts;

/// Answers that are costly to fetch, shared by all processes: one of them fetches, the others wait for its answer.
///
/// A key holds `?` while a process fetches, and `=` with the answer afterwards.
#[derive(Debug, Clone)]
pub struct SingleFlight {
    connection: FailoverConnection,
    tag: String,
}

/// What [`SingleFlight::lookup`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The answer.
    Known(Vec<u8>),
    /// There is no answer: the caller must fetch and publish it.
    Fetch,
    /// Another caller is fetching.
    InFlight,
}

impl SingleFlight {
    /// `prefix` as in [`super::QueueConfig`]. Connects at the first call.
    pub fn new(redis: &Redis, prefix: &str) -> Result<Self, QueueError> {
        let tag = format!("{{{prefix}:memo}}:");
        Ok(Self {
            connection: redis.connection(&tag)?,
            tag,
        })
    }

    /// Looks for an answer. Where there is none, the first caller must fetch it within `lease`: if it dies, the next caller
    /// must fetch after that.
    pub async fn lookup(&self, name: &str, lease: Duration) -> Result<Lookup, QueueError> {
        let held: Option<Vec<u8>> = scripts::SINGLE_FLIGHT
            .on(&[self.key(name)])
            .arg(&self.tag)
            .arg(millis(lease).max(1))
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(match held {
            None => Lookup::Fetch,
            Some(held) => answer(&held).map_or(Lookup::InFlight, Lookup::Known),
        })
    }

    /// Shares an answer with all processes, for `life`.
    pub async fn publish(&self, name: &str, answer: &[u8], life: Duration) -> Result<(), QueueError> {
        let options = SetOptions::default().with_expiration(SetExpiry::PX(millis(life).max(1)));
        let answer = [b"=", answer].concat();
        Ok(Cmd::set_options(self.key(name), answer, options)
            .query_async(&mut self.connection.clone())
            .await?)
    }

    /// The answer, if there is one. Asks no caller to fetch it.
    pub async fn cached(&self, name: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let held: Option<Vec<u8>> = Cmd::get(self.key(name))
            .query_async(&mut self.connection.clone())
            .await?;
        Ok(held.as_deref().and_then(answer))
    }

    /// Whether the caller is the first one within `life`.
    pub async fn is_first(&self, name: &str, life: Duration) -> Result<bool, QueueError> {
        Ok(self.lookup(name, life).await? == Lookup::Fetch)
    }

    /// Removes the answer, or the record that a caller is fetching.
    pub async fn forget(&self, name: &str) -> Result<(), QueueError> {
        Ok(Cmd::del(self.key(name))
            .query_async(&mut self.connection.clone())
            .await?)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }
}

/// What a key holds, if it is an answer.
fn answer(held: &[u8]) -> Option<Vec<u8>> {
    held.strip_prefix(b"=").map(<[u8]>::to_vec)
}
