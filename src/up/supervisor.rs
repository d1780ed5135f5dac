//! Child processes that are started again when they die, and stopped cleanly at the end.

use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::RedisServer;
use crate::shutdown::SUPERVISED;

/// The waits between a death and the next start.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who has lived so long has started well.
const WELL: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug, Clone)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, SecretString)>,
}

impl Program {
    /// The program `name` in the folder of this one.
    pub(super) fn sibling(
        name: &str,
        arguments: &[&str],
        environment: Vec<(&'static str, SecretString)>,
    ) -> io::Result<Self> {
        let path = std::env::current_exe()?.with_file_name(name);
        if !path.is_file() {
            let message = format!(
                "{} does not exist: build it with `cargo build --workspace --bins`",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        Ok(Self {
            path,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            environment,
        })
    }

    fn spawn(&self, log: Option<&PathBuf>) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        for (name, value) in &self.environment {
            command.env(name, value.expose_secret());
        }
        if let Some(log) = log {
            let log = OpenOptions::new().create(true).append(true).open(log)?;
            command.stdout(log.try_clone()?).stderr(log);
        }
        command
            .args(&self.arguments)
            .env(SUPERVISED, "1")
            // Its end tells the child that we are gone, even by SIGKILL.
            .stdin(Stdio::piped())
            // Ctrl-C at the terminal reaches us alone; we stop the children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }
}

/// A child, and the pipe whose end tells it that we are gone: to let go of it is a second order to stop.
#[derive(Debug)]
struct Kept {
    child: Child,
    _lifeline: Option<ChildStdin>,
}

/// Keeps processes running.
#[derive(Debug)]
pub(super) struct Supervisor {
    stop: CancellationToken,
    kept: Vec<JoinHandle<Option<Kept>>>,
    redis: Option<JoinHandle<RedisServer>>,
    stop_redis: CancellationToken,
}

impl Supervisor {
    /// Supervises this machine's own Redis, where there is one.
    pub(super) fn new(redis: Option<RedisServer>) -> Self {
        let stop_redis = CancellationToken::new();
        let redis = redis.map(|server| tokio::spawn(keep_redis(server, stop_redis.clone())));
        Self {
            stop: CancellationToken::new(),
            kept: Vec::new(),
            redis,
            stop_redis,
        }
    }

    /// Starts `program`, and again whenever it ends.
    pub(super) fn keep(&mut self, name: &'static str, program: Program, log: Option<PathBuf>) {
        let stop = self.stop.clone();
        self.kept.push(tokio::spawn(async move {
            let mut pause = SHORTEST_PAUSE;
            loop {
                let started = Instant::now();
                match program.spawn(log.as_ref()) {
                    Err(error) => tracing::error!(name, %error, "could not be started"),
                    Ok(mut child) => {
                        // `wait` would close it.
                        let lifeline = child.stdin.take();
                        let Some(ended) = stop.run_until_cancelled(child.wait()).await else {
                            return Some(Kept {
                                child,
                                _lifeline: lifeline,
                            });
                        };
                        tracing::error!(name, status = status(ended), "exited; restarting it");
                    }
                }
                pause = if started.elapsed() > WELL {
                    SHORTEST_PAUSE
                } else {
                    (pause * 2).min(LONGEST_PAUSE)
                };
                stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
            }
        }));
    }

    /// Asks all to stop, waits up to `grace`, and ends Redis last.
    pub(super) async fn stop(self, grace: Duration) {
        self.stop.cancel();
        let mut children = Vec::new();
        for kept in self.kept {
            children.extend(kept.await.ok().flatten());
        }
        for Kept { child, .. } in &children {
            if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        let end = Instant::now() + grace;
        for Kept { child, .. } in &mut children {
            if tokio::time::timeout_at(end, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        }
        self.stop_redis.cancel();
        if let Some(redis) = self.redis
            && let Ok(server) = redis.await
            && let Err(error) = server.stop().await
        {
            tracing::error!(%error, "Redis did not stop");
        }
    }
}

async fn keep_redis(mut server: RedisServer, stop: CancellationToken) -> RedisServer {
    let mut pause = SHORTEST_PAUSE;
    while let Some(ended) = stop.run_until_cancelled(server.wait()).await {
        tracing::error!(
            status = status(ended),
            "Redis exited; restarting it with its data"
        );
        while let Err(error) = server.restart().await {
            tracing::error!(%error, "Redis could not be started");
            pause = (pause * 2).min(LONGEST_PAUSE);
            if stop
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return server;
            }
        }
        pause = SHORTEST_PAUSE;
    }
    server
}

fn status(ended: io::Result<ExitStatus>) -> String {
    ended.map_or_else(|error| error.to_string(), |status| status.to_string())
}
