//! What a package of the programs brings: the version that they name, completions and man pages.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use support::program::{self, SUREPASS, WORKER, stderr, stdout};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What a command prints. It runs where no setting can be read.
async fn printed(program: &str, arguments: &[&str]) -> String {
    let unreadable = ("STRIPE_WEBHOOK_SECRET".to_owned(), "no secret".to_owned());
    let output = program::run(program::command(program, arguments, &[unreadable])).await;
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    assert_eq!(stderr(&output), "");
    stdout(&output)
}

/// What a program prints in a folder; it must succeed.
fn printed_in(folder: &Path, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("SUREPASS_COMMIT");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

#[tokio::test]
async fn every_program_names_its_version_and_the_commit_that_it_was_built_from() {
    for (name, program) in [("surepass", &*SUREPASS), ("surepass-worker", &*WORKER)] {
        let short = format!("{name} {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(printed(program, &["-V"]).await, format!("{short}\n"));
        let long = printed(program, &["--version"]).await;
        let built_from = long.strip_prefix(&format!("{short} (")).expect(&long);
        if !Path::new(ROOT).join(".git").exists() {
            continue;
        }
        let (commit, rest) = built_from.split_once(' ').expect(&long);
        let date = printed_in(
            Path::new(ROOT),
            "git",
            &["show", "-s", "--format=%cs", commit],
            &[],
        );
        assert!(rest.starts_with(date.trim()), "{long} is of {date}");
    }
}

#[test]
fn a_build_knows_its_commit_by_git_or_by_its_environment_and_never_guesses() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let script = folder.path().join("script");
    let build = format!("{ROOT}/build.rs");
    let arguments = ["--edition", "2024", "-o", script.to_str().unwrap(), &build];
    printed_in(folder.path(), "rustc", &arguments, &[]);
    let version = |profile: &str, environment: &[(&str, &str)]| {
        let always = [("PROFILE", profile), ("CARGO_PKG_VERSION", "7.8.9")];
        let environment = [&always, environment].concat();
        let said = printed_in(&source, script.to_str().unwrap(), &[], &environment);
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix("cargo::rustc-env=SUREPASS_LONG_VERSION="));
        line.expect(&said).to_owned()
    };
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=Kari", "-c", "user.email=kari@example.com"];
        printed_in(
            &source,
            "git",
            &[&who, arguments].concat(),
            &[("GIT_COMMITTER_DATE", "2026-01-02T23:59:00-11:00")],
        )
    };

    // The folder around it is a repository, as an unpacked archive's may be.
    printed_in(folder.path(), "git", &["init", "--quiet"], &[]);
    assert_eq!(version("release", &[]), "7.8.9 (commit unknown)");
    let told = [("SUREPASS_COMMIT", "0123456789 2026-05-06\n")];
    assert_eq!(version("release", &told), "7.8.9 (0123456789 2026-05-06)");

    git(&["init", "--quiet"]);
    std::fs::write(source.join("Cargo.toml"), "one").unwrap();
    std::fs::write(source.join("README.md"), "one").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let commit = git(&["log", "-1", "--format=%H"])[..10].to_owned();
    let clean = format!("7.8.9 ({commit} 2026-01-02)");
    assert_eq!(version("release", &[]), clean);
    assert_eq!(
        version("debug", &[]),
        format!("7.8.9 ({commit} 2026-01-02 or later, debug build)")
    );
    assert_eq!(version("release", &told), "7.8.9 (0123456789 2026-05-06)");
    assert_eq!(version("release", &[("SUREPASS_COMMIT", "")]), clean);
    std::fs::write(source.join("README.md"), "two").unwrap();
    assert_eq!(version("release", &[]), clean, "no source has changed");
    std::fs::write(source.join("Cargo.toml"), "two").unwrap();
    assert_eq!(
        version("release", &[]),
        format!("7.8.9 ({commit} 2026-01-02, modified)")
    );
    assert_eq!(
        version("release", &[("PATH", "/nowhere")]),
        "7.8.9 (commit unknown)"
    );
}

#[tokio::test]
async fn bash_completes_commands_and_options_by_the_script_that_is_printed() {
    for shell in ["elvish", "fish", "powershell", "zsh"] {
        assert!(
            printed(&SUREPASS, &["completions", shell])
                .await
                .contains("doctor")
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("surepass");
    std::fs::write(&script, printed(&SUREPASS, &["completions", "bash"]).await).unwrap();
    let completed = |words: &str, last: usize| {
        // As bash calls it, with the command, the word and the one before it.
        let line = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             _surepass surepass ${{COMP_WORDS[{last}]}} x; echo ${{COMPREPLY[*]}}",
            script.display()
        );
        printed_in(folder.path(), "bash", &["--norc", "-c", &line], &[])
    };
    assert_eq!(completed("surepass doc", 1), "doctor\n");
    assert_eq!(completed("surepass jobs ret", 2), "retry\n");
    assert_eq!(completed("surepass reconcile --ten", 2), "--tenant\n");
}

#[tokio::test]
async fn there_is_a_man_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    // It is made where it is missing.
    let pages = folder.path().join("man1");
    assert_eq!(printed(&SUREPASS, &["man", pages.to_str().unwrap()]).await, "");
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert_eq!(page("surepass.1"), printed(&SUREPASS, &["man"]).await);
    assert!(page("surepass-jobs-retry.1").contains("\\-\\-dead"));
    let help = printed(&SUREPASS, &["--help"]).await;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let named = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .filter(|command| *command != "help");
    let named: BTreeSet<_> = named.map(|command| format!("surepass-{command}.1")).collect();
    let written: BTreeSet<_> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(named.is_subset(&written), "{named:?} of {written:?}");
    let refused = folder.path().join("man1/surepass.1");
    let output = program::run(program::command(
        &SUREPASS,
        &["man", refused.to_str().unwrap()],
        &[],
    ))
    .await;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("surepass: cannot write man pages to "),
        "{}",
        stderr(&output)
    );
}
