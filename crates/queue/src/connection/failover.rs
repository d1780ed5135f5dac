//! A connection that follows failovers: of a master among sentinels, a node of a cluster, or a server behind a DNS name.
//!
//! All keys of a queue share a hash tag, so one node at a time holds them. It is looked up before connecting, and again when
//! an answer, or a missing one, suggests that it is no longer the right node. redis-rs' `ClusterConnection` counts harmless
//! redirections and broken calls as the same kind of retry. Its `ConnectionManager` keeps a connection whose other end has
//! vanished until the kernel gives up, after a quarter of an hour.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, ServerErrorKind, SetExpiry, SetOptions, Value,
};

use super::address::{Address, Sentinels};
use super::{Redis, RedisOptions};
use crate::QueueError;
use crate::client::millis;

/// The node that holds `key` and takes writes, by what sentinels or nodes say now.
pub(super) async fn find(address: &Address, key: &str, options: RedisOptions) -> RedisResult<Client> {
    let finding = async {
        match address {
            Address::Fixed(info) => Client::open(info.clone()),
            // A new one each time: its connections belong to the runtime that made them.
            Address::Sentinel(sentinels) => ask(sentinels)?.async_get_client().await,
            Address::Cluster(nodes) => {
                let mut last = None;
                for node in nodes {
                    match owner(node, key, options).await {
                        Ok(client) => return Ok(client),
                        Err(error) => last = Some(error),
                    }
                }
                Err(last.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no nodes are known").into()))
            }
        }
    };
    // Boxed: a future of many levels, within those of all who connect.
    let found = in_time(options.connect_timeout * 2, finding.boxed()).await?;
    Client::open(found.get_connection_info().clone().set_tcp_settings(settings()))
}

fn ask(sentinels: &Sentinels) -> RedisResult<SentinelClient> {
    let Sentinels {
        nodes,
        master,
        tls,
        certificates,
        redis,
    } = sentinels;
    let addresses = nodes.iter().map(|node| node.addr().clone());
    let mut client = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master)?
        .set_client_to_redis_db(redis.db())
        .set_client_to_redis_protocol(redis.protocol());
    // All have the same.
    let own = nodes.first().map(ConnectionInfo::redis_settings);
    if let Some(user) = own.and_then(RedisConnectionInfo::username) {
        client = client.set_client_to_sentinel_username(user);
    }
    if let Some(password) = own.and_then(RedisConnectionInfo::password) {
        client = client.set_client_to_sentinel_password(password);
    }
    if let Some(user) = redis.username() {
        client = client.set_client_to_redis_username(user);
    }
    if let Some(password) = redis.password() {
        client = client.set_client_to_redis_password(password);
    }
    if let Some(tls) = tls {
        client = client.set_client_to_redis_tls_mode(*tls);
    }
    if let Some(certificates) = certificates {
        client = client.set_client_to_redis_certificates(certificates.clone());
    }
    client.build()
}

/// Keepalive, because firewalls and balancers drop idle connections without notice. No Nagle delay, which redis-rs leaves on.
fn settings() -> TcpSettings {
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10));
    TcpSettings::default().set_nodelay(true).set_keepalive(probes)
}

async fn in_time<T>(limit: Duration, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
    tokio::time::timeout(limit, work).await.map_err(|_| late())?
}

/// Asks a node of a cluster for a key, and follows its redirections.
async fn owner(known: &ConnectionInfo, key: &str, options: RedisOptions) -> RedisResult<Client> {
    const MOST_HOPS: usize = 4;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout / 2))
        .set_response_timeout(Some(options.connect_timeout / 2));
    let mut node = known.clone();
    for _ in 0..MOST_HOPS {
        let client = Client::open(node.clone())?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let asked: RedisResult<bool> = Cmd::exists(key).query_async(&mut connection).await;
        match asked {
            Ok(_) => return Ok(client),
            // While a slot migrates, its old node still answers.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::Ask) => return Ok(client),
            Err(error) => match error.redirect_node().and_then(|(to, _)| redirected(&node, to)) {
                Some(next) => node = next,
                None => return Err(error),
            },
        }
    }
    Err((ErrorKind::Client, "the cluster's nodes point at each other").into())
}

