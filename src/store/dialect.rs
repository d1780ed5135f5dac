//! What SQLite and PostgreSQL do not share. Everything else in the SQL stores is written once, over [`Dialect`].

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Database, SqlSafeStr, SqlStr};

/// The target under which statements are traced: texts without their parameters; then the `rows` that one has changed.
pub(super) const STATEMENTS: &str = "surepass::sql";

/// A database that the SQL stores speak to.
pub(super) trait Dialect: Database<Row: Fields> {
    /// Opens a transaction that writes, by [`Self::begin`].
    const BEGIN: &'static str;
    /// Opens the transaction that brings the tables up to date.
    const BEGIN_MIGRATION: &'static str;
    /// Lets one at a time do so, until the transaction ends.
    const LOCK_MIGRATIONS: &'static str;
    /// Makes the table of the versions that were applied, where there is none.
    const MIGRATION_TABLE: &'static str;
    /// Inserts a row that takes new space on the disk before it is committed; it is always taken back.
    const LARGE_INSERT: &'static str;
    /// Ends a `SELECT` of rows that the transaction is going to change.
    const LOCKING: &'static str;
    /// Keeps other importers out until the transaction ends.
    const LOCK_CATALOGUE: Option<&'static str>;
    /// Keeps these emails (bound as [`Bind::Texts`]) from being proved until the transaction ends. `None`: nobody else writes
    /// meanwhile.
    const SHARE_EMAILS: Option<&'static str>;
    /// Waits for the transactions that share this email, and keeps others out until the transaction ends.
    const LOCK_EMAIL: Option<&'static str>;
    /// The database takes several statements in one call, and the parameters of all of them.
    const JOINS_STATEMENTS: bool;
    /// The most rows that one `INSERT` takes, as a power of two: 8 at most.
    const LARGEST_INSERT: u32;

    /// How many tables of migrations there are, as `n`.
    const COUNT_MIGRATION_TABLES: &'static str;

    /// The tables' versions.
    fn migrations() -> &'static Migrator;

    /// The condition that a column is one of the list that is bound as [`Bind::Texts`] to parameter `position`.
    fn one_of(position: usize) -> String;

    /// The name of parameter `position`, counted from 1, in a statement that binds many.
    fn placeholder(position: usize) -> String;

    fn rows(
        connection: &mut Self::Connection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> impl Future<Output = sqlx::Result<Vec<Self::Row>>> + Send;

    /// Returns how many rows were written.
    fn execute(
        connection: &mut Self::Connection,
        sql: SqlStr,
        binds: Vec<Bind<'_>>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// Runs statements that take no parameters.
    fn script(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Opens a transaction that writes, on this connection.
    fn begin(_: &Self::Connection) -> &'static str {
        Self::BEGIN
    }

    /// The server (or a pooler before it) refused to connect for the session's options, and may take it without.
    fn refuses_options(_: &sqlx::Error) -> bool {
        false
    }
}

/// A value for a statement's parameter.
#[derive(Debug, Clone)]
pub(super) enum Bind<'a> {
    Text(&'a str),
    MaybeText(Option<&'a str>),
    Texts(Vec<&'a str>),
    Int(i64),
    MaybeInt(Option<i64>),
    Flag(bool),
    /// Kept to the millisecond.
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

/// Implements [`Fields`] for a row, given how it reads an instant.
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
/// A statement's text fixes how many rows it takes, and preparing one costs more than running it. So rows go in by
/// powers of two: nine texts at most serve every batch, each prepared once for a connection.
#[derive(Debug)]
pub(super) struct Insert {
    /// Up to `VALUES`.
    head: &'static str,
    /// What comes after the rows, such as `ON CONFLICT …`, or nothing.
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

/// Of so many rows, 2 to the power of how many go into the next statement.
pub(super) fn power<D: Dialect>(rows: usize) -> usize {
    rows.ilog2().min(D::LARGEST_INSERT) as usize
}
