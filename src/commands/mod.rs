//! One file for each command.

pub(crate) mod catalog;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod healthcheck;
pub(crate) mod jobs;
pub(crate) mod man;
pub(crate) mod migrate;
mod owner;
pub(crate) mod reconcile;
pub(crate) mod serve;
pub(crate) mod subscriptions;
pub(crate) mod sync;
mod tenant;
mod terminal;
pub(crate) mod unmatched;
pub(crate) mod up;
pub(crate) mod workers;

use std::process::ExitCode;
use std::sync::Arc;

use surepass::config::Settings;
use surepass::store::{self, Access, Store, StoreError};

use crate::Failure;

/// Runs a command's work on this thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Opens the configured store to read it. Creates no store and migrates nothing: a command that looks in the wrong place must
/// say so instead of reporting that nothing is there.
async fn open_for_reading(settings: &Settings) -> Result<Arc<Store>, Failure> {
    open_checked(settings, Access::Reading).await
}

/// Opens the configured store, which must be there, to change it.
async fn open_store(settings: &Settings) -> Result<Arc<Store>, Failure> {
    open_checked(settings, Access::Existing).await
}

/// Opens the configured store, and creates it with its tables where it is missing.
async fn open_or_create_store(settings: &Settings) -> Result<Arc<Store>, Failure> {
    let store = open(settings, Access::Create).await?;
    let schema = store.schema().await.map_err(of_database)?;
    if schema.applied.is_none() && schema.broken.is_none() {
        store.migrate().await.map_err(of_database)?;
    } else {
        schema.check().map_err(of_database)?;
    }
    Ok(store)
}

async fn open_checked(settings: &Settings, access: Access) -> Result<Arc<Store>, Failure> {
    let store = open(settings, access).await?;
    let schema = store.schema().await.map_err(of_database)?;
    schema.check().map_err(of_database)?;
    Ok(store)
}

async fn open(settings: &Settings, access: Access) -> Result<Arc<Store>, Failure> {
    let options = store::Options {
        access,
        ..settings.store_options()
    };
    let url = settings.database.url_or_default();
    store::open(&url, &options).await.map_err(of_database)
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn of_database(error: StoreError) -> Failure {
    format!("DATABASE_URL: {error}").into()
}

/// Prints why the command was used wrongly, and returns the exit status for that.
fn misuse(message: &str) -> ExitCode {
    eprintln!("surepass: {message}");
    ExitCode::from(2)
}

/// A table for people: no lines, columns two spaces apart, numbers as they come.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    table.add_rows(rows.map(|row| row.map(|cell| terminal::safe(&cell))));
    table
}
