//! The schema: its version, migrations, and whether the store can be written.

use std::collections::HashMap;

use sqlx::SqlStr;

use super::StoreError;
use super::database::{Call, binds};

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
pub(super) async fn read(call: &mut Call<'_>) -> Result<Schema, StoreError> {
    let tables = call.dialect().count_migration_tables;
    let is_there = call.list(tables, binds![], |row| row.count("n")).await? != [0];
    let mut applied = Vec::new();
    let mut broken = None;
    if is_there {
        let select = "SELECT version, success FROM _sqlx_migrations ORDER BY version";
        let read = call.list(select, binds![], |row| {
            Ok((row.get("version")?, row.get("success")?))
        });
        for (version, is_complete) in read.await? {
            if is_complete {
                applied.push(version);
            } else {
                broken = Some(version);
            }
        }
    }
    let mut oldest = 0;
    if applied.contains(&COMPAT) {
        let select = "SELECT oldest FROM schema_compat";
        let read = call.list(select, binds![], |row| row.get("oldest"));
        oldest = read.await?.first().copied().unwrap_or_default();
    }
    let known = || {
        call.dialect()
            .migrations
            .iter()
            .map(|migration| migration.version)
    };
    Ok(Schema {
        applied: applied.last().copied(),
        newest: known().max().unwrap_or_default(),
        missing: known().filter(|version| !applied.contains(version)).count(),
        broken,
        oldest,
    })
}

/// Migrates in one transaction. Several processes may do so at once. Not sqlx's migrator: its lock and
/// prepared statements outlive a transaction, which poolers do not support.
pub(super) async fn migrate(call: &mut Call<'_>) -> Result<(), StoreError> {
    let dialect = call.dialect();
    call.begin_migration().await?;
    for script in [dialect.lock_migrations, dialect.migration_table] {
        call.script(SqlStr::from_static(script)).await?;
    }
    let schema = read(call).await?;
    if schema.broken.is_some() || schema.oldest > schema.newest {
        return schema.check();
    }
    let select = "SELECT version, checksum FROM _sqlx_migrations";
    let read = call.list(select, binds![], |row| {
        Ok((row.get("version")?, row.get("checksum")?))
    });
    let applied: HashMap<i64, Vec<u8>> = read.await?.into_iter().collect();
    for migration in dialect.migrations.iter() {
        let version = migration.version;
        match applied.get(&version) {
            Some(checksum) if *checksum == *migration.checksum => continue,
            Some(_) => {
                return Err(StoreError::Permanent(format!(
                    "version {version} of its tables was made by another build of Surepass than this: use that one, or \
                     restore the store from before"
                )));
            }
            None => {}
        }
        call.script(migration.sql.clone()).await?;
        let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ($1, $2, $3, $4, -1)";
        let checksum = Some(migration.checksum.as_ref());
        call.execute(note, binds![version, &*migration.description, true, checksum])
            .await?;
    }
    call.commit().await
}

/// Writes more than a connection buffers, and rolls back. Fails if the disk is full or read-only, or if a
/// table or the permission to write is missing.
pub(super) async fn try_write(call: &mut Call<'_>) -> Result<(), StoreError> {
    call.begin().await?;
    for nothing in [
        "UPDATE tenants SET name = name WHERE id = ''",
        "UPDATE users SET name = name WHERE id = ''",
        "UPDATE subscriptions SET is_active = is_active WHERE id = ''",
        call.dialect().large_insert,
    ] {
        call.execute(nothing, binds![]).await?;
    }
    call.rollback().await
}
