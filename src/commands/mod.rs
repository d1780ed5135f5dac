//! One file for each command.

pub(crate) mod catalog;
pub(crate) mod healthcheck;
pub(crate) mod jobs;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod subscriptions;
pub(crate) mod sync;
mod terminal;
pub(crate) mod up;
pub(crate) mod workers;

use std::sync::Arc;

use surepass::config::Settings;
use surepass::store::{self, Store};

use crate::Failure;

/// Runs a command's work on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Opens the configured store and brings its tables up to date.
async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    let url = settings.database.url_or_default();
    let store = store::open(&url, &settings.store_options())
        .await
        .map_err(|error| format!("DATABASE_URL: {error}"))?;
    store
        .migrate()
        .await
        .map_err(|error| format!("DATABASE_URL: {error}"))?;
    Ok(store)
}

/// A table for people: no lines, columns two spaces apart, numbers as they come.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    table.add_rows(rows);
    table
}
