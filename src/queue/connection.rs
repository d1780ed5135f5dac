//! Connections to Redis, with time-outs, that come back by themselves.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::{AsyncConnectionConfig, Client};
use secrecy::{ExposeSecret, SecretString};

use super::QueueError;

/// A Redis server, by its address: hands out connections.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    options: RedisOptions,
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
    /// [`QueueError::Address`] where the address is none that Surepass can use.
    pub fn open(url: &SecretString, options: RedisOptions) -> Result<Self, QueueError> {
        let url = url.expose_secret();
        // Told without the address: it may carry a password.
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        if !matches!(scheme, "redis" | "rediss" | "redis+unix" | "unix") {
            return Err(QueueError::Address(format!(
                "`{}://` is no Redis address: expected redis://, rediss:// or redis+unix://",
                scheme.chars().take(20).collect::<String>()
            )));
        }
        let client = Client::open(url).map_err(|error| QueueError::Address(error.to_string()))?;
        Ok(Self { client, options })
    }

    /// A connection that is shared by its clones, pipelines their calls and reconnects when it breaks. It connects
    /// at its first use, so a process can start before Redis does.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where the client cannot be set up.
    pub fn connection(&self) -> Result<ConnectionManager, QueueError> {
        // No retries inside: the caller knows whether a call may be repeated, and its time is limited.
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout))
            .set_number_of_retries(0)
            .set_min_delay(Duration::from_millis(10));
        Ok(ConnectionManager::new_lazy_with_config(
            self.client.clone(),
            config,
        )?)
    }

    /// A connection for blocking reads of up to `block`.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where Redis cannot be reached.
    pub async fn blocking_connection(
        &self,
        block: Duration,
    ) -> Result<redis::aio::MultiplexedConnection, QueueError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.response_timeout + block));
        Ok(self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// A connection that listens.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where Redis cannot be reached.
    pub(super) async fn pubsub(&self) -> Result<PubSub, QueueError> {
        tokio::time::timeout(self.options.connect_timeout, self.client.get_async_pubsub())
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
