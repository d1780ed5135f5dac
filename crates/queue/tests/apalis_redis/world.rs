//! A private Redis with stock `RedisStorage` over it, and workers whose runs are written down.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// A worker that would sleep until its heartbeat looks this often.
pub(crate) const POLL: Duration = Duration::from_millis(20);

pub(crate) type Outcome = Result<(), BoxDynError>;

/// One run of a job, as its handler sees it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) job: String,
    pub(crate) attempt: usize,
}

type Act = Arc<dyn Fn(Run) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What a handler does.
pub(crate) fn act<F, R>(act: F) -> Act
where
    F: Fn(Run) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send + 'static,
{
    Arc::new(move |run| Box::pin(act(run)))
}

/// Succeeds at once.
pub(crate) fn nothing() -> Act {
    act(|_| async { Ok(()) })
}

/// Never ends.
pub(crate) fn hang() -> Act {
    act(|_| std::future::pending())
}

pub(crate) struct World {
    _server: Child,
    url: String,
    connection: ConnectionManager,
    _folder: TempDir,
    runs: Arc<Mutex<Vec<Run>>>,
}

/// Quick where `Config::default()` is patient; everything else is as shipped.
pub(crate) fn quick() -> Config {
    Config::default()
        .queue("{probe}")
        .heartbeat_interval(Duration::from_secs(1))
        .missed_heartbeats(2)
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With more options for the server.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let spawn = |program| {
            Command::new(program)
                .args(["--port", "0", "--save", "", "--unixsocket"])
                .arg(&socket)
                .arg("--dir")
                .arg(folder.path())
                .args(options)
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
        };
        let mut server = spawn("redis-server")
            .or_else(|_| spawn("valkey-server"))
            .expect("redis-server or valkey-server on the PATH");
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            assert_eq!(server.try_wait().unwrap(), None, "Redis ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let url = format!("redis+unix://{}", socket.display());
        Self {
            _server: server,
            connection: connect(&url).await,
            url,
            _folder: folder,
            runs: Arc::default(),
        }
    }

    /// Stock storage with a connection of its own, as another process has it.
    pub(crate) async fn storage(&self, config: Config) -> RedisStorage<String> {
        RedisStorage::new(connect(&self.url).await).with_config(config)
    }

    /// Sends one command by hand.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut self.connection.clone()).await.unwrap()
    }

    /// How many entries the set, list or hash has.
    pub(crate) async fn size(&self, name: &str) -> usize {
        let key = format!("{{probe}}:{name}");
        let command = match name {
            "scheduled" | "workers" => "ZCARD",
            "active" => "LLEN",
            "data" => "HLEN",
            _ => "SCARD",
        };
        self.ask(&[command, &key]).await
    }

    /// When the worker was last heard, in Unix seconds.
    pub(crate) async fn heard(&self, worker: &str) -> Option<f64> {
        self.ask(&["ZSCORE", "{probe}:workers", worker]).await
    }

    /// A figure of `INFO`.
    pub(crate) async fn info(&self, section: &str, line: &str, figure: &str) -> u64 {
        let text: String = self.ask(&["INFO", section]).await;
        text.lines()
            .find_map(|one| one.strip_prefix(line)?.strip_prefix(':'))
            .and_then(|figures| {
                figures
                    .split(',')
                    .find_map(|one| one.strip_prefix(figure)?.strip_prefix('='))
            })
            .map_or(0, |count| count.parse().unwrap())
    }

    pub(crate) async fn push(&self, jobs: impl IntoIterator<Item = impl Into<String>>) {
        for job in jobs {
            self.push_task(TaskBuilder::new(job.into()).build()).await;
        }
    }

    pub(crate) async fn push_task(&self, task: Task<String>) {
        self.storage(quick()).await.push_task(task).await.unwrap();
    }

    /// Starts a worker on a task of its own: what breaks it breaks nothing else.
    pub(crate) fn hire(&self, storage: RedisStorage<String>, name: &str, slots: usize, act: &Act) -> Hired {
        let (runs, act) = (self.runs.clone(), act.clone());
        let worker = WorkerBuilder::new(name)
            .backend(storage.poll_with_interval(POLL))
            .concurrency(slots)
            .build(move |job: String, attempt: Attempt| {
                let attempt = attempt.current();
                let run = Run { job, attempt };
                runs.lock().unwrap().push(run.clone());
                act(run)
            });
        tokio::spawn(worker.run())
    }

    pub(crate) async fn hire_quick(&self, name: &str, slots: usize, act: &Act) -> Hired {
        self.hire(self.storage(quick()).await, name, slots, act)
    }

    /// The runs that have begun, in order.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.runs.lock().unwrap().clone()
    }

    /// How often the job has begun.
    pub(crate) fn runs_of(&self, job: &str) -> usize {
        self.runs().iter().filter(|run| run.job == job).count()
    }
}

pub(crate) type Hired = JoinHandle<Result<(), WorkerError>>;

/// Why the worker ended, in one line, if it has.
pub(crate) async fn end_of(worker: &mut Hired) -> Option<String> {
    if !worker.is_finished() {
        return None;
    }
    let text = match worker.await {
        Ok(Ok(())) => "without an error".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    text.lines().next().map(str::to_owned)
}

async fn connect(url: &str) -> ConnectionManager {
    let config =
        redis::aio::ConnectionManagerConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    redis::Client::open(url)
        .unwrap()
        .get_connection_manager_with_config(config)
        .await
        .unwrap()
}

/// Looks until there is an answer.
pub(crate) async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = look().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
