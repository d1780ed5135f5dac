//! The event log in the store.

use chrono::{DateTime, Utc};
use sqlx::SqlStr;

use super::dialect::{Bind, Dialect, Fields, Insert};
use super::model::LoggedEvent;

/// The statement that appends events.
pub(super) const fn insert() -> Insert {
    Insert::new(
        "INSERT INTO events (id, type, account, livemode, tenant_slug, object_id, outcome, created_at, \
         received_at, body) VALUES ",
        " ON CONFLICT (id) DO NOTHING",
    )
}

/// In the order of the columns in [`insert`].
pub(super) fn binds(event: &LoggedEvent) -> Vec<Bind<'_>> {
    vec![
        Bind::Text(&event.id),
        Bind::Text(&event.kind),
        Bind::MaybeText(event.account.as_deref()),
        Bind::Flag(event.livemode),
        Bind::MaybeText(event.tenant_slug.as_deref()),
        Bind::MaybeText(event.object_id.as_deref()),
        Bind::Text(&event.outcome),
        Bind::Instant(event.created_at),
        Bind::Instant(event.received_at),
        Bind::MaybeBytes(event.body.as_deref()),
    ]
}

pub(super) async fn drop_bodies<D: Dialect>(
    connection: &mut D::Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<u64> {
    let text = "UPDATE events SET body = NULL WHERE id IN (SELECT id FROM events \
         WHERE received_at < $1 AND body IS NOT NULL ORDER BY received_at LIMIT $2)";
    let binds = vec![Bind::Instant(before), Bind::Int(limit.into())];
    D::execute(connection, SqlStr::from_static(text), binds).await
}

/// Newest first.
pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    limit: u32,
) -> sqlx::Result<Vec<LoggedEvent>> {
    let text = SqlStr::from_static("SELECT * FROM events ORDER BY received_at DESC, id DESC LIMIT $1");
    let rows = D::rows(connection, text, vec![Bind::Int(limit.into())]).await?;
    rows.iter().map(event).collect()
}

pub(super) async fn find<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
) -> sqlx::Result<Option<LoggedEvent>> {
    let text = SqlStr::from_static("SELECT * FROM events WHERE id = $1");
    let rows = D::rows(connection, text, vec![Bind::Text(id)]).await?;
    rows.first().map(event).transpose()
}

/// The tenants' paths by which an object's events arrived; at most two.
pub(super) async fn paths_of<D: Dialect>(
    connection: &mut D::Connection,
    object: &str,
) -> sqlx::Result<Vec<String>> {
    let text = SqlStr::from_static(
        "SELECT DISTINCT tenant_slug FROM events WHERE object_id = $1 AND tenant_slug IS NOT NULL LIMIT 2",
    );
    let rows = D::rows(connection, text, vec![Bind::Text(object)]).await?;
    rows.iter().map(|row| row.text("tenant_slug")).collect()
}

fn event(row: &impl Fields) -> sqlx::Result<LoggedEvent> {
    Ok(LoggedEvent {
        id: row.text("id")?,
        kind: row.text("type")?,
        account: row.maybe_text("account")?,
        livemode: row.flag("livemode")?,
        tenant_slug: row.maybe_text("tenant_slug")?,
        object_id: row.maybe_text("object_id")?,
        outcome: row.text("outcome")?,
        created_at: row.instant("created_at")?,
        received_at: row.instant("received_at")?,
        body: row.maybe_bytes("body")?,
    })
}
