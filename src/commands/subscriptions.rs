//! `surepass subscriptions`

mod list;

use std::process::ExitCode;

use surepass::config::Settings;

use super::block_on;
use super::owner::{self, NewOwner};
use crate::Failure;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List subscriptions, newest first. Each filter narrows the list
    List(list::Arguments),
    /// Show one subscription and its owner
    Show {
        /// The subscription (subscription-cs_…) or its Checkout Session (cs_…)
        #[arg(value_name = "ID")]
        id: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Move one subscription to another user. Written to the audit log
    Move {
        /// The subscription (subscription-cs_…) or its Checkout Session (cs_…)
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        owner: NewOwner,
        /// The reason, for the audit log, such as a ticket number
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::List(arguments) => block_on(list::run(settings, arguments)),
        Command::Show { id, json } => block_on(owner::show(settings, &id, json)),
        Command::Move { id, owner, why, json } => block_on(owner::give(settings, &id, owner, &why, json)),
    }
}
