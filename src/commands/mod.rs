//! One file for each command.

pub(crate) mod catalog;
pub(crate) mod doctor;
pub(crate) mod healthcheck;
pub(crate) mod jobs;
pub(crate) mod migrate;
mod owner;
pub(crate) mod reconcile;
pub(crate) mod serve;
pub(crate) mod subscriptions;
pub(crate) mod sync;
mod terminal;
pub(crate) mod unmatched;
pub(crate) mod up;
pub(crate) mod workers;

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
/// say so, and never answer that nothing is there.
async fn open_for_reading(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    let store = open(settings, Access::Reading).await?;
    check_tables(store.as_ref()).await?;
    Ok(store)
}

/// Opens the configured store, which must be there, to change it.
async fn open_store(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    let store = open(settings, Access::Existing).await?;
    check_tables(store.as_ref()).await?;
    Ok(store)
}

/// Opens the configured store, and creates it with its tables where it is missing.
async fn open_or_create_store(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    let store = open(settings, Access::Create).await?;
    let schema = store.schema().await.map_err(of_database)?;
    if schema.applied.is_none() && schema.broken.is_none() {
        store.migrate().await.map_err(of_database)?;
    }
    check_tables(store.as_ref()).await?;
    Ok(store)
}

async fn open(settings: &Settings, access: Access) -> Result<Arc<dyn Store>, Failure> {
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

/// Refuses a store whose tables are missing or older than this program.
async fn check_tables(store: &dyn Store) -> Result<(), Failure> {
    let schema = store.schema().await.map_err(of_database)?;
    if let Some(version) = schema.broken {
        return Err(format!(
            "DATABASE_URL: the migration to version {version} broke off half-way: run `surepass migrate` and see what it says"
        )
        .into());
    }
    match schema.applied {
        None => Err(
            "DATABASE_URL: the store has no tables: is it the right one? `surepass migrate` creates them in a new store"
                .into(),
        ),
        Some(applied) if schema.missing > 0 => Err(format!(
            "DATABASE_URL: the tables are at version {applied}, and this program needs {}: run `surepass migrate` when all \
             programs of this installation may be upgraded",
            schema.newest
        )
        .into()),
        Some(_) => schema.check().map_err(of_database),
    }
}

/// A table for people: no lines, columns two spaces apart, numbers as they come.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head);
    table.add_rows(rows.map(|row| row.map(|cell| terminal::safe(&cell))));
    table
}
