//! Under which conditions the figures came about.

use std::process::Command;

use surepass::clock::Clock;

/// A line each: the machine, the programs, the date.
pub(crate) fn told() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let redis =
        first_line(&["redis-server", "--version"]).or_else(|| first_line(&["valkey-server", "--version"]));
    let commit = first_line(&["git", "describe", "--always", "--dirty", "--abbrev=10"]);
    format!(
        "Surepass {} at {}\n{cores} cores, {processor}; {}\n{}\n{}",
        env!("CARGO_PKG_VERSION"),
        commit.unwrap_or_else(|| "no commit".to_owned()),
        redis.unwrap_or_else(|| "no Redis".to_owned()),
        Clock::system().now().format("%Y-%m-%d %H:%M UTC"),
        load()
    )
}

/// How busy the machine is, with us or with others.
pub(crate) fn load() -> String {
    let averages = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = averages.split(' ').take(3).collect();
    format!("load averages: {}", averages.join(" "))
}

fn first_line(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines()
        .next()
        .filter(|_| output.status.success())
        .map(str::to_owned)
}
