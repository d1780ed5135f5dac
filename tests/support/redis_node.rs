//! One server of many, on a port of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use tokio::process::{Child, Command};

use crate::program::{PATIENCE, awaited};

pub struct Node {
    pub port: u16,
    process: Child,
}

/// A port that is free, and so is the one 10,000 above it, which a cluster's nodes use among themselves.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 300).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && port.checked_add(10_000).is_some_and(free) {
            return port;
        }
    }
}

impl Node {
    /// A server with these arguments; it keeps its files in a folder of its own below `folder`.
    pub fn start(folder: &Path, port: u16, arguments: &[&str]) -> Self {
        let own = folder.join(port.to_string());
        std::fs::create_dir_all(&own).unwrap();
        // A sentinel needs a file that it can write.
        let file = own.join("redis.conf");
        if !file.exists() {
            std::fs::write(&file, "").unwrap();
        }
        let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect();
        let program = ["redis-server", "valkey-server"]
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|program| program.is_file())
            .expect("redis-server or valkey-server");
        let process = Command::new(program)
            .arg(&file)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--dir", own.to_str().unwrap(), "--logfile", "redis.log"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { port, process }
    }

    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn connected(&self) -> MultiplexedConnection {
        let client = redis::Client::open(format!("redis://{}", self.address())).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let connecting = async {
            loop {
                match client.get_multiplexed_async_connection_with_config(&config).await {
                    Ok(connection) => return connection,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        awaited("a server that answers", connecting).await
    }

    /// Says something to it, once it answers.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connected().await;
        let answer = redis::cmd(words[0])
            .arg(&words[1..])
            .query_async(&mut connection)
            .await;
        answer.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Waits until what it answers is as it should be.
    pub async fn until<T: FromRedisValue>(&self, words: &[&str], reached: impl Fn(&T) -> bool) {
        let waiting = async {
            while !reached(&self.ask(words).await) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        awaited(&words.join(" "), waiting).await;
    }
}
