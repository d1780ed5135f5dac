//! Connections to Redis, with time-outs, that come back by themselves.

mod address;
mod failover;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, Value};
use secrecy::{ExposeSecret, SecretString};

use self::address::{Address, Parsed, parse};
use self::failover::{FailoverConnection, find};
use self::trust::trust;
use super::QueueError;
use super::metrics::Families;
use surepass_base::outage::Outage;

/// A Redis, by its address: a server, a master among sentinels, or a cluster. Hands out connections.
#[derive(Clone)]
pub struct Redis {
    address: Arc<Address>,
    replicas: usize,
    options: RedisOptions,
    /// Whether it answers the workers of this process.
    pub(super) outage: Arc<Outage>,
    pub(super) metrics: Arc<Families>,
}

/// How long to wait for Redis.
#[derive(Debug, Clone, Copy)]
pub struct RedisOptions {
    /// For a connection to stand.
    pub connect_timeout: Duration,
    /// For one answer. redis-rs' own default of 500 ms takes a short stall of Redis for its death.
    pub response_timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            response_timeout: Duration::from_secs(5),
        }
    }
}

impl Redis {
    /// Reads the address; connects to nothing yet.
    ///
    /// # Errors
    /// [`QueueError::Address`] where the address is none that Surepass can use, [`QueueError::Trust`] where it asks for TLS
    /// and the certificates to trust are missing.
    pub fn open(url: &SecretString, options: RedisOptions) -> Result<Self, QueueError> {
        let Parsed {
            mut address,
            replicas,
        } = parse(url.expose_secret())?;
        trust(&mut address)?;
        Ok(Self {
            address: Arc::new(address),
            replicas,
            options,
            outage: Arc::default(),
            metrics: Arc::default(),
        })
    }

    /// A connection that is shared by its clones, pipelines their calls, and is made anew when it breaks or falls silent:
    /// to the node that holds `key`, and all keys that share its hash tag. It connects at its first use, so a process can
    /// start before Redis does.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where the client cannot be set up.
    pub fn connection(&self, key: &str) -> Result<Connection, QueueError> {
        if let Address::Fixed(info) = self.address.as_ref() {
            // An address that no client accepts is an error now, not at the first call.
            Client::open(info.clone())?;
        }
        Ok(Connection {
            inner: FailoverConnection::new(self.address.clone(), key, self.options),
            replicas: self.replicas,
            patience: self.options.response_timeout / 2,
        })
    }

    /// A connection for blocking reads of up to `block`, to the node that holds `key`.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where Redis cannot be reached.
    pub async fn blocking_connection(
        &self,
        key: &str,
        block: Duration,
    ) -> Result<MultiplexedConnection, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout + block));
        Ok(find(&self.address, key, self.options)
            .await?
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// A connection that listens, to the node that holds `key`.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where Redis cannot be reached.
    pub(super) async fn pubsub(&self, key: &str) -> Result<PubSub, QueueError> {
        let client = find(&self.address, key, self.options).await?;
        tokio::time::timeout(self.options.connect_timeout, client.get_async_pubsub())
            .await
            .map_err(|_| QueueError::Timeout)?
            .map_err(QueueError::from)
    }
}

/// A way to Redis for calls. Clones share it.
#[derive(Clone)]
pub struct Connection {
    inner: FailoverConnection,
    replicas: usize,
    patience: Duration,
}

impl Connection {
    /// Waits until as many replicas as the address asks for (`?replicas=`) have all that was written so far. What is on
    /// fewer would be lost with its master.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where too few have it in time.
    pub(super) async fn replicated(&mut self, key: &str) -> Result<(), QueueError> {
        if self.replicas == 0 {
            return Ok(());
        }
        // WAIT waits for this connection's own last write only. What is to be replicated may be older: written by a call
        // whose replication failed, and met as a duplicate now. So: a write of our own, behind it.
        let mut batch = redis::pipe();
        batch
            .set_options(
                key,
                1,
                redis::SetOptions::default().with_expiration(redis::SetExpiry::EX(60)),
            )
            .ignore();
        batch
            .cmd("WAIT")
            .arg(self.replicas)
            .arg(super::client::millis(self.patience));
        let (have,): (usize,) = batch.query_async(self).await?;
        if have < self.replicas {
            let few = format!("{have} of {} replicas have it", self.replicas);
            return Err(RedisError::from((ErrorKind::Io, "not replicated in time", few)).into());
        }
        Ok(())
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.inner.call(cmd).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.inner.call_all(pipeline, offset, count).boxed()
    }

    fn get_db(&self) -> i64 {
        self.inner.db()
    }
}

impl std::fmt::Debug for Connection {
    /// Without the address: it may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Redis {
    /// Without the address: it may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