/// The same as `from`, elsewhere: at `host:port`. Without a host, a node means its own.
fn redirected(from: &ConnectionInfo, to: &str) -> Option<ConnectionInfo> {
    let (new_host, new_port) = to.rsplit_once(':')?;
    let new_port = new_port.parse().ok()?;
    let mut address = from.addr().clone();
    match &mut address {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            if !new_host.is_empty() {
                new_host.clone_into(host);
            }
            *port = new_port;
        }
        _ => return None,
    }
    Some(from.clone().set_addr(address))
}

type Connecting = Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>;

/// A connection to the node that holds a key, wherever that is. Clones share it.
#[derive(Clone)]
pub struct FailoverConnection(Arc<Inner>);

struct Inner {
    address: Arc<Address>,
    replicas: usize,
    key: String,
    options: RedisOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The number of the connection: an error of an older one says nothing about this one.
    generation: u64,
    connecting: Option<Connecting>,
}

impl FailoverConnection {
    pub(super) fn new(redis: &Redis, key: &str) -> Self {
        Self(Arc::new(Inner {
            address: redis.address.clone(),
            replicas: redis.replicas,
            key: key.to_owned(),
            options: redis.options,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        let (connecting, generation) = {
            let mut state = self.state();
            let generation = state.generation;
            let inner = &self.0;
            let connecting = state.connecting.get_or_insert_with(|| {
                connect(inner.address.clone(), inner.key.clone(), inner.options)
                    .boxed()
                    .shared()
            });
            (connecting.clone(), generation)
        };
        // An attempt that its caller gives up does not continue: the next call finds it timed out.
        let waiting = self.wait(generation, Duration::ZERO);
        let connected = connecting.await;
        waiting.over();
        match connected {
            Ok(connection) => Ok((connection, generation)),
            Err(error) => {
                self.forget(generation);
                Err(error)
            }
        }
    }

    /// Makes the next call look up the node again.
    fn forget(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.generation += 1;
            state.connecting = None;
        }
    }

    fn wait(&self, generation: u64, least: Duration) -> Wait<'_> {
        Wait {
            of: self,
            generation,
            least,
            since: Instant::now(),
            over: false,
        }
    }

    /// Waits for an answer. Half of the time-out is enough to make the node suspect: the caller may give up before the end.
    fn wait_for_answer(&self, generation: u64) -> Wait<'_> {
        self.wait(generation, self.0.options.response_timeout / 2)
    }

