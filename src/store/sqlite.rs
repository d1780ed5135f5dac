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
use sqlx::{Arguments, ConnectOptions, Row, SqlStr, Sqlite, SqliteConnection, SqlitePool};

use super::database::{Bind, Dialect};
use super::open_file::OpenFile;
use super::{ACQUIRE, Access, Options, StoreError, Synchronous, outage};

/// Takes the write lock at once, so that what the transaction reads stays true until it commits.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// The most rows of one `INSERT`. A prepared statement takes memory for each row, and SQLite is not faster
/// with more.
pub(super) const ROWS: usize = 16;

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

/// The connections to a file: one that writes, and several that read.
pub(super) struct Pools {
    writer: SqlitePool,
    readers: SqlitePool,
    /// A connection that stays open as long as the store.
    kept: Mutex<Option<PoolConnection<Sqlite>>>,
    /// The opened file, if it can be written.
    file: Option<OpenFile>,
}

impl Pools {
    pub(super) async fn acquire(&self, access: outage::Access) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.check_file()?;
        let pool = match access {
            outage::Access::Read => &self.readers,
            outage::Access::Write => &self.writer,
        };
        Ok(pool.acquire().await?)
    }

    pub(super) fn check_file(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), OpenFile::check)
    }

    pub(super) async fn close(&self) {
        self.writer.close().await;
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.readers.close().await;
    }

    /// Opens the file of a `sqlite://FILE` address. [`Access::Create`] creates the file (readable by its
    /// owner only) and its folder.
    ///
    /// # Errors
    /// [`StoreError`]: the address is invalid, or the file cannot be opened or created.
    pub(super) async fn open(url: &str, options: &Options) -> Result<Self, StoreError> {
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
            // A text for each number of rows of each `INSERT`.
            .statement_cache_capacity(200)
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
        Ok(Self {
            writer,
            readers,
            kept: Mutex::new(Some(kept)),
            file: Some(file),
        })
    }

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
        Ok(Self {
            writer: readers.clone(),
            readers,
            kept: Mutex::new(Some(kept)),
            file: None,
        })
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

pub(super) const DIALECT: Dialect = Dialect {
    begin_migration: "BEGIN EXCLUSIVE",
    // The transaction is the lock.
    lock_migrations: "",
    migration_table: "CREATE TABLE IF NOT EXISTS _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    count_migration_tables: "SELECT COUNT(*) AS n FROM sqlite_master WHERE name = '_sqlx_migrations'",
    // More than the writer's cache holds: the rest is written to the WAL at once.
    large_insert: "INSERT INTO audit (id, actor, action, target, began_at) \
        VALUES ('doctor', '', '', hex(zeroblob(2097152)), 0)",
    lock_catalog: "",
    share_emails: "",
    lock_email: "",
    migrations: &MIGRATIONS,
};

/// SQLite knows neither lists as parameters nor row locks.
pub(super) fn translated(text: &str) -> String {
    let mut parts = text.trim_end_matches(" FOR UPDATE").split("= ANY(");
    let mut translated = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        translated += "IN (SELECT value FROM json_each(";
        translated += &part.replacen(')', "))", 1);
    }
    translated
}

/// `VALUES (?, ?), (?, ?)`. Not `$1`: SQLite searches a list for each parameter's name, which takes seconds for
/// thousands.
pub(super) fn values(rows: &[Vec<Bind<'_>>]) -> String {
    let width = rows.first().map_or(0, Vec::len);
    let row = format!("({})", vec!["?"; width].join(", "));
    format!("VALUES {}", vec![row.as_str(); rows.len()].join(", "))
}

pub(super) async fn rows(
    connection: &mut SqliteConnection,
    sql: SqlStr,
    binds: Vec<Bind<'_>>,
) -> sqlx::Result<Vec<SqliteRow>> {
    sqlx::query_with(sql, arguments(binds)?)
        .fetch_all(connection)
        .await
}

pub(super) async fn execute(
    connection: &mut SqliteConnection,
    sql: SqlStr,
    binds: Vec<Bind<'_>>,
) -> sqlx::Result<u64> {
    let done = sqlx::query_with(sql, arguments(binds)?)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

fn arguments(binds: Vec<Bind<'_>>) -> sqlx::Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(binds.len(), 0);
    for bind in binds {
        match bind {
            Bind::Text(text) => arguments.add(text.map(Arc::<str>::from)),
            Bind::Texts(texts) => arguments
                .add(serde_json::to_string(&texts).map_err(|error| sqlx::Error::Encode(error.into()))?),
            Bind::Int(int) => arguments.add(int),
            Bind::Flag(flag) => arguments.add(flag),
            Bind::Instant(instant) => arguments.add(instant.timestamp_millis()),
            Bind::Bytes(bytes) => arguments.add(bytes),
            // Rows go in as `VALUES`.
            Bind::Column(_) => continue,
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

pub(super) fn instant(row: &SqliteRow, column: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
    let Some(milliseconds) = row.try_get::<Option<i64>, _>(column)? else {
        return Ok(None);
    };
    let instant = DateTime::<Utc>::from_timestamp_millis(milliseconds).ok_or_else(|| {
        sqlx::Error::Decode(format!("{milliseconds} in `{column}` is not an instant").into())
    })?;
    Ok(Some(instant))
}
