//! Runs statements on either database: the only place that tells the two apart, with [`sqlite`] and
//! [`postgres`].
//!
//! Statements are written once, as PostgreSQL reads them; [`sqlite`] translates the little that differs.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Decode, Postgres, Row as _, SqlSafeStr, SqlStr, Sqlite, Type};
use tokio::time::error::Elapsed;
use tokio::time::{Duration, Instant, timeout_at};

use super::error::{is_passing, timed_out};
use super::outage::{Access, Outage, Watch};
use super::{STATEMENT, StoreError, postgres, sqlite};

/// The tracing target of statements: their text without parameters, then the number of changed rows.
const STATEMENTS: &str = "surepass::sql";

/// The texts in which the databases differ. An empty one is not needed.
pub(super) struct Dialect {
    /// Begins the transaction of a migration.
    pub(super) begin_migration: &'static str,
    /// Lets only one migration run, until the transaction ends.
    pub(super) lock_migrations: &'static str,
    /// Creates the table of applied migrations, if missing.
    pub(super) migration_table: &'static str,
    /// Counts the migrations' tables, as `n`.
    pub(super) count_migration_tables: &'static str,
    /// Inserts a row that needs disk space, to be rolled back.
    pub(super) large_insert: &'static str,
    /// Excludes other imports until the transaction ends.
    pub(super) lock_catalog: &'static str,
    /// Locks these emails against verification until the transaction ends.
    pub(super) share_emails: &'static str,
    /// Locks this email until the transaction ends. Waits for transactions that share it.
    pub(super) lock_email: &'static str,
    pub(super) migrations: &'static Migrator,
}

/// A store's connections, and whether they work.
pub(super) struct Database {
    pools: Pools,
    watch: Watch,
}

pub(super) enum Pools {
    Sqlite(sqlite::Pools),
    Postgres(Box<postgres::Pools>),
}

impl std::fmt::Debug for Database {
    /// Without the address, which has a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    pub(super) fn new(pools: Pools) -> Self {
        let watch = Watch::default();
        Self { pools, watch }
    }

    /// How many transactions can write at once.
    pub(super) fn writers(&self) -> usize {
        match self.pools {
            Pools::Sqlite(_) => 1,
            Pools::Postgres(_) => postgres::PARALLEL,
        }
    }

    pub(super) fn dialect(&self) -> &'static Dialect {
        match self.pools {
            Pools::Sqlite(_) => &sqlite::DIALECT,
            Pools::Postgres(_) => &postgres::DIALECT,
        }
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.watch.outage(std::time::Instant::now())
    }

    pub(super) fn note<T>(&self, access: Access, result: Result<T, StoreError>) -> Result<T, StoreError> {
        self.watch.note(access, result, std::time::Instant::now)
    }

    pub(super) async fn close(&self) {
        match &self.pools {
            Pools::Sqlite(pools) => pools.close().await,
            Pools::Postgres(pools) => pools.pool.close().await,
        }
    }

    /// A connection for an operation that may take `limit`.
    pub(super) async fn call(&self, access: Access, limit: Duration) -> Result<Call<'_>, StoreError> {
        let connection = async {
            Ok(match &self.pools {
                Pools::Sqlite(pools) => Connection::Sqlite(pools.acquire(access).await?),
                Pools::Postgres(pools) => Connection::Postgres(pools.acquire().await?),
            })
        };
        // Boxed, as the statements are: sqlx's futures are large and deep.
        let connection = match connection.boxed().await {
            Ok(connection) => connection,
            Err(error) => return self.note(access, Err(error)),
        };
        Ok(Call {
            db: self,
            access,
            connection,
            deadline: Instant::now() + limit,
            is_open: false,
            failure: None,
            is_retried: false,
        })
    }

    pub(super) async fn read(&self) -> Result<Call<'_>, StoreError> {
        self.call(Access::Read, STATEMENT).await
    }

    pub(super) async fn write(&self) -> Result<Call<'_>, StoreError> {
        self.call(Access::Write, STATEMENT).await
    }

    /// Begins a transaction.
    pub(super) async fn transaction(&self) -> Result<Call<'_>, StoreError> {
        let mut call = self.write().await?;
        call.begin().await?;
        Ok(call)
    }

    /// What `read` makes of the rows of a query.
    pub(super) async fn list<T>(
        &self,
        text: &str,
        binds: Vec<Bind<'_>>,
        read: fn(&Row) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.read().await?.list(text, binds, read).await
    }

    pub(super) async fn first<T>(
        &self,
        text: &str,
        binds: Vec<Bind<'_>>,
        read: fn(&Row) -> sqlx::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        Ok(self.list(text, binds, read).await?.into_iter().next())
    }

    /// Returns the number of rows written.
    pub(super) async fn execute(&self, text: &str, binds: Vec<Bind<'_>>) -> Result<u64, StoreError> {
        self.write().await?.execute(text, binds).await
    }
}

enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

