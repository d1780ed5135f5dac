//! `surepass migrate`

use std::process::ExitCode;

use surepass::config::Settings;

use super::{block_on, open_store};
use crate::Failure;

pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    block_on(async {
        open_store(settings).await?.close().await;
        println!("The store's tables are up to date.");
        Ok(ExitCode::SUCCESS)
    })
}
