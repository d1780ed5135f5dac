//! The queries of the reconciliation: subscriptions by session or payment, and by start.

use chrono::{DateTime, TimeDelta, Utc};

use super::dialect::{Bind, Dialect};
use super::model::Subscription;
use super::purchases::sql;
use super::subscriptions::subscription;

/// The largest difference between our clock, which sets the creation time, and Stripe's, which sets the
/// start.
const SKEW: TimeDelta = TimeDelta::days(1);

/// Each once, in no particular order.
pub(super) async fn of<D: Dialect>(
    connection: &mut D::Connection,
    sessions: &[&str],
    payments: &[&str],
) -> sqlx::Result<Vec<Subscription>> {
    let rows = columns_of::<D>(connection, "*", sessions, payments).await?;
    rows.iter().map(subscription).collect()
}

/// These columns of the subscriptions of these sessions and payments.
pub(super) async fn columns_of<D: Dialect>(
    connection: &mut D::Connection,
    columns: &'static str,
    sessions: &[&str],
    payments: &[&str],
) -> sqlx::Result<Vec<D::Row>> {
    // The id has an index, the session does not.
    let ids: Vec<_> = sessions
        .iter()
        .map(|session| Subscription::id_of(session))
        .collect();
    // Two queries rather than `OR`, so that each half uses its index.
    let text = format!(
        "SELECT {columns} FROM subscriptions WHERE id {} \
         UNION SELECT {columns} FROM subscriptions WHERE stripe_payment_id {}",
        D::one_of(1),
        D::one_of(2)
    );
    let ids = ids.iter().map(String::as_str).collect();
    let binds = vec![Bind::Texts(ids), Bind::Texts(payments.to_vec())];
    D::rows(connection, sql(text), binds).await
}

/// The earliest creation time of subscriptions that begin at `from` or later.
pub(super) fn made_after(from: DateTime<Utc>) -> DateTime<Utc> {
    from.checked_sub_signed(SKEW).unwrap_or(from)
}

/// Newest first. Reads the index by creation time, since no subscription is created before it begins.
pub(super) async fn begun<D: Dialect>(
    connection: &mut D::Connection,
    from: DateTime<Utc>,
    before: DateTime<Utc>,
    after: Option<&Subscription>,
    limit: u32,
) -> sqlx::Result<Vec<Subscription>> {
    let mut text =
        "SELECT * FROM subscriptions WHERE created_at >= $1 AND start_date >= $2 AND start_date < $3"
            .to_owned();
    let mut binds = vec![
        Bind::Instant(made_after(from)),
        Bind::Instant(from),
        Bind::Instant(before),
        Bind::Int(limit.into()),
    ];
    if let Some(after) = after {
        text.push_str(" AND (created_at, id) < ($5, $6)");
        binds.extend([Bind::Instant(after.created_at), Bind::Text(&after.id)]);
    }
    text.push_str(" ORDER BY created_at DESC, id DESC LIMIT $4");
    let rows = D::rows(connection, sql(text), binds).await?;
    rows.iter().map(subscription).collect()
}