/// The end of a connection's last statement, if it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// A retry is likely to succeed at once.
    Passing,
    Lasting,
}

/// A connection for the statements of one operation: each alone, or all in a transaction. Dropped in a
/// transaction or after an error, it is closed, which rolls back.
pub(super) struct Call<'a> {
    db: &'a Database,
    access: Access,
    connection: Connection,
    deadline: Instant,
    /// Whether it is in a transaction.
    is_open: bool,
    failure: Option<Failure>,
    /// The caller tries again after such an error, so it is no outage yet.
    pub(super) is_retried: bool,
}

impl Call<'_> {
    pub(super) fn dialect(&self) -> &'static Dialect {
        self.db.dialect()
    }

    pub(super) fn can_retry(&self) -> bool {
        self.failure == Some(Failure::Passing)
    }

    pub(super) async fn list<T>(
        &mut self,
        text: &str,
        binds: Vec<Bind<'_>>,
        read: fn(&Row) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = self.sql(text);
        let rows = async {
            match &mut self.connection {
                Connection::Sqlite(connection) => {
                    let rows = sqlite::rows(connection, sql, binds).await?;
                    rows.into_iter().map(|row| read(&Row::Sqlite(row))).collect()
                }
                Connection::Postgres(connection) => {
                    let rows = postgres::rows(connection, self.is_open, sql, binds).await?;
                    rows.into_iter().map(|row| read(&Row::Postgres(row))).collect()
                }
            }
        };
        let done = timeout_at(self.deadline, rows.boxed()).await;
        self.settle(text, done)
    }

    /// Returns the number of rows written.
    pub(super) async fn execute(&mut self, text: &str, binds: Vec<Bind<'_>>) -> Result<u64, StoreError> {
        let sql = self.sql(text);
        let written = async {
            match &mut self.connection {
                Connection::Sqlite(connection) => sqlite::execute(connection, sql, binds).await,
                Connection::Postgres(connection) => {
                    postgres::execute(connection, self.is_open, sql, binds).await
                }
            }
        };
        let done = timeout_at(self.deadline, written.boxed()).await;
        let rows = self.settle(text, done)?;
        tracing::trace!(target: STATEMENTS, rows);
        Ok(rows)
    }

    /// Inserts rows into these columns of a table. `tail` says what a conflict does. Returns the number of rows
    /// written.
    pub(super) async fn insert(
        &mut self,
        columns: &str,
        rows: Vec<Vec<Bind<'_>>>,
        tail: &str,
    ) -> Result<u64, StoreError> {
        if rows.is_empty() {
            return Ok(0);
        }
        if matches!(self.connection, Connection::Postgres(_)) {
            let (source, binds) = postgres::unnest(rows);
            return self
                .execute(&format!("INSERT INTO {columns} {source} {tail}"), binds)
                .await;
        }
        let mut written = 0;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let part: Vec<_> = rows.by_ref().take(sqlite::ROWS).collect();
            let text = format!("INSERT INTO {columns} {} {tail}", sqlite::values(&part));
            written += self.execute(&text, part.into_iter().flatten().collect()).await?;
        }
        Ok(written)
    }

    /// Runs a lock of the [`Dialect`], if the database needs it.
    pub(super) async fn lock(&mut self, text: &'static str, binds: Vec<Bind<'_>>) -> Result<(), StoreError> {
        if !text.is_empty() {
            self.execute(text, binds).await?;
        }
        Ok(())
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        self.is_open = true;
        let begin = match &self.connection {
            Connection::Sqlite(_) => sqlite::BEGIN,
            Connection::Postgres(connection) => postgres::begin(connection),
        };
        self.script(SqlStr::from_static(begin)).await
    }

    pub(super) async fn begin_migration(&mut self) -> Result<(), StoreError> {
        self.is_open = true;
        let begin = self.dialect().begin_migration;
        self.script(SqlStr::from_static(begin)).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.end("COMMIT").await
    }

    pub(super) async fn rollback(&mut self) -> Result<(), StoreError> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, text: &'static str) -> Result<(), StoreError> {
        let ended = self.run(SqlStr::from_static(text)).await;
        self.is_open = false;
        self.settle(text, ended)
    }

    /// Runs statements without parameters.
    pub(super) async fn script(&mut self, sql: SqlStr) -> Result<(), StoreError> {
        let text = sql.clone();
        let done = self.run(sql).await;
        self.settle(text.as_str(), done)
    }

    async fn run(&mut self, sql: SqlStr) -> Result<sqlx::Result<()>, Elapsed> {
        use sqlx::Executor;
        let done = async {
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.execute(sql).await.map(drop),
                Connection::Postgres(connection) => connection.execute(sql).await.map(drop),
            }
        };
        timeout_at(self.deadline, done.boxed()).await
    }

    fn sql(&self, text: &str) -> SqlStr {
        let text = match self.connection {
            Connection::Sqlite(_) => sqlite::translated(text),
            Connection::Postgres(_) => text.to_owned(),
        };
        tracing::trace!(target: STATEMENTS, statement = text);
        AssertSqlSafe(text).into_sql_str()
    }

    /// Notes what a statement's end says about the store. All errors of statements pass here.
    fn settle<T>(&mut self, text: &str, done: Result<sqlx::Result<T>, Elapsed>) -> Result<T, StoreError> {
        let done = done.unwrap_or_else(|_| Err(timed_out()));
        let is_passing = done.as_ref().is_err_and(is_passing);
        let done = done.map_err(StoreError::from).and_then(|done| {
            self.db.check_file()?;
            Ok(done)
        });
        let Err(error) = &done else {
            // A statement of a transaction proves nothing before the commit.
            return if self.is_open {
                done
            } else {
                self.db.note(self.access, done)
            };
        };
        self.failure = Some(if is_passing {
            Failure::Passing
        } else {
            Failure::Lasting
        });
        tracing::debug!(%error, statement = text, "a statement of the store failed");
        if is_passing && self.is_retried {
            return done;
        }
        self.db.note(self.access, done)
    }
}

