//! `surepass up`

use std::process::ExitCode;

use surepass::config::Settings;
use surepass::telemetry;
use surepass::up::{self, Options};

use super::block_on;
use crate::Failure;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Load a sample catalog and play purchases through the real webhook endpoint: signed, duplicated, late, forged and
    /// more. Uses its own folder `demo` in the data directory and no other store
    #[arg(long)]
    demo: bool,
    /// Exit when the demo is over, with status 0 only if every outcome was correct
    #[arg(long, requires = "demo")]
    exit_when_done: bool,
}

pub(crate) fn run(mut settings: Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    if arguments.demo && std::env::var_os("RUST_LOG").is_none() {
        // The demo prints its own lines.
        "warn".clone_into(&mut settings.log.filter);
    }
    let _telemetry = telemetry::init("surepass-up", &settings.log.filter, settings.log.format)?;
    let options = Options {
        demo: arguments.demo,
        exit_when_done: arguments.exit_when_done,
    };
    let right = block_on(async { Ok(up::run(settings, options).await?) })?;
    Ok(if right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
