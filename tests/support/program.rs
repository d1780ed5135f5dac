//! A program of ours as a process, with what it says.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long anything may take before a test gives up: generous, as these tests share two cores with each other.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub static SUREPASS: LazyLock<String> = LazyLock::new(|| built("surepass"));
pub static WORKER: LazyLock<String> = LazyLock::new(|| built("surepass-worker"));

/// A program of ours: Cargo builds it with the tests, in the folder above theirs.
fn built(name: &str) -> String {
    let test = std::env::current_exe().expect("a test knows its own program");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("a test is in target/PROFILE/deps");
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: run `cargo build --workspace --bins`",
        program.display()
    );
    program.to_str().expect("a path in UTF-8").to_owned()
}

/// Waits for something, and fails the test where it does not come.
pub async fn awaited<T>(what: &str, coming: impl Future<Output = T>) -> T {
    let come = tokio::time::timeout(PATIENCE, coming).await;
    come.unwrap_or_else(|_| panic!("it did not come: {what}"))
}

/// Waits until this is so, and fails the test where it does not come.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    awaited(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A program to run with these settings and no others.
pub fn command(program: &str, arguments: &[&str], environment: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    for name in ["PATH", "HOME", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a program to its end.
pub async fn run(command: Command) -> Output {
    run_for(PATIENCE, command).await
}

/// The same for one that may take longer, or must not.
pub async fn run_for(patience: Duration, mut command: Command) -> Output {
    tokio::time::timeout(patience, command.output())
        .await
        .expect("it ends")
        .unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A running program. It is killed when this is dropped.
pub struct Program {
    child: Child,
    pid: i32,
    said: watch::Receiver<String>,
}

impl Program {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = watch::channel(String::new());
        tokio::spawn(listen(child.stdout.take().unwrap(), sender.clone()));
        tokio::spawn(listen(child.stderr.take().unwrap(), sender));
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        Self { child, pid, said }
    }

    /// Waits until it has said a line with these words, and answers the line.
    pub async fn says(&self, words: &str) -> String {
        let mut said = self.said.clone();
        let heard = tokio::time::timeout(PATIENCE, said.wait_for(|said| said.contains(words)));
        match heard.await {
            Ok(Ok(said)) => said.lines().find(|line| line.contains(words)).unwrap().to_owned(),
            _ => panic!("it did not say `{words}`, but:\n{}", self.said()),
        }
    }

    /// All that it has said so far.
    pub fn said(&self) -> String {
        self.said.borrow().clone()
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    /// Stops it until it gets a SIGCONT. A signal reaches one thread, which stops the others: until the last one stands,
    /// it may yet take a lock that is let go, and keep it for good.
    pub async fn frozen(&self) {
        self.signal(Signal::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.pid);
        let all_stand = || {
            std::fs::read_dir(&tasks).unwrap().flatten().all(|task| {
                let stat = std::fs::read_to_string(task.path().join("stat"));
                // After the name, which may hold anything, comes the state.
                stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
            })
        };
        eventually("its standstill", async || all_stand()).await;
    }

    /// Waits until it has ended and all of its output is here.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = status
            .unwrap_or_else(|_| panic!("it did not end; it said:\n{}", self.said()))
            .unwrap();
        let mut said = self.said.clone();
        let silent = async { while said.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, silent)
            .await
            .expect("its output ends with it");
        status
    }

    pub async fn killed(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }
}

async fn listen(pipe: impl AsyncRead + Unpin, said: watch::Sender<String>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        said.send_modify(|said| {
            said.push_str(&line);
            said.push('\n');
        });
    }
}

/// The processes, by id and name, that have to do with a folder: it is in their arguments or their environment.
pub fn processes_of(folder: &Path) -> Vec<(i32, String)> {
    let folder = folder.to_str().unwrap().as_bytes();
    let names_it = |file: PathBuf| {
        std::fs::read(file).is_ok_and(|bytes| bytes.windows(folder.len()).any(|part| part == folder))
    };
    let entries = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|process| names_it(process.join("cmdline")) || names_it(process.join("environ")))
        .filter_map(|process| {
            let pid = process.file_name()?.to_str()?.parse().ok()?;
            let name = std::fs::read_to_string(process.join("comm")).ok()?;
            Some((pid, name.trim().to_owned()))
        })
        .collect()
}
