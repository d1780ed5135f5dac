//! The connections of a store, and whether they work.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{Connection, Pool};
use tokio::time::error::Elapsed;

use super::StoreError;
use super::dialect::Dialect;
use super::error::timed_out;
use super::outage::{Access, Outage, Watch};

/// A store's connections for writing and reading.
pub(super) struct Pools<D: Dialect> {
    writers: Pool<D>,
    readers: Pool<D>,
    /// A connection that stays open as long as the store, if the database needs one.
    kept: Mutex<Option<PoolConnection<D>>>,
    watch: Watch,
    /// How to connect if the server rejects the session's options.
    plain: Option<<D::Connection as Connection>::Options>,
    file: Option<OpenFile>,
}

impl<D: Dialect> Pools<D> {
    pub(super) fn new(writers: Pool<D>, readers: Pool<D>, kept: Option<PoolConnection<D>>) -> Self {
        Self {
            writers,
            readers,
            kept: Mutex::new(kept),
            watch: Watch::default(),
            plain: None,
            file: None,
        }
    }

    pub(super) fn with_plain_options(self, plain: <D::Connection as Connection>::Options) -> Self {
        Self {
            plain: Some(plain),
            ..self
        }
    }

    pub(super) fn of_file(self, file: OpenFile) -> Self {
        Self {
            file: Some(file),
            ..self
        }
    }

    pub(super) async fn acquire(&self, access: Access) -> Result<PoolConnection<D>, StoreError> {
        self.check_file()?;
        let pool = match access {
            Access::Read => &self.readers,
            Access::Write => &self.writers,
        };
        match (pool.acquire().await, &self.plain) {
            (Err(error), Some(plain)) if D::refuses_options(&error) => {
                pool.set_connect_options(plain.clone());
                Ok(pool.acquire().await?)
            }
            (connection, _) => Ok(connection?),
        }
    }

    /// Checks that the store's file is still the opened one. Also after each write: what went into a deleted
    /// file is lost.
    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), OpenFile::check)
    }

    /// Records whether a call shows an outage or its end.
    pub(super) fn note<T>(&self, access: Access, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.watch.note(access, result, Instant::now)
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.watch.outage(Instant::now())
    }

    pub(super) async fn close(&self) {
        self.writers.close().await;
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.readers.close().await;
    }
}

/// The opened file: its path and identity.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl OpenFile {
    pub(super) fn new(path: PathBuf) -> std::io::Result<Self> {
        let device_and_inode = device_and_inode(&path)?;
        Ok(Self {
            path,
            device_and_inode,
        })
    }

    fn check(&self) -> Result<(), StoreError> {
        let problem = match device_and_inode(&self.path) {
            Ok(found) if found == self.device_and_inode => return Ok(()),
            Ok(_) => "has been replaced",
            Err(error) if error.kind() == ErrorKind::NotFound => "has been removed",
            Err(error) => {
                return Err(StoreError::Outage(format!(
                    "the SQLite file {} cannot be checked: {error}",
                    self.path.display()
                )));
            }
        };
        Err(StoreError::Outage(format!(
            "the SQLite file {} {problem} while it is open: nothing is written until the old file is back or this program \
             is restarted",
            self.path.display()
        )))
    }
}

fn device_and_inode(path: &Path) -> std::io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Closes a connection that did not answer in time, since waiting would occupy its place in the pool. Also
/// one that failed, which may still be in a transaction.
pub(super) fn in_time<D: Dialect, T, E: From<sqlx::Error>>(
    mut connection: PoolConnection<D>,
    result: Result<Result<T, E>, Elapsed>,
) -> Result<T, E> {
    if !matches!(result, Ok(Ok(_))) {
        connection.close_on_drop();
    }
    result.unwrap_or_else(|_| Err(timed_out().into()))
}

/// Runs a call on a connection of [`Pools`], within the time limit of a statement.
macro_rules! ask {
    ($pools:expr, $access:ident, |$connection:ident| $asked:expr) => {{
        let access = $crate::store::outage::Access::$access;
        let asked = async {
            let mut $connection = $pools.acquire(access).await?;
            let asked = tokio::time::timeout($crate::store::STATEMENT, $asked).await;
            let done = $crate::store::pools::in_time($connection, asked)?;
            $pools.check_file()?;
            Ok(done)
        };
        let asked: Result<_, $crate::store::StoreError> = asked.await;
        $pools.note(access, asked)
    }};
}
pub(super) use ask;
