//! `surepass migrate`

use std::process::ExitCode;

use surepass::config::Settings;
use surepass::store::Access;

use super::{block_on, of_database, open};
use crate::Failure;

pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    block_on(async {
        let store = open(settings, Access::Create).await?;
        store.migrate().await.map_err(of_database)?;
        store.close().await;
        println!("The store's tables are up to date.");
        Ok(ExitCode::SUCCESS)
    })
}
