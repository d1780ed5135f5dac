//! The event log in the store.

use chrono::{DateTime, Utc};

use super::database::{Database, Row, binds};
use super::{LoggedEvent, StoreError};

/// The event log: [`Store::events`](super::Store::events).
#[derive(Debug, Clone, Copy)]
pub struct Events<'a>(pub(super) &'a Database);

impl Events<'_> {
    /// Appends events. Existing ones are not changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn append(self, events: &[LoggedEvent]) -> Result<(), StoreError> {
        let rows = events.iter().map(|event| {
            binds![
                &event.id,
                &event.kind,
                &event.account,
                event.livemode,
                &event.tenant_slug,
                &event.object_id,
                &event.outcome,
                event.created_at,
                event.received_at,
                event.body.as_deref(),
            ]
        });
        let columns = "events (id, type, account, livemode, tenant_slug, object_id, outcome, created_at, \
             received_at, body)";
        let mut call = self.0.transaction().await?;
        call.insert(columns, rows.collect(), "ON CONFLICT (id) DO NOTHING")
            .await?;
        call.commit().await
    }

    /// Deletes the bodies of events received before `before`; at most `limit` in one call. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_bodies(self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let text = "UPDATE events SET body = NULL WHERE id IN (SELECT id FROM events \
             WHERE received_at < $1 AND body IS NOT NULL ORDER BY received_at LIMIT $2)";
        self.0.execute(text, binds![before, limit]).await
    }

    /// Deletes events received before `before`; at most `limit` in one call. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete(self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let text = "DELETE FROM events WHERE id IN (SELECT id FROM events \
             WHERE received_at < $1 ORDER BY received_at LIMIT $2)";
        self.0.execute(text, binds![before, limit]).await
    }

    /// The newest events, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(self, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        let text = "SELECT * FROM events ORDER BY received_at DESC, id DESC LIMIT $1";
        self.0.list(text, binds![limit], event).await
    }

    /// An event, if it has reached the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn one(self, id: &str) -> Result<Option<LoggedEvent>, StoreError> {
        self.0
            .first("SELECT * FROM events WHERE id = $1", binds![id], event)
            .await
    }

    /// The slugs of the tenants' paths by which this session's events arrived; at most two.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn paths_of(self, session: &str) -> Result<Vec<String>, StoreError> {
        let text = "SELECT DISTINCT tenant_slug FROM events WHERE object_id = $1 \
             AND tenant_slug IS NOT NULL LIMIT 2";
        self.0
            .list(text, binds![session], |row| row.get("tenant_slug"))
            .await
    }
}

fn event(row: &Row) -> sqlx::Result<LoggedEvent> {
    Ok(LoggedEvent {
        id: row.get("id")?,
        kind: row.get("type")?,
        account: row.get("account")?,
        livemode: row.get("livemode")?,
        tenant_slug: row.get("tenant_slug")?,
        object_id: row.get("object_id")?,
        outcome: row.get("outcome")?,
        created_at: row.instant("created_at")?,
        received_at: row.instant("received_at")?,
        body: row.get("body")?,
    })
}
