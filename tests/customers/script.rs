//! The page's script, as far as it can be tried without a page: its syntax, its words, and how it follows a stream over HTTP.
//! What it does on a page is shown by the browser tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn node(arguments: &[&str]) -> Output {
    let mut path = at(".tools/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("node");
    command.args(arguments).env("PATH", path);
    command
        .output()
        .expect("node is installed: `scripts/install.sh test` brings it")
}

fn files(folder: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(at(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path().to_str().unwrap().to_owned());
    let files: Vec<_> = paths.filter(|path| path.ends_with(ending)).collect();
    assert!(!files.is_empty());
    files
}

fn assert_success(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn every_script_is_plain_javascript() {
    for folder in ["src/http/page/script", "crates/sandbox/src/shop"] {
        for file in files(folder, ".js") {
            assert_success(&node(&["--check", &file]));
        }
    }
}

#[test]
fn the_script_speaks_its_words_and_follows_a_stream_that_breaks() {
    let tests = files("tests/script", ".test.mjs");
    let arguments: Vec<&str> = std::iter::once("--test")
        .chain(tests.iter().map(String::as_str))
        .collect();
    assert_success(&node(&arguments));
}
