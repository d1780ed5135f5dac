//! Connections to Redis, with time-outs, that come back by themselves.

mod address;
mod failover;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client};
use secrecy::{ExposeSecret, SecretString};

use self::address::{Address, Parsed, parse};
pub(crate) use self::failover::FailoverConnection;
use self::failover::find;
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
    /// For a connection.
    pub connect_timeout: Duration,
    /// For one answer. The default of redis-rs, 500 ms, is shorter than a short stall of Redis.
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

    /// A connection to the node that holds `key`, and all keys that share its hash tag. Its clones share it, it pipelines their
    /// calls, and it reconnects when it breaks or falls silent. It connects at its first use, so a process can
    /// start before Redis does.
    pub fn connection(&self, key: &str) -> Result<FailoverConnection, QueueError> {
        if let Address::Fixed(info) = self.address.as_ref() {
            // An address that no client accepts is an error now, not at the first call.
            Client::open(info.clone())?;
        }
        Ok(FailoverConnection::new(self, key))
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

impl std::fmt::Debug for Redis {
    /// Without the address: it may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
