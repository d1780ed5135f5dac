//! The sessions of runs.

use std::collections::BTreeMap;

use sqlx::{Connection, SqlStr};

use super::{
    FoundSession, FulfilledPurchase, LookbackRun, RecentBuyer, RunCounts, SessionBatch, SessionState,
};
use crate::store::dialect::{Bind, Dialect, Fields, Insert};
use crate::store::purchases::{parsed, sql};
use crate::store::reconciliation::{columns_of, made_after};

const ADD: &str = "INSERT INTO lookback_sessions (run, session, customer, purchase, state, error) VALUES ";

pub(super) async fn fulfilled<D: Dialect>(
    connection: &mut D::Connection,
    sessions: &[&str],
    payments: &[&str],
) -> sqlx::Result<Vec<FulfilledPurchase>> {
    let columns = "stripe_session_id, stripe_payment_id, created_via";
    let rows = columns_of::<D>(connection, columns, sessions, payments).await?;
    rows.iter()
        .map(|row| {
            Ok(FulfilledPurchase {
                session: row.text("stripe_session_id")?,
                payment: row.maybe_text("stripe_payment_id")?,
                via: parsed(row, "created_via")?,
            })
        })
        .collect()
}

/// Rows deleted by one statement, so that other writers do not wait long.
pub(super) const BATCH_SIZE: u32 = 1_000;

/// Deletes one batch of a run's sessions after `after`: all, or those that nobody has to look at. Returns
/// where the next batch begins; `None` at the end.
pub(super) async fn delete_batch<D: Dialect>(
    connection: &mut D::Connection,
    run: &str,
    after: &str,
    all: bool,
) -> sqlx::Result<Option<String>> {
    let last = "SELECT session FROM lookback_sessions WHERE run = $1 AND session > $2 \
         ORDER BY session LIMIT 1 OFFSET $3";
    let binds = vec![
        Bind::Text(run),
        Bind::Text(after),
        Bind::Int(i64::from(BATCH_SIZE) - 1),
    ];
    let rows = D::rows(connection, SqlStr::from_static(last), binds).await?;
    let last = rows.first().map(|row| row.text("session")).transpose()?;
    let mut text = "DELETE FROM lookback_sessions WHERE run = $1 AND session > $2".to_owned();
    let mut binds = vec![Bind::Text(run), Bind::Text(after)];
    if let Some(last) = &last {
        text.push_str(" AND session <= $3");
        binds.push(Bind::Text(last));
    }
    if !all {
        text.push_str(" AND state NOT IN ('created', 'refunded', 'dead', 'failed')");
    }
    D::execute(connection, sql(text), binds).await?;
    Ok(last)
}

/// Keeps existing rows.
pub(super) async fn add<D: Dialect>(
    connection: &mut D::Connection,
    run: &str,
    found: &[FoundSession],
) -> sqlx::Result<()> {
    let insert = Insert::new(ADD, " ON CONFLICT (run, session) DO NOTHING");
    insert
        .run::<D>(connection, found.iter().map(|one| binds(run, one)))
        .await
}

/// If a session occurs twice, the last one counts.
pub(super) async fn save_batch<D: Dialect>(
    connection: &mut D::Connection,
    batch: &[SessionBatch],
) -> sqlx::Result<()> {
    let insert = Insert::new(
        ADD,
        " ON CONFLICT (run, session) DO UPDATE SET purchase = excluded.purchase, state = excluded.state, \
         error = excluded.error",
    );
    // Ordered by key, so that concurrent writers lock rows in the same order.
    let rows: BTreeMap<(&str, &str), &FoundSession> = batch
        .iter()
        .flat_map(|note| note.sessions.iter().map(|one| (note.run.as_str(), one)))
        .map(|(run, one)| ((run, one.session.as_str()), one))
        .collect();
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    let rows = rows.into_iter().map(|((run, _), one)| binds(run, one));
    insert.run::<D>(&mut transaction, rows).await?;
    transaction.commit().await
}

fn binds<'a>(run: &'a str, one: &'a FoundSession) -> Vec<Bind<'a>> {
    vec![
        Bind::Text(run),
        Bind::Text(&one.session),
        Bind::Text(&one.customer),
        Bind::MaybeText(one.purchase.as_deref()),
        Bind::Text(one.state.as_str()),
        Bind::MaybeText(one.error.as_deref()),
    ]
}

pub(super) async fn customers<D: Dialect>(
    connection: &mut D::Connection,
    run: &str,
    after: &str,
    limit: u32,
) -> sqlx::Result<Vec<String>> {
    let text = "SELECT DISTINCT customer FROM lookback_sessions WHERE run = $1 AND customer > $2 \
         ORDER BY customer LIMIT $3";
    let binds = vec![Bind::Text(run), Bind::Text(after), Bind::Int(limit.into())];
    let rows = D::rows(connection, SqlStr::from_static(text), binds).await?;
    rows.iter().map(|row| row.text("customer")).collect()
}

pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    run: &str,
    customer: Option<&str>,
    states: &[SessionState],
    after: &str,
    limit: u32,
) -> sqlx::Result<Vec<FoundSession>> {
    let states = states.iter().map(|state| state.as_str()).collect();
    let mut binds = vec![
        Bind::Text(run),
        Bind::Texts(states),
        Bind::Text(after),
        Bind::Int(limit.into()),
    ];
    let mut of_customer = "";
    if let Some(customer) = customer {
        binds.push(Bind::Text(customer));
        of_customer = "AND customer = $5";
    }
    let text = format!(
        "SELECT session, customer, purchase, state, error FROM lookback_sessions WHERE run = $1 AND state {} \
         AND session > $3 {of_customer} ORDER BY session LIMIT $4",
        D::one_of(2),
    );
    let rows = D::rows(connection, sql(text), binds).await?;
    rows.iter()
        .map(|row| {
            Ok(FoundSession {
                session: row.text("session")?,
                customer: row.text("customer")?,
                purchase: row.maybe_text("purchase")?,
                state: parsed(row, "state")?,
                error: row.maybe_text("error")?,
            })
        })
        .collect()
}

