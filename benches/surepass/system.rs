//! Surepass as it runs: `surepass serve` and `surepass-worker` as processes, over a Redis and a SQLite file of their own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use secrecy::ExposeSecret;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use surepass::up::{RedisServer, RedisServerOptions};
use tokio::runtime::Runtime;

use crate::Outcome;
use crate::requests::SECRET;

/// What is on disk before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Redis keeps nothing on disk; SQLite leaves the moment of writing to the system.
    Fast,
    /// As `surepass up` runs it: `appendfsync always` and SQLite's `synchronous=FULL`.
    Full,
}

pub(crate) struct System {
    pub(crate) redis: RedisServer,
    pub(crate) address: SocketAddr,
    server: Option<Process>,
    worker: Option<Process>,
    folder: tempfile::TempDir,
}

/// Ends with this value.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl System {
    pub(crate) fn start(runtime: &Runtime, durability: Durability) -> Outcome<Self> {
        let mut system = Self::of_server(runtime, durability, "")?;
        let metrics = free_address()?;
        let worker = system
            .command(env!("CARGO_BIN_EXE_surepass-worker"))
            .env("SUREPASS_METRICS_BIND", metrics.to_string())
            .spawn()?;
        system.worker = Some(Process(worker));
        until_ready(metrics)?;
        Ok(system)
    }

    /// Without a worker, and with more settings (as in `config/development.toml`).
    pub(crate) fn of_server(runtime: &Runtime, durability: Durability, settings: &str) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let append_fsync = (durability == Durability::Full).then_some("always");
        let redis = RedisServer::start(RedisServerOptions {
            folder: folder.path().join("redis"),
            append_fsync,
            debug: false,
        });
        let redis = runtime.block_on(redis)?;
        let synchronous = if durability == Durability::Full {
            "full"
        } else {
            "normal"
        };
        std::fs::write(
            folder.path().join("development.toml"),
            format!("[database]\nsqlite_synchronous = \"{synchronous}\"\n{settings}"),
        )?;
        let mut system = Self {
            redis,
            address: free_address()?,
            server: None,
            worker: None,
            folder,
        };
        let surepass = env!("CARGO_BIN_EXE_surepass");
        let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/config/catalog.example.toml");
        let status = system
            .command(surepass)
            .args(["catalog", "import", catalog])
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("`surepass catalog import` ended with {status}").into());
        }
        let server = system.command(surepass).arg("serve").spawn()?;
        system.server = Some(Process(server));
        until_ready(system.address)?;
        Ok(system)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("REDIS_URL", self.redis.url().expose_secret())
            .env("DATABASE_URL", self.database())
            .env("STRIPE_WEBHOOK_SECRET", SECRET)
            // As a key would say: without either, each test purchase asks the store whether live ones were fulfilled.
            .env("SUREPASS_LIVEMODE", "false")
            .env("SUREPASS_BIND", self.address.to_string())
            .env("SUREPASS_CONFIG", self.folder.path())
            .env_remove("SUREPASS_ENV")
            .env("RUST_LOG", "warn,surepass=warn")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn database(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("surepass.db")
    }

    /// The server, the worker and Redis, by name.
    pub(crate) fn processes(&self) -> Outcome<[(&'static str, u32); 3]> {
        let id = |process: &Option<Process>| process.as_ref().map(|one| one.0.id());
        let all = id(&self.server).zip(id(&self.worker)).zip(self.redis.pid());
        let ((server, worker), redis) = all.ok_or("a process is gone")?;
        Ok([
            ("surepass serve", server),
            ("surepass-worker", worker),
            ("Redis", redis),
        ])
    }

    pub(crate) fn server_id(&self) -> Outcome<u32> {
        let server = self.server.as_ref().ok_or("the server is gone")?;
        Ok(server.0.id())
    }

    /// Stops all in good order.
    pub(crate) fn stop(mut self, runtime: &Runtime) -> Outcome<()> {
        for process in [self.server.take(), self.worker.take()].into_iter().flatten() {
            let mut process = process;
            kill(Pid::from_raw(i32::try_from(process.0.id())?), Signal::SIGTERM)?;
            let status = process.0.wait()?;
            if !status.success() {
                return Err(format!("stopped with {status}").into());
            }
        }
        Ok(runtime.block_on(self.redis.stop())?)
    }
}

/// A connection that reads a SQLite store from outside.
pub(crate) async fn reader(database: &str) -> Outcome<SqliteConnection> {
    let options = SqliteConnectOptions::from_str(database)?;
    Ok(options
        .read_only(true)
        .disable_statement_logging()
        .connect()
        .await?)
}

/// How many rows a table has.
pub(crate) async fn rows(connection: &mut SqliteConnection, table: &'static str) -> Outcome<usize> {
    let count = match table {
        "events" => "SELECT count(*) FROM events",
        _ => "SELECT count(*) FROM subscriptions",
    };
    let count: i64 = sqlx::query_scalar(count).fetch_one(connection).await?;
    Ok(usize::try_from(count)?)
}

pub(crate) async fn connect(redis: &RedisServer) -> Outcome<MultiplexedConnection> {
    let client = redis::Client::open(redis.url().expose_secret())?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&patient())
        .await?)
}

/// redis-rs gives up after 500 ms, which a busy machine may take.
pub(crate) fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)))
}

/// Empties Redis.
pub(crate) fn flush(runtime: &Runtime, redis: &RedisServer) -> Outcome<()> {
    runtime.block_on(async {
        let mut connection = connect(redis).await?;
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await?;
        Ok(())
    })
}

fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn until_ready(address: SocketAddr) -> Outcome<()> {
    let end = Instant::now() + Duration::from_secs(20);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    loop {
        match ask() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => return Ok(()),
            answer if Instant::now() > end => return Err(format!("not ready: {answer:?}").into()),
            _ => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