    /// Calls once. An error says whether the node is still the right one.
    async fn call_once(&self, cmd: &Cmd) -> Result<Value, (RedisError, NodeHealth)> {
        let (mut connection, generation) = self
            .connected()
            .await
            .map_err(|error| (error, NodeHealth::Suspect))?;
        let waiting = self.wait_for_answer(generation);
        let answer = connection.send_packed_command(cmd).await;
        waiting.over();
        let error = match answer {
            Ok(Value::ServerError(error)) => error.into(),
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let health = NodeHealth::of(&error);
        if health != NodeHealth::Healthy {
            self.forget(generation);
        }
        Err((error, health))
    }

    /// Calls. A node that says it is the wrong one has changed nothing, so the right one is called at once.
    async fn call(&self, cmd: &Cmd) -> RedisResult<Value> {
        // A fixed address has no other node to ask; its DNS name may point to one by the next call.
        let knows_another = !matches!(*self.0.address, Address::Fixed(_));
        match self.call_once(cmd).await {
            Err((_, NodeHealth::WrongNode)) if knows_another => {
                self.call_once(cmd).await.map_err(|(error, _)| error)
            }
            answer => answer.map_err(|(error, _)| error),
        }
    }

    /// Calls a batch. It is not repeated, because a node may become the wrong one in the middle of it.
    async fn call_all(&self, batch: &Pipeline, offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        let (mut connection, generation) = self.connected().await?;
        let waiting = self.wait_for_answer(generation);
        let answers = connection.send_packed_commands(batch, offset, count).await;
        waiting.over();
        let is_suspect = match &answers {
            Err(error) => NodeHealth::of(error) != NodeHealth::Healthy,
            Ok(values) => values.iter().any(|value| match value {
                Value::ServerError(error) => NodeHealth::of(&error.clone().into()) != NodeHealth::Healthy,
                _ => false,
            }),
        };
        if is_suspect {
            self.forget(generation);
        }
        answers
    }

    /// Waits until as many replicas as the address asks for (`?replicas=`) have all that was written so far. What fewer have
    /// would be lost with its master.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where too few have it in time.
    pub(crate) async fn replicated(&mut self, key: &str) -> Result<(), QueueError> {
        let (replicas, patience) = (self.0.replicas, self.0.options.response_timeout / 2);
        if replicas == 0 {
            return Ok(());
        }
        // WAIT waits for this connection's own last write only. What is to be replicated may be older: written by a call
        // whose replication failed, and met as a duplicate now. So: a write of our own, behind it.
        let expiry = SetOptions::default().with_expiration(SetExpiry::EX(60));
        let mut batch = redis::pipe();
        batch.set_options(key, 1, expiry).ignore();
        batch.cmd("WAIT").arg(replicas).arg(millis(patience));
        let (have,): (usize,) = batch.query_async(self).await?;
        if have < replicas {
            let few = format!("{have} of {replicas} replicas have it");
            return Err(RedisError::from((ErrorKind::Io, "not replicated in time", few)).into());
        }
        Ok(())
    }
}

impl ConnectionLike for FailoverConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        self.call(cmd).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        self.call_all(pipeline, offset, count).boxed()
    }

    /// The number of the database that the address names.
    fn get_db(&self) -> i64 {
        match self.0.address.as_ref() {
            Address::Fixed(info) => info.redis_settings().db(),
            Address::Sentinel(sentinels) => sentinels.redis.db(),
            Address::Cluster(_) => 0,
        }
    }
}

impl std::fmt::Debug for FailoverConnection {
    /// Without the address: it may carry a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailoverConnection").finish_non_exhaustive()
    }
}

/// A call's wait for the node. Giving up after `least` makes the node suspect, as an error does.
struct Wait<'a> {
    of: &'a FailoverConnection,
    generation: u64,
    least: Duration,
    since: Instant,
    over: bool,
}

impl Wait<'_> {
    fn over(mut self) {
        self.over = true;
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.over && self.since.elapsed() >= self.least {
            self.of.forget(self.generation);
        }
    }
}

async fn connect(
    address: Arc<Address>,
    key: String,
    options: RedisOptions,
) -> RedisResult<MultiplexedConnection> {
    let client = find(&address, &key, options).await?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.response_timeout));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What an error says about the node.
#[derive(Debug, Clone, Copy, PartialEq)]
enum NodeHealth {
    /// The error has nothing to do with the node.
    Healthy,
    /// The node may be down, or no longer hold the keys.
    Suspect,
    /// The node does not hold the keys, and has changed nothing.
    WrongNode,
}

impl NodeHealth {
    fn of(error: &RedisError) -> Self {
        match error.kind() {
            // A replica, and a node without the slot, refuse a script before it has changed anything.
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::Moved) => Self::WrongNode,
            ErrorKind::Server(
                ServerErrorKind::Ask
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::ExecAbort
                | ServerErrorKind::MasterDown,
            ) => Self::Suspect,
            _ if error.is_io_error() || error.is_unrecoverable_error() => Self::Suspect,
            _ => Self::Healthy,
        }
    }
}
