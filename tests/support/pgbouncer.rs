//! A private `PgBouncer` in transaction mode, in front of a test's PostgreSQL.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::ports::free_port;

/// A running `PgBouncer`, on 127.0.0.1 and a free port.
pub struct PgBouncer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one with these settings beside the usual; `None`, with a word on it, where none is installed.
    pub fn start((port_of_server, user): (u16, Option<(u32, u32)>), settings: &str) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("PgBouncer is not installed: left out (`make test` installs it where apt can)");
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={port_of_server} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 8\n\
             {settings}\n"
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, text).expect("its settings");
        let mut command = Command::new(program);
        if let Some((user, group)) = user {
            std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).expect("chown");
            command.uid(user).gid(group);
        }
        let child = command
            .arg("-q")
            .arg(&file)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PgBouncer starts");
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self {
            child,
            port,
            _folder: folder,
        })
    }

    /// The address of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian keeps it off the PATH of a plain user.
fn program() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from).to_vec();
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let is_there = |folder: &Path| folder.join("pgbouncer").is_file();
    Some(
        folders
            .into_iter()
            .find(|folder| is_there(folder))?
            .join("pgbouncer"),
    )
}
