//! The audit log: actions of operators.

use chrono::{DateTime, Utc};

use super::database::{Database, Row, binds};
use super::{AuditRecord, StoreError};

/// The audit log: [`Store::audit`](super::Store::audit).
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a>(pub(super) &'a Database);

impl Audit<'_> {
    /// Records that an operator starts an action.
    ///
    /// # Errors
    /// [`StoreError`]: then the action must not start.
    pub async fn begin(self, record: &AuditRecord) -> Result<(), StoreError> {
        let text = "INSERT INTO audit (id, actor, action, target, reason, began_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";
        let binds = binds![
            &record.id,
            &record.actor,
            &record.action,
            &record.target,
            &record.reason,
            record.began_at,
        ];
        self.0.execute(text, binds).await.map(drop)
    }

    /// Records the action's outcome. A second call changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end(self, id: &str, ended_at: DateTime<Utc>, outcome: &str) -> Result<(), StoreError> {
        let text = "UPDATE audit SET ended_at = $1, outcome = $2 WHERE id = $3 AND outcome IS NULL";
        self.0
            .execute(text, binds![ended_at, outcome, id])
            .await
            .map(drop)
    }

    /// Deletes the records of actions that began before `before`; at most `limit` in one call. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let text = "DELETE FROM audit WHERE id IN (SELECT id FROM audit \
             WHERE began_at < $1 ORDER BY began_at LIMIT $2)";
        self.0.execute(text, binds![before, limit]).await
    }

    /// The actions of operators, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        let text = "SELECT * FROM audit ORDER BY began_at DESC, id DESC LIMIT $1";
        self.0.list(text, binds![limit], record).await
    }
}

fn record(row: &Row) -> sqlx::Result<AuditRecord> {
    Ok(AuditRecord {
        id: row.get("id")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        target: row.get("target")?,
        reason: row.get("reason")?,
        began_at: row.instant("began_at")?,
        ended_at: row.maybe_instant("ended_at")?,
        outcome: row.get("outcome")?,
    })
}
