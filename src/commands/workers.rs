//! `surepass workers`

use std::process::ExitCode;

use surepass::config::Settings;

use super::jobs::{inspector, told};
use super::terminal::{print_json, relative, safe};
use super::{block_on, table};
use crate::Failure;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List the workers, living and dead; a dead one is remembered for an hour
    ///
    /// A worker appears with its first sign of life, a third of its lease (5 s) after its start.
    List {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: &Command) -> Result<ExitCode, Failure> {
    let Command::List { json } = command;
    block_on(async {
        let workers = match inspector(settings)?.workers().await {
            Ok(workers) => workers,
            Err(error) => return told(settings, &error),
        };
        if *json {
            print_json(&workers)?;
        } else if workers.is_empty() {
            println!("No worker has been heard of for an hour: start `surepass-worker`, or `surepass up`.");
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
                "STATE", "HOST", "PID", "VERSION", "QUEUES", "HELD", "STARTED", "HEARD",
            ];
            println!("{}", table(head, rows));
        }
        Ok(ExitCode::SUCCESS)
    })
}
