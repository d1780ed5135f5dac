//! A private PostgreSQL cluster for the tests: its own folder, its own port, gone when it is dropped.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use super::ports::free_port;

/// A running server, on 127.0.0.1 and a free port.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    /// PostgreSQL refuses to run as root: then it runs as this user and group.
    pub user: Option<(u32, u32)>,
    pub port: u16,
}

impl Cluster {
    /// The cluster that the tests of one program share; it ends with the last test that holds it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let cluster = Arc::new(Self::start());
            *shared = Arc::downgrade(&cluster);
            cluster
        })
    }

    /// Makes a cluster and starts it.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed, or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let owner = std::fs::metadata(folder.path()).expect("its owner").uid();
        let user = (owner == 0).then(unprivileged_user);
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("chown");
        }
        let port = free_port();
        let cluster = Self {
            folder,
            binaries: binaries(),
            user,
            port,
        };
        // Trusts whoever connects: it listens on this machine only, and holds test data.
        cluster.run(
            "initdb",
            &["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-N"],
        );
        cluster.run_server();
        cluster
    }

    /// Starts the server again after [`Cluster::kill`].
    pub fn run_server(&self) {
        let options = format!(
            "-p {} -k '' -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=100",
            self.port
        );
        let log = self.folder.path().join("log").display().to_string();
        self.run("pg_ctl", &["-w", "-t", "60", "-l", &log, "-o", &options, "start"]);
    }

    /// Ends the server as a crash would: no farewell to clients, no checkpoint.
    pub fn kill(&self) {
        self.run("pg_ctl", &["-w", "-m", "immediate", "stop"]);
    }

    /// Makes an empty database.
    pub async fn make(&self, name: &str) {
        use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

        let options: sqlx::postgres::PgConnectOptions = self.url("postgres").parse().expect("an address");
        let mut connection = options.connect().await.expect("the server answers");
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        connection.execute(create).await.expect("the database is made");
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.binaries.join(program));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // Into files: the server inherits what it is given, and would hold a pipe open for ever.
        let errors = tempfile::tempfile().expect("a temporary file");
        let status = command
            .current_dir(self.folder.path())
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.try_clone().expect("a second handle"))
            .status()
            .unwrap_or_else(|error| panic!("{program} does not start: {error}"));
        if !status.success() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let errors = std::io::read_to_string({
                use std::io::Seek;
                let mut errors = errors;
                errors.rewind().expect("a file");
                errors
            });
            panic!(
                "{program} ended with {status}: {}\n{log}",
                errors.unwrap_or_default()
            );
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.folder.path().join("data/postmaster.pid").exists() {
            self.kill();
        }
    }
}

/// The user and group of `postgres`, or else of `nobody`.
fn unprivileged_user() -> (u32, u32) {
    let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |name: &str| {
        let mut fields = users
            .lines()
            .map(|line| line.split(':'))
            .find(|line| line.clone().next() == Some(name))?
            .skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .expect("a user without privileges")
}

/// Debian keeps the server's programs off the PATH, a folder a version.
fn binaries() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = Vec::new();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.sort();
    folders.reverse();
    folders.extend(std::env::split_paths(&on_path));
    let is_complete = |folder: &Path| {
        ["initdb", "pg_ctl", "postgres"]
            .iter()
            .all(|name| folder.join(name).exists())
    };
    folders
        .into_iter()
        .find(|folder| is_complete(folder))
        .expect("PostgreSQL is not installed (initdb, pg_ctl, postgres): `make test` installs it")
}
