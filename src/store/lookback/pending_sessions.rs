//! Sessions that were pending when they were listed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use super::PendingSession;
use super::sessions::BATCH_SIZE;
use crate::store::dialect::{Bind, Dialect, Fields, Insert};

/// Keeps existing rows.
pub(super) async fn add<D: Dialect>(
    connection: &mut D::Connection,
    sessions: &[PendingSession],
) -> sqlx::Result<()> {
    let insert = Insert::new(
        "INSERT INTO lookback_open (customer, session, account, created_at) VALUES ",
        " ON CONFLICT (customer, session) DO NOTHING",
    );
    // Ordered by key, so that concurrent account syncs lock rows in the same order.
    let rows: BTreeMap<(&str, &str), &PendingSession> = sessions
        .iter()
        .flat_map(|one| one.customers.iter().map(move |customer| (customer, one)))
        .map(|(customer, one)| ((customer.as_str(), one.session.as_str()), one))
        .collect();
    let rows = rows.into_iter().map(|((customer, session), one)| {
        vec![
            Bind::Text(customer),
            Bind::Text(session),
            Bind::Text(one.account.as_deref().unwrap_or_default()),
            Bind::Instant(one.created_at),
        ]
    });
    insert.run::<D>(connection, rows).await
}

pub(super) async fn close<D: Dialect>(connection: &mut D::Connection, sessions: &[&str]) -> sqlx::Result<()> {
    if sessions.is_empty() {
        return Ok(());
    }
    let text = format!("DELETE FROM lookback_open WHERE session {}", D::one_of(1));
    let text = AssertSqlSafe(text).into_sql_str();
    D::execute(connection, text, vec![Bind::Texts(sessions.to_vec())]).await?;
    Ok(())
}

pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    account: Option<&str>,
    customers: &[&str],
    from: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<Vec<String>> {
    let text = format!(
        "SELECT session, max(created_at) AS created FROM lookback_open WHERE account = $1 AND customer {} \
         AND created_at >= $3 GROUP BY session ORDER BY created DESC, session LIMIT $4",
        D::one_of(2)
    );
    let binds = vec![
        Bind::Text(account.unwrap_or_default()),
        Bind::Texts(customers.to_vec()),
        Bind::Instant(from),
        Bind::Int(limit.into()),
    ];
    let rows = D::rows(connection, AssertSqlSafe(text).into_sql_str(), binds).await?;
    rows.iter().map(|row| row.text("session")).collect()
}

/// Deletes one batch of old rows.
pub(super) async fn drop_old<D: Dialect>(
    connection: &mut D::Connection,
    before: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let text = SqlStr::from_static(
        "DELETE FROM lookback_open WHERE (customer, session) IN \
         (SELECT customer, session FROM lookback_open WHERE created_at < $1 LIMIT $2)",
    );
    let binds = vec![Bind::Instant(before), Bind::Int(BATCH_SIZE.into())];
    D::execute(connection, text, binds).await
}
