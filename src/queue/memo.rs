//! What one process has found out, for all of them; and who of them finds it out.

use std::time::Duration;

use redis::{Cmd, SetExpiry, SetOptions};

use super::client::millis;
use super::connection::{Connection, Redis};
use super::error::QueueError;
use super::scripts;

/// Answers that are costly to get, shared by all processes: one of them asks, the others wait for what it hears.
///
/// A key holds `?` while somebody asks, and `=` with the answer once it is there.
#[derive(Debug, Clone)]
pub struct Memo {
    connection: Connection,
    tag: String,
}

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The answer.
    Known(Vec<u8>),
    /// Nobody knows, and nobody else asks: the caller is to ask, and to tell.
    Ask,
    /// Somebody else asks.
    Asked,
}

impl Memo {
    /// `prefix` as in [`super::QueueConfig`]. Connects at the first call.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where the client cannot be set up.
    pub fn new(redis: &Redis, prefix: &str) -> Result<Self, QueueError> {
        let tag = format!("{{{prefix}:memo}}:");
        Ok(Self {
            connection: redis.connection(&tag)?,
            tag,
        })
    }

    /// Looks for an answer; where there is none the first caller is to ask, and has `lease` for it: if it dies, the next
    /// one asks then.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn look(&self, name: &str, lease: Duration) -> Result<Look, QueueError> {
        let held: Option<Vec<u8>> = scripts::MEMO
            .on(&[self.key(name)])
            .arg(&self.tag)
            .arg(millis(lease).max(1))
            .invoke_async(&mut self.connection.clone())
            .await?;
        Ok(match held {
            None => Look::Ask,
            Some(held) => answer(&held).map_or(Look::Asked, Look::Known),
        })
    }

    /// Tells all what was heard, for `life`.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn tell(&self, name: &str, answer: &[u8], life: Duration) -> Result<(), QueueError> {
        let options = SetOptions::default().with_expiration(SetExpiry::PX(millis(life).max(1)));
        let answer = [b"=", answer].concat();
        Ok(Cmd::set_options(self.key(name), answer, options)
            .query_async(&mut self.connection.clone())
            .await?)
    }

    /// What was told, if anything; nobody is to ask.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn told(&self, name: &str) -> Result<Option<Vec<u8>>, QueueError> {
        let held: Option<Vec<u8>> = Cmd::get(self.key(name))
            .query_async(&mut self.connection.clone())
            .await?;
        Ok(held.as_deref().and_then(answer))
    }

    /// Whether the caller is the first within `life`.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn first(&self, name: &str, life: Duration) -> Result<bool, QueueError> {
        Ok(self.look(name, life).await? == Look::Ask)
    }

    /// Forgets the answer, or that somebody asks.
    ///
    /// # Errors
    /// [`QueueError`].
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
