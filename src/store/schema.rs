//! Whether the tables are those of this version, and whether they can be written to.

use sqlx::migrate::Migrator;
use sqlx::{Connection, SqlStr};

use super::dialect::{Dialect, Fields};

/// How far the store's tables have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The newest version that has been applied; `None`: there are no tables yet.
    pub applied: Option<i64>,
    /// The newest that this program knows.
    pub newest: i64,
    /// Versions that this program knows and that are not applied.
    pub missing: usize,
    /// A version that broke off half-way.
    pub broken: Option<i64>,
}

impl Schema {
    /// A newer program has been at work on the tables.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.applied.is_some_and(|applied| applied > self.newest)
    }
}

/// Reads it, and changes nothing.
pub(super) async fn read<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<Schema> {
    let there = D::rows(connection, SqlStr::from_static(D::COUNT_MIGRATION_TABLES), vec![]).await?;
    let is_there = there.first().map(|row| row.int("n")).transpose()? > Some(0);
    let mut applied = Vec::new();
    let mut broken = None;
    if is_there {
        let select = "SELECT version, success FROM _sqlx_migrations ORDER BY version";
        for row in D::rows(connection, SqlStr::from_static(select), vec![]).await? {
            let version = row.int("version")?;
            if row.flag("success")? {
                applied.push(version);
            } else {
                broken = Some(version);
            }
        }
    }
    let known = versions(D::migrations());
    Ok(Schema {
        applied: applied.last().copied(),
        newest: known.iter().copied().max().unwrap_or_default(),
        missing: known.iter().filter(|version| !applied.contains(version)).count(),
        broken,
    })
}

fn versions(migrations: &Migrator) -> Vec<i64> {
    migrations.iter().map(|migration| migration.version).collect()
}

/// Answers when the tables of a purchase are there and may be read.
pub(super) async fn look<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<()> {
    let nothing = "SELECT 1 FROM tenants, passes, users, subscriptions WHERE 1 = 0";
    D::rows(connection, SqlStr::from_static(nothing), vec![]).await?;
    Ok(())
}

/// Writes more than a connection holds in memory, and takes it back: a file, a disk or a server that is read-only or full
/// refuses it, and so does a store without the tables of a purchase, or without the right to write them.
pub(super) async fn try_write<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with(D::BEGIN).await?;
    for nothing in [
        "UPDATE tenants SET name = name WHERE id = ''",
        "UPDATE users SET name = name WHERE id = ''",
        "UPDATE subscriptions SET is_active = is_active WHERE id = ''",
        D::LARGE_INSERT,
    ] {
        D::execute(&mut transaction, SqlStr::from_static(nothing), vec![]).await?;
    }
    transaction.rollback().await
}
