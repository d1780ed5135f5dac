//! The schema: its version, migrations, and whether the store can be written.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};

use super::StoreError;
use super::dialect::{Bind, Dialect, Fields};

/// The migration that added `schema_compat`.
const COMPAT: i64 = 9;

/// The schema version of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The newest applied migration. `None`: no tables yet.
    pub applied: Option<i64>,
    /// The newest migration of this program.
    pub newest: i64,
    /// Migrations of this program that are not applied.
    pub missing: usize,
    /// A migration that failed half-way.
    pub broken: Option<i64>,
    /// Programs with an older newest migration must not use the tables. Most migrations only add something
    /// and do not change this.
    pub oldest: i64,
}

impl Schema {
    /// Whether a newer program has migrated the tables.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.applied.is_some_and(|applied| applied > self.newest)
    }

    /// Whether this program can use the tables.
    ///
    /// # Errors
    /// [`StoreError::Permanent`] if it cannot, with what to do.
    pub fn check(&self) -> Result<(), StoreError> {
        let newest = self.newest;
        let problem = match self.applied {
            _ if let Some(broken) = self.broken => {
                format!("migration {broken} failed half-way: run `surepass migrate` and see its error")
            }
            None => "it has no tables yet; if it is the right database, run `surepass migrate`".to_owned(),
            Some(applied) if self.missing > 0 => format!(
                "its tables are of version {applied}, and this program needs {newest} ({} more): run \
                 `surepass migrate` (or set `database.migrate_on_start` for one service)",
                self.missing
            ),
            Some(_) if self.oldest > newest => format!(
                "its tables need migration {}, but this program knows only up to {newest}: update Surepass on this machine",
                self.oldest
            ),
            Some(_) => return Ok(()),
        };
        Err(StoreError::Permanent(problem))
    }
}

/// Reads the schema version. Changes nothing.
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
    let mut oldest = 0;
    if applied.contains(&COMPAT) {
        let select = SqlStr::from_static("SELECT oldest FROM schema_compat");
        let rows = D::rows(connection, select, vec![]).await?;
        oldest = rows.first().map_or(Ok(0), |row| row.int("oldest"))?;
    }
    let known: Vec<i64> = D::migrations()
        .iter()
        .map(|migration| migration.version)
        .collect();
    Ok(Schema {
        applied: applied.last().copied(),
        newest: known.iter().copied().max().unwrap_or_default(),
        missing: known.iter().filter(|version| !applied.contains(version)).count(),
        broken,
        oldest,
    })
}

/// Migrates in one transaction. Several processes may do so at once. Not sqlx's migrator: its lock and
/// prepared statements outlive a transaction, which poolers do not support.
pub(super) async fn migrate<D: Dialect>(connection: &mut D::Connection) -> Result<(), StoreError> {
    let mut transaction = connection.begin_with(D::BEGIN_MIGRATION).await?;
    for script in [D::LOCK_MIGRATIONS, D::MIGRATION_TABLE] {
        D::script(&mut transaction, SqlStr::from_static(script)).await?;
    }
    let schema = read::<D>(&mut transaction).await?;
    if schema.broken.is_some() || schema.oldest > schema.newest {
        return schema.check();
    }
    let mut applied = HashMap::new();
    let select = SqlStr::from_static("SELECT version, checksum FROM _sqlx_migrations");
    for row in D::rows(&mut transaction, select, vec![]).await? {
        applied.insert(row.int("version")?, row.maybe_bytes("checksum")?);
    }
    for migration in D::migrations().iter() {
        let version = migration.version;
        match applied.get(&version) {
            Some(Some(checksum)) if *checksum == *migration.checksum => continue,
            Some(_) => {
                return Err(StoreError::Permanent(format!(
                    "version {version} of its tables was made by another build of Surepass than this: use that one, or \
                     restore the store from before"
                )));
            }
            None => {}
        }
        D::script(&mut transaction, migration.sql.clone()).await?;
        let note = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ({0}, {1}, {2}, {3}, -1)",
            D::placeholder(1),
            D::placeholder(2),
            D::placeholder(3),
            D::placeholder(4)
        );
        let binds = vec![
            Bind::Int(version),
            Bind::Text(&migration.description),
            Bind::Flag(true),
            Bind::MaybeBytes(Some(&migration.checksum)),
        ];
        D::execute(&mut transaction, AssertSqlSafe(note).into_sql_str(), binds).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Checks that the tables of a purchase exist and can be read.
pub(super) async fn look<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<()> {
    let nothing = "SELECT 1 FROM tenants, passes, users, subscriptions WHERE 1 = 0";
    D::rows(connection, SqlStr::from_static(nothing), vec![]).await?;
    Ok(())
}

/// Writes more than a connection buffers, and rolls back. Fails if the disk is full or read-only, or if a
/// table or the permission to write is missing.
pub(super) async fn try_write<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<()> {
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
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
