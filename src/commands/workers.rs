//! `surepass workers`

use std::process::ExitCode;

use surepass::config::Settings;

use super::jobs::{explain, inspector};
use super::terminal::{print_json, relative, safe};
use super::{block_on, table};
use crate::Failure;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List the workers that are alive, and those that died within the last hour
    ///
    /// A worker appears with its first heartbeat, a third of its lease after its start (5 s by default).
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: &Command) -> Result<ExitCode, Failure> {
    let Command::List { json } = command;
    block_on(async {
        let workers = match inspector(settings)?.workers().await {
            Ok(workers) => workers,
            Err(error) => return explain(settings, &error),
        };
        if *json {
            print_json(&workers)?;
        } else if workers.is_empty() {
            println!("No worker was seen in the last hour. Next: start `surepass-worker`, or `surepass up`.");
        } else {
            let rows = workers.iter().map(|one| {
                [
                    if one.dead { "dead" } else { "alive" }.to_owned(),
                    safe(&one.host),
                    one.pid.to_string(),
                    safe(&one.version),
                    one.queues
                        .iter()
                        .map(|queue| safe(queue))
                        .collect::<Vec<_>>()
                        .join(","),
                    format!("{}/{}", one.running, one.concurrency),
                    relative(one.started, one.now),
                    relative(one.last_heartbeat, one.now),
                ]
            });
            let head = [
                "STATE",
                "HOST",
                "PID",
                "VERSION",
                "QUEUES",
                "JOBS",
                "STARTED",
                "LAST SEEN",
            ];
            println!("{}", table(head, rows));
        }
        Ok(ExitCode::SUCCESS)
    })
}
