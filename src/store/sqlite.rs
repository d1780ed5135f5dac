//! SQLite: one embedded file with one writer and several readers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::unistd::{AccessFlags, access};
use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Arguments, ConnectOptions, Executor, Row, SqlStr, Sqlite, SqliteConnection, SqlitePool};

use super::dialect::{Bind, Dialect, STATEMENTS, fields};
use super::pools::{OpenFile, Pools};
use super::sql::SqlStore;
use super::{ACQUIRE, Access, Options, StoreError, Synchronous};

/// The store in a SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(5);

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The file of a `sqlite://` address. It need not exist.
#[must_use]
pub fn sqlite_file(url: &SecretString) -> Option<PathBuf> {
    let address = url.expose_secret();
    let options = SqliteConnectOptions::from_str(address.starts_with("sqlite:").then_some(address)?).ok()?;
    Some(options.get_filename().to_owned())
}

impl SqliteStore {
    /// Opens the file of a `sqlite://FILE` address. [`Access::Create`] creates the file (readable by its
    /// owner only) and its folder.
    ///
    /// # Errors
    /// [`StoreError`]: the address is invalid, or the file cannot be opened or created.
    pub async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
        let address = SqliteConnectOptions::from_str(url).map_err(|error| {
            StoreError::Address(format!("`{url}` is not the address of a SQLite file: {error}"))
        })?;
        let file = address.get_filename().to_owned();
        if url.contains(":memory:") || url.contains("mode=memory") || file.as_os_str().is_empty() {
            return Err(StoreError::Address(format!(
                "`{url}` names no file: write one, as in sqlite://surepass.db, since several connections share it"
            )));
        }
        if options.access != Access::Create && !file.exists() {
            return Err(absent(&file));
        }
        if options.access == Access::Reading {
            return Self::open_for_reading(address, &file, options).await;
        }
        create(&file).map_err(|error| {
            StoreError::Address(format!(
                "the SQLite file {} cannot be opened: {error}",
                file.display()
            ))
        })?;
        let address = address
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match options.synchronous {
                Synchronous::Normal => SqliteSynchronous::Normal,
                Synchronous::Full => SqliteSynchronous::Full,
            })
            .disable_statement_logging();

        let writer_address = address
            .clone()
            // Ids are random, so a batch touches hundreds of pages. With the default cache and checkpoint
            // they would be written and read again within one transaction. More than 2.5 MB brings little.
            .pragma("cache_size", "-2500")
            .pragma("wal_autocheckpoint", "8000")
            .pragma("temp_store", "MEMORY");
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_lazy_with(writer_address);
        let readers = SqlitePoolOptions::new()
            // Plus the connection that stays open.
            .max_connections(options.max_connections.clamp(1, 4) + 1)
            .acquire_timeout(ACQUIRE)
            .test_before_acquire(false)
            .connect_lazy_with(address.pragma("query_only", "ON"));
        // At once rather than with the first purchase: this switches the journal to WAL.
        drop(connect(&writer).await?);
        // Closing the last connection deletes the WAL. This one stays open, so that the store looks in use
        // between two statements. Also, POSIX drops a process's locks on a file when it closes any descriptor
        // of it.
        let kept = connect(&readers).await?;
        let file = OpenFile::new(file).map_err(|error| StoreError::Outage(error.to_string()))?;
        Ok(Self::new(
            Pools::new(writer, readers, Some(kept)).of_file(file),
            1,
        ))
    }
}

impl SqliteStore {
    /// Opens a file without changing it, even if it is read-only.
    async fn open_for_reading(
        address: SqliteConnectOptions,
        file: &Path,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let address = address.busy_timeout(BUSY).disable_statement_logging();
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let may_write =
            |path: &Path| access(path, AccessFlags::W_OK).is_ok() && !address.get_filename().is_dir();
        let writable = may_write(file) && may_write(folder.unwrap_or(Path::new(".")));
        // SQLite needs files beside a WAL file, which it creates and removes. In a folder where it may not,
        // it reads the file only if told that nobody changes it.
        let reading = |address: SqliteConnectOptions| {
            SqlitePoolOptions::new()
                .max_connections(options.max_connections.clamp(1, 4) + 1)
                .acquire_timeout(ACQUIRE)
                .test_before_acquire(false)
                .connect_lazy_with(address.pragma("query_only", "ON"))
        };
        let mut readers = reading(address.clone().read_only(!writable));
        let mut kept = readable(&readers).await;
        let wal = PathBuf::from(format!("{}-wal", file.display()));
        let has_wal = std::fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0);
        if kept.is_err() && !has_wal {
            readers = reading(address.read_only(true).immutable(true));
            kept = readable(&readers).await;
        }
        let kept = kept.map_err(|error| {
            StoreError::Address(format!(
                "the SQLite file {} cannot be read: {error}",
                file.display()
            ))
        })?;
        Ok(Self::new(Pools::new(readers.clone(), readers, Some(kept)), 1))
    }
}

