//! The differences between SQLite and PostgreSQL. All other SQL is written once, over [`Dialect`].

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Database, SqlSafeStr, SqlStr};

/// The tracing target of statements: their text without parameters, then the number of changed rows.
pub(super) const STATEMENTS: &str = "surepass::sql";

/// A database of the SQL stores.
pub(super) trait Dialect: Database<Row: Fields> {
    /// Begins a transaction that writes. See [`Self::begin`].
    const BEGIN: &'static str;
    /// Begins the transaction of a migration.
    const BEGIN_MIGRATION: &'static str;
    /// Lets only one migration run, until the transaction ends.
    const LOCK_MIGRATIONS: &'static str;
    /// Creates the table of applied migrations, if missing.
    const MIGRATION_TABLE: &'static str;
    /// Inserts a row that needs disk space, to be rolled back.
    const LARGE_INSERT: &'static str;
    /// Ends a `SELECT` of rows that the transaction will change.
    const LOCKING: &'static str;
    /// Excludes other imports until the transaction ends.
    const LOCK_CATALOGUE: Option<&'static str>;
    /// Locks these emails (bound as [`Bind::Texts`]) against verification until the transaction ends. `None`:
    /// there is only one writer.
    const SHARE_EMAILS: Option<&'static str>;
    /// Locks this email until the transaction ends. Waits for transactions that share it.
    const LOCK_EMAIL: Option<&'static str>;
    /// Whether one call can contain several statements and all their parameters.
    const JOINS_STATEMENTS: bool;
    /// The most rows of one `INSERT`, as a power of two: at most 8.
    const LARGEST_INSERT: u32;

    /// Counts the migrations' tables, as `n`.
    const COUNT_MIGRATION_TABLES: &'static str;

    /// The migrations.
    fn migrations() -> &'static Migrator;

    /// The condition that a column is in the list bound as [`Bind::Texts`] to parameter `position`.
    fn one_of(position: usize) -> String;

    /// Parameter `position`, counted from 1, in a statement with many parameters.
    fn placeholder(position: usize) -> String;

    fn rows(
        connection: &mut Self::Connection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// Returns the number of rows written.
    fn execute(
        connection: &mut Self::Connection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Runs statements without parameters.
    fn script(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Begins a transaction that writes.
    fn begin(_: &Self::Connection) -> &'static str {
        Self::BEGIN
    }

    /// Whether the server, or a pooler before it, rejected the session's options and may accept a connection
    /// without.
    fn refuses_options(_: &sqlx::Error) -> bool {
        false
    }
}

/// The value of a parameter.
#[derive(Debug, Clone)]
pub(super) enum Bind<'a> {
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Texts(Vec<&'a str>),
    Int(i64),
    MaybeInt(Option<i64>),
    Flag(bool),
    /// Stored in milliseconds.
    Instant(DateTime<Utc>),
    MaybeBytes(Option<&'a [u8]>),
}

/// A row's columns, by name.
pub(super) trait Fields {
    fn text(&self, column: &str) -> sqlx::Result<String>;
    fn maybe_text(&self, column: &str) -> sqlx::Result<Option<String>>;
    fn int(&self, column: &str) -> sqlx::Result<i64>;
    fn maybe_int(&self, column: &str) -> sqlx::Result<Option<i64>>;
    fn flag(&self, column: &str) -> sqlx::Result<bool>;
    fn instant(&self, column: &str) -> sqlx::Result<DateTime<Utc>>;
    fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>>;
}

/// Implements [`Fields`] for a row type.
macro_rules! fields {
    ($row:ty, $instant:expr) => {
        impl $crate::store::dialect::Fields for $row {
            fn text(&self, column: &str) -> sqlx::Result<String> {
                self.try_get(column)
            }
            fn maybe_text(&self, column: &str) -> sqlx::Result<Option<String>> {
                self.try_get(column)
            }
            fn int(&self, column: &str) -> sqlx::Result<i64> {
                self.try_get(column)
            }
            fn maybe_int(&self, column: &str) -> sqlx::Result<Option<i64>> {
                self.try_get(column)
            }
            fn flag(&self, column: &str) -> sqlx::Result<bool> {
                self.try_get(column)
            }
            fn instant(&self, column: &str) -> sqlx::Result<DateTime<Utc>> {
                $instant(self, column)
            }
            fn maybe_bytes(&self, column: &str) -> sqlx::Result<Option<Vec<u8>>> {
                self.try_get(column)
            }
        }
    };
}
pub(super) use fields;

/// An `INSERT` of many rows in one statement.
///
/// The number of rows is part of a statement's text, and preparing a text costs more than running it. So rows
/// are inserted in powers of two: at most nine texts, each prepared once for a connection.
#[derive(Debug)]
pub(super) struct Insert {
    /// The text before the rows, up to `VALUES`.
    head: &'static str,
    /// The text after the rows, such as `ON CONFLICT …`.
    tail: &'static str,
    texts: [OnceLock<SqlStr>; SIZES],
}

/// Powers of two up to 256.
pub(super) const SIZES: usize = 9;

impl Insert {
    pub(super) const fn new(head: &'static str, tail: &'static str) -> Self {
        Self {
            head,
            tail,
            texts: [const { OnceLock::new() }; SIZES],
        }
    }

    pub(super) async fn run<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        rows: impl ExactSizeIterator<Item = Vec<Bind<'_>>> + Send,
    ) -> sqlx::Result<()> {
        let mut rows = rows;
        while rows.len() > 0 {
            let power = power::<D>(rows.len());
            let binds: Vec<_> = rows.by_ref().take(1 << power).flatten().collect();
            let text = self.texts[power].get_or_init(|| {
                AssertSqlSafe(self.text::<D>(1 << power, binds.len() >> power)).into_sql_str()
            });
            D::execute(connection, text.clone(), binds).await?;
        }
        Ok(())
    }

    /// The statement for `rows` rows of `width` columns.
    pub(super) fn text<D: Dialect>(&self, rows: usize, width: usize) -> String {
        let mut text = self.head.to_owned();
        for row in 0..rows {
            text.push_str(if row == 0 { "(" } else { ", (" });
            for column in 0..width {
                if column > 0 {
                    text.push_str(", ");
                }
                text.push_str(&D::placeholder(row * width + column + 1));
            }
            text.push(')');
        }
        text.push_str(self.tail);
        text
    }
}

/// Which power of two of the remaining rows the next statement takes.
pub(super) fn power<D: Dialect>(rows: usize) -> usize {
    rows.ilog2().min(D::LARGEST_INSERT) as usize
}