pub(super) async fn count<D: Dialect>(connection: &mut D::Connection, run: &str) -> sqlx::Result<RunCounts> {
    let text = "SELECT state, count(*) AS number FROM lookback_sessions WHERE run = $1 GROUP BY state";
    let rows = D::rows(connection, SqlStr::from_static(text), vec![Bind::Text(run)]).await?;
    let mut counts = RunCounts::default();
    for row in &rows {
        let number = u64::try_from(row.int("number")?).unwrap_or_default();
        let state = parsed(row, "state")?;
        if state == SessionState::Refunded {
            continue;
        }
        counts.found += number;
        *match state {
            SessionState::Staged | SessionState::Enqueued => &mut counts.pending,
            SessionState::Existing | SessionState::Ignored | SessionState::Refunded => &mut counts.skipped,
            SessionState::Created => &mut counts.created,
            SessionState::Dead | SessionState::Failed => &mut counts.failed,
        } += number;
    }
    Ok(counts)
}

pub(super) async fn buyers<D: Dialect>(
    connection: &mut D::Connection,
    run: &LookbackRun,
    after: &str,
    limit: u32,
) -> sqlx::Result<Vec<RecentBuyer>> {
    // A slug contains no space, so the key separates tenant and user.
    let text = "SELECT tenants.slug || ' ' || subscriptions.user_id AS key, tenants.slug AS slug, \
         MAX(subscriptions.stripe_customer_id) AS stripe_customer, MAX(users.email) AS email \
         FROM subscriptions JOIN tenants ON tenants.id = subscriptions.tenant_id \
         JOIN users ON users.id = subscriptions.user_id \
         WHERE COALESCE(tenants.stripe_account, '') = $1 \
         AND subscriptions.created_at >= $2 AND subscriptions.created_at < $3 \
         AND tenants.slug || ' ' || subscriptions.user_id > $4 AND NOT EXISTS \
         (SELECT 1 FROM lookback_sessions WHERE run = $5 AND session = subscriptions.stripe_session_id) \
         GROUP BY tenants.slug, subscriptions.user_id ORDER BY key LIMIT $6";
    let rows = D::rows(
        connection,
        SqlStr::from_static(text),
        own_binds(run, after, limit),
    )
    .await?;
    rows.iter()
        .map(|row| {
            Ok(RecentBuyer {
                key: row.text("key")?,
                tenant_slug: row.text("slug")?,
                stripe_customer: row.maybe_text("stripe_customer")?,
                email: row.maybe_text("email")?,
            })
        })
        .collect()
}

pub(super) async fn known<D: Dialect>(
    connection: &mut D::Connection,
    run: &LookbackRun,
    most: u32,
) -> sqlx::Result<u64> {
    let text = "SELECT count(*) AS number FROM (SELECT 1 FROM subscriptions WHERE tenant_id || '' IN \
         (SELECT id FROM tenants WHERE COALESCE(stripe_account, '') = $1) \
         AND created_at >= $5 AND start_date >= $2 AND start_date < $3 ORDER BY created_at LIMIT $4) AS known";
    let binds = vec![
        Bind::Text(run.account.as_deref().unwrap_or_default()),
        Bind::Instant(run.from),
        Bind::Instant(run.to),
        Bind::Int(most.into()),
        // No subscription is created before it begins, so the index by creation time limits the rows.
        Bind::Instant(made_after(run.from)),
    ];
    let rows = D::rows(connection, SqlStr::from_static(text), binds).await?;
    let number = rows.first().map_or(Ok(0), |row| row.int("number"))?;
    Ok(u64::try_from(number).unwrap_or_default())
}

pub(super) async fn logged<D: Dialect>(
    connection: &mut D::Connection,
    run: &LookbackRun,
    after: &str,
    limit: u32,
) -> sqlx::Result<Vec<String>> {
    let text = "SELECT DISTINCT object_id FROM events WHERE COALESCE(account, '') = $1 \
         AND received_at >= $2 AND received_at < $3 AND object_id > $4 \
         AND type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded') \
         AND outcome NOT LIKE 'ignored%' \
         AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE id = 'subscription-' || events.object_id) \
         AND NOT EXISTS (SELECT 1 FROM lookback_sessions WHERE run = $5 AND session = events.object_id) \
         ORDER BY object_id LIMIT $6";
    let rows = D::rows(
        connection,
        SqlStr::from_static(text),
        own_binds(run, after, limit),
    )
    .await?;
    rows.iter().map(|row| row.text("object_id")).collect()
}

/// Account, time range, position, and the sessions in the run.
fn own_binds<'a>(run: &'a LookbackRun, after: &'a str, limit: u32) -> Vec<Bind<'a>> {
    vec![
        Bind::Text(run.account.as_deref().unwrap_or_default()),
        Bind::Instant(run.from),
        Bind::Instant(run.to),
        Bind::Text(after),
        Bind::Text(&run.id),
        Bind::Int(limit.into()),
    ]
}