/// A connection that can read, which only a query proves.
async fn readable(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, StoreError> {
    let mut connection = pool.acquire().await?;
    sqlx::query("SELECT COUNT(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    Ok(connection)
}

fn absent(file: &Path) -> StoreError {
    let shown = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    StoreError::Address(format!(
        "there is no SQLite file {}. Set DATABASE_URL to the store, or run the command in the folder where `surepass up` runs \
         (or set SUREPASS_DATA_DIR to its data folder); `surepass migrate` creates a new, empty store",
        shown.display()
    ))
}

/// Opens the pool's first connection. If several processes switch a new file to WAL at once, SQLite fails all
/// but one, whatever the busy timeout.
async fn connect(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, StoreError> {
    const PAUSE: Duration = Duration::from_millis(20);
    let end = tokio::time::Instant::now() + BUSY;
    loop {
        match pool.acquire().await.map_err(StoreError::from) {
            Ok(connection) => return Ok(connection),
            Err(error) if error.is_transient() && tokio::time::Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Creates the file if it is missing. An existing file is not opened here: closing it would drop this
/// process's locks on it ("How To Corrupt An SQLite Database File", 2.2).
fn create(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    /// Prevents another thread from opening a new file before it is closed here.
    static MAKING: Mutex<()> = Mutex::new(());

    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    // SQLite gives the -wal and -shm files the same mode.
    let made = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(file);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if file.is_dir() {
                return Err(ErrorKind::IsADirectory.into());
            }
            Ok(access(file, AccessFlags::R_OK | AccessFlags::W_OK)?)
        }
        made => made.map(drop),
    }
}

impl Dialect for Sqlite {
    // Takes the write lock at once, so that what the transaction reads stays true until it commits.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    // More than the writer's cache holds: the rest is written to the WAL at once.
    const LARGE_INSERT: &'static str = "INSERT INTO audit (id, actor, action, target, began_at) \
        VALUES ('doctor', '', '', hex(zeroblob(2097152)), 0)";
    const BEGIN_MIGRATION: &'static str = "BEGIN EXCLUSIVE";
    // The transaction is the lock.
    const LOCK_MIGRATIONS: &'static str = "";
    const MIGRATION_TABLE: &'static str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)";
    const LOCKING: &'static str = "";
    const LOCK_CATALOGUE: Option<&'static str> = None;
    const SHARE_EMAILS: Option<&'static str> = None;
    const LOCK_EMAIL: Option<&'static str> = None;
    const JOINS_STATEMENTS: bool = true;
    // A prepared statement takes memory for each row, and SQLite is not faster with more.
    const LARGEST_INSERT: u32 = 4;
    const COUNT_MIGRATION_TABLES: &'static str =
        "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = '_sqlx_migrations'";

    fn migrations() -> &'static Migrator {
        &MIGRATIONS
    }

    fn one_of(position: usize) -> String {
        format!("IN (SELECT value FROM json_each(${position}))")
    }

    // Not `$1`: SQLite searches a list for each parameter's name, which takes seconds for thousands.
    fn placeholder(_: usize) -> String {
        "?".to_owned()
    }

    async fn rows(
        connection: &mut SqliteConnection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> sqlx::Result<Vec<SqliteRow>> {
        tracing::trace!(target: STATEMENTS, statement = sql.as_str());
        sqlx::query_with(sql, arguments(binds)?)
            .fetch_all(connection)
            .await
    }

    async fn execute(
        connection: &mut SqliteConnection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> sqlx::Result<u64> {
        tracing::trace!(target: STATEMENTS, statement = sql.as_str());
        let done = sqlx::query_with(sql, arguments(binds)?)
            .execute(connection)
            .await?;
        let rows = done.rows_affected();
        tracing::trace!(target: STATEMENTS, rows);
        Ok(rows)
    }

    async fn script(connection: &mut SqliteConnection, sql: SqlStr) -> sqlx::Result<()> {
        connection.execute(sql).await?;
        Ok(())
    }
}

fn arguments(binds: Vec<Bind<'_>>) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(binds.len(), 0);
    for bind in binds {
        match bind {
            Bind::Text(text) => arguments.add(Arc::<str>::from(text)),
            Bind::MaybeText(text) => arguments.add(text.map(Arc::<str>::from)),
            Bind::Texts(texts) => arguments
                .add(serde_json::to_string(&texts).map_err(|error| sqlx::Error::Encode(error.into()))?),
            Bind::Int(int) => arguments.add(int),
            Bind::MaybeInt(int) => arguments.add(int),
            Bind::Flag(flag) => arguments.add(flag),
            Bind::Instant(instant) => arguments.add(instant.timestamp_millis()),
            Bind::MaybeBytes(bytes) => arguments.add(bytes),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fields!(SqliteRow, |row: &SqliteRow, column: &str| {
    let milliseconds = row.try_get::<i64, _>(column)?;
    DateTime::<Utc>::from_timestamp_millis(milliseconds)
        .ok_or_else(|| sqlx::Error::Decode(format!("{milliseconds} in `{column}` is not an instant").into()))
});