impl Database {
    /// Checks that the store's file is still the opened one. Also after each statement: what went into a
    /// deleted file is lost.
    fn check_file(&self) -> Result<(), StoreError> {
        match &self.pools {
            Pools::Sqlite(pools) => pools.check_file(),
            Pools::Postgres(_) => Ok(()),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.is_open || self.failure.is_some() {
            match &mut self.connection {
                Connection::Sqlite(connection) => connection.close_on_drop(),
                Connection::Postgres(connection) => connection.close_on_drop(),
            }
        }
    }
}

/// The value of a parameter.
#[derive(Debug, Clone)]
pub(super) enum Bind<'a> {
    Text(Option<&'a str>),
    Texts(Vec<&'a str>),
    Int(Option<i64>),
    Flag(bool),
    /// Stored in milliseconds.
    Instant(DateTime<Utc>),
    Bytes(Option<&'a [u8]>),
    /// PostgreSQL only: the values of one column of an `INSERT`.
    Column(Vec<Bind<'a>>),
}

macro_rules! bind_from {
    ($($from:ty, $value:ident => $bind:expr;)*) => {
        $(impl<'a> From<$from> for Bind<'a> {
            fn from($value: $from) -> Self {
                $bind
            }
        })*
    };
}

bind_from! {
    &'a str, text => Self::Text(Some(text));
    &'a String, text => Self::Text(Some(text));
    Option<&'a str>, text => Self::Text(text);
    &'a Option<String>, text => Self::Text(text.as_deref());
    &'a [&'a str], texts => Self::Texts(texts.to_vec());
    &'a [String], texts => Self::Texts(texts.iter().map(String::as_str).collect());
    Vec<&'a str>, texts => Self::Texts(texts);
    i64, int => Self::Int(Some(int));
    u32, int => Self::Int(Some(int.into()));
    u64, int => Self::Int(Some(i64::try_from(int).unwrap_or(i64::MAX)));
    Option<i64>, int => Self::Int(int);
    bool, flag => Self::Flag(flag);
    DateTime<Utc>, instant => Self::Instant(instant);
    Option<&'a [u8]>, bytes => Self::Bytes(bytes);
}

/// The parameters of a statement, in order.
macro_rules! binds {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::store::database::Bind::from($value)),*]
    };
}
pub(super) use binds;

/// A row of either database. Its columns are read by name.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    pub(super) fn get<'r, T>(&'r self, column: &str) -> sqlx::Result<T>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    pub(super) fn instant(&self, column: &str) -> sqlx::Result<DateTime<Utc>> {
        self.maybe_instant(column)?
            .ok_or_else(|| sqlx::Error::Decode(format!("`{column}` is null").into()))
    }

    pub(super) fn maybe_instant(&self, column: &str) -> sqlx::Result<Option<DateTime<Utc>>> {
        match self {
            Self::Sqlite(row) => sqlite::instant(row, column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A count, which is never negative.
    pub(super) fn count(&self, column: &str) -> sqlx::Result<u64> {
        Ok(u64::try_from(self.get::<i64>(column)?).unwrap_or_default())
    }

    /// A text that is empty where there is none.
    pub(super) fn filled(&self, column: &str) -> sqlx::Result<Option<String>> {
        Ok(Some(self.get(column)?).filter(|text: &String| !text.is_empty()))
    }

    /// A text of one of our types.
    pub(super) fn parsed<T>(&self, column: &str) -> sqlx::Result<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.get::<&str>(column)?
            .parse()
            .map_err(|error| sqlx::Error::Decode(format!("`{column}`: {error}").into()))
    }

    pub(super) fn maybe_parsed<T>(&self, column: &str) -> sqlx::Result<Option<T>>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        match self.get::<Option<&str>>(column)? {
            Some(_) => self.parsed(column).map(Some),
            None => Ok(None),
        }
    }
}
