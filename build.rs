//! Compiles in the commit that the programs are built from; `--version` prints it. Asks git, never the network.
//!
//! `SUREPASS_COMMIT` wins, for builds without git such as Docker's: the output of `git log -1 --abbrev=10 --format='%h %cs'`.
//! The date is the commit's, so that two builds of one commit are alike.

use std::path::Path;
use std::process::Command;

/// What the programs are made of: a change elsewhere does not make a build "modified".
const SOURCES: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "config",
    "crates",
    "migrations",
    "src",
    "workers",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SUREPASS_COMMIT");
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match std::env::var("SUREPASS_COMMIT") {
        Ok(commit) if !commit.trim().is_empty() => commit.trim().to_owned(),
        _ => of_git(release).unwrap_or_else(|| "commit unknown".to_owned()),
    };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=SUREPASS_LONG_VERSION={version} ({commit})");
}

fn of_git(release: bool) -> Option<String> {
    // A source archive that is unpacked inside of another repository has no commit of its own.
    if !Path::new(".git").exists() {
        return None;
    }
    let commit = git(&["log", "-1", "--abbrev=10", "--format=%h %cs"])?;
    if !release {
        // Whatever this script watches rebuilds every test program when it changes: too much for each commit.
        return Some(format!("{commit} or later, debug build"));
    }
    // Each move of HEAD appends to this file, also where branches are packed and in worktrees.
    println!(
        "cargo::rerun-if-changed={}",
        git(&["rev-parse", "--git-path", "logs/HEAD"])?
    );
    let sources = SOURCES.iter().filter(|path| Path::new(path).exists());
    for path in sources.clone() {
        println!("cargo::rerun-if-changed={path}");
    }
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(sources);
    let modified = !git(&status)?.is_empty();
    Some(if modified {
        format!("{commit}, modified")
    } else {
        commit
    })
}

/// What a git command prints; `None` where git is missing or fails.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
