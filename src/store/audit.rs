//! The audit log: actions of operators.

use chrono::{DateTime, Utc};
use sqlx::SqlStr;

use super::dialect::{Bind, Dialect, Fields};
use super::model::AuditRecord;

pub(super) async fn begin<D: Dialect>(
    connection: &mut D::Connection,
    record: &AuditRecord,
) -> sqlx::Result<u64> {
    let text = "INSERT INTO audit (id, actor, action, target, reason, began_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (id) DO NOTHING";
    let binds = vec![
        Bind::Text(&record.id),
        Bind::Text(&record.actor),
        Bind::Text(&record.action),
        Bind::Text(&record.target),
        Bind::MaybeText(record.reason.as_deref()),
        Bind::Instant(record.began_at),
    ];
    D::execute(connection, SqlStr::from_static(text), binds).await
}

pub(super) async fn end<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    ended_at: DateTime<Utc>,
    outcome: &str,
) -> sqlx::Result<u64> {
    let text = "UPDATE audit SET ended_at = $1, outcome = $2 WHERE id = $3 AND outcome IS NULL";
    let binds = vec![Bind::Instant(ended_at), Bind::Text(outcome), Bind::Text(id)];
    D::execute(connection, SqlStr::from_static(text), binds).await
}

/// Newest first.
pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    limit: u32,
) -> sqlx::Result<Vec<AuditRecord>> {
    // An unfinished action reads its start in place of the end, since an instant cannot be null.
    let text = SqlStr::from_static(
        "SELECT id, actor, action, target, reason, began_at, COALESCE(ended_at, began_at) AS ended, outcome \
         FROM audit ORDER BY began_at DESC, id DESC LIMIT $1",
    );
    let rows = D::rows(connection, text, vec![Bind::Int(limit.into())]).await?;
    rows.iter()
        .map(|row| {
            let outcome = row.maybe_text("outcome")?;
            let ended = row.instant("ended")?;
            Ok(AuditRecord {
                id: row.text("id")?,
                actor: row.text("actor")?,
                action: row.text("action")?,
                target: row.text("target")?,
                reason: row.maybe_text("reason")?,
                began_at: row.instant("began_at")?,
                ended_at: outcome.is_some().then_some(ended),
                outcome,
            })
        })
        .collect()
}
