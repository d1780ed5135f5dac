//! The runs of the lookback.

use chrono::{DateTime, Utc};
use sqlx::{Connection, SqlStr};

use super::{FoundSession, LookbackRun, RunCounts, RunPhase, RunStep, pending_sessions, sessions};
use crate::store::dialect::{Bind, Dialect, Fields};
use crate::store::purchases::parsed;

pub(super) async fn begin<D: Dialect>(
    connection: &mut D::Connection,
    run: &LookbackRun,
) -> sqlx::Result<bool> {
    let text = "INSERT INTO lookback_runs (id, key, account, from_at, to_at, via, phase, slice, cursor, pages, \
         customers, unreadable, found, created, skipped, failed, pending, error, began_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, 0, 0, 0, 0, 0, NULL, $10, $11) \
         ON CONFLICT (id) DO NOTHING";
    let binds = vec![
        Bind::Text(&run.id),
        Bind::Text(&run.key),
        Bind::MaybeText(run.account.as_deref()),
        Bind::Instant(run.from),
        Bind::Instant(run.to),
        Bind::Text(run.via.as_str()),
        Bind::Text(run.phase.as_str()),
        Bind::Int(run.slice.into()),
        Bind::Text(&run.cursor),
        Bind::Instant(run.began_at),
        Bind::Instant(run.updated_at),
    ];
    let written = D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(written == 1)
}

pub(super) async fn one<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
) -> sqlx::Result<Option<LookbackRun>> {
    let text = SqlStr::from_static("SELECT * FROM lookback_runs WHERE id = $1");
    let rows = D::rows(connection, text, vec![Bind::Text(id)]).await?;
    rows.first().map(run).transpose()
}

pub(super) async fn live<D: Dialect>(
    connection: &mut D::Connection,
    key: &str,
) -> sqlx::Result<Option<LookbackRun>> {
    let text = SqlStr::from_static(
        "SELECT * FROM lookback_runs WHERE key = $1 AND phase NOT IN ('done', 'failed') \
         ORDER BY began_at DESC, id DESC LIMIT 1",
    );
    let rows = D::rows(connection, text, vec![Bind::Text(key)]).await?;
    rows.first().map(run).transpose()
}

/// Newest first.
pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    limit: u32,
) -> sqlx::Result<Vec<LookbackRun>> {
    let text = SqlStr::from_static("SELECT * FROM lookback_runs ORDER BY began_at DESC, id DESC LIMIT $1");
    let rows = D::rows(connection, text, vec![Bind::Int(limit.into())]).await?;
    rows.iter().map(run).collect()
}

pub(super) async fn failed_account_syncs<D: Dialect>(
    connection: &mut D::Connection,
    since: DateTime<Utc>,
) -> sqlx::Result<Vec<LookbackRun>> {
    let text = SqlStr::from_static(
        "SELECT one.* FROM lookback_runs AS one JOIN (SELECT COALESCE(account, '') AS of, \
             MAX(began_at) AS newest FROM lookback_runs WHERE began_at > $1 AND via = 'lookback' \
             AND phase IN ('done', 'failed') GROUP BY COALESCE(account, '')) AS last \
         ON COALESCE(one.account, '') = last.of AND one.began_at = last.newest \
         WHERE one.via = 'lookback' AND one.phase = 'failed' ORDER BY one.account, one.id",
    );
    let rows = D::rows(connection, text, vec![Bind::Instant(since)]).await?;
    rows.iter().map(run).collect()
}

pub(super) async fn drop_waiting<D: Dialect>(connection: &mut D::Connection, id: &str) -> sqlx::Result<()> {
    let text = SqlStr::from_static("DELETE FROM lookback_runs WHERE id = $1 AND phase = 'waiting'");
    D::execute(connection, text, vec![Bind::Text(id)]).await?;
    Ok(())
}

pub(super) async fn step<D: Dialect>(
    connection: &mut D::Connection,
    before: &LookbackRun,
    step: &RunStep,
    found: &[FoundSession],
) -> sqlx::Result<bool> {
    let text = "UPDATE lookback_runs SET phase = $1, cursor = $2, pages = pages + $3, \
         customers = customers + $4, unreadable = unreadable + $5, updated_at = $6, \
         error = COALESCE($7, error) WHERE id = $8 AND slice = $9 AND phase = $10 AND cursor = $11";
    let binds = vec![
        Bind::Text(step.phase.as_str()),
        Bind::Text(&step.cursor),
        Bind::Int(whole(step.pages)),
        Bind::Int(whole(step.customers)),
        Bind::Int(whole(step.unreadable)),
        Bind::Instant(step.at),
        Bind::MaybeText(step.error.as_deref()),
        Bind::Text(&before.id),
        Bind::Int(before.slice.into()),
        Bind::Text(before.phase.as_str()),
        Bind::Text(&before.cursor),
    ];
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    let taken_on = D::execute(&mut transaction, SqlStr::from_static(text), binds).await? == 1;
    if taken_on {
        sessions::add::<D>(&mut transaction, &before.id, found).await?;
        pending_sessions::add::<D>(&mut transaction, &step.pending).await?;
        let resolved: Vec<&str> = step.resolved.iter().map(String::as_str).collect();
        pending_sessions::close::<D>(&mut transaction, &resolved).await?;
        transaction.commit().await?;
    } else {
        transaction.rollback().await?;
    }
    Ok(taken_on)
}

pub(super) async fn advance_slice<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    slice: u32,
) -> sqlx::Result<bool> {
    let text = "UPDATE lookback_runs SET slice = $1 WHERE id = $2 AND slice = $3";
    let binds = vec![
        Bind::Int(i64::from(slice) + 1),
        Bind::Text(id),
        Bind::Int(slice.into()),
    ];
    Ok(D::execute(connection, SqlStr::from_static(text), binds).await? == 1)
}

pub(super) async fn end<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    phase: RunPhase,
    counts: RunCounts,
    error: Option<&str>,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let text = "UPDATE lookback_runs SET phase = $1, found = $2, created = $3, skipped = $4, failed = $5, \
         pending = $6, error = $7, updated_at = $8 WHERE id = $9 AND phase NOT IN ('done', 'failed')";
    let binds = vec![
        Bind::Text(phase.as_str()),
        Bind::Int(whole(counts.found)),
        Bind::Int(whole(counts.created)),
        Bind::Int(whole(counts.skipped)),
        Bind::Int(whole(counts.failed)),
        Bind::Int(whole(counts.pending)),
        Bind::MaybeText(error),
        Bind::Instant(at),
        Bind::Text(id),
    ];
    D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(())
}

/// The oldest that began before `before`.
pub(super) async fn old<D: Dialect>(
    connection: &mut D::Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<Vec<String>> {
    let text = "SELECT id FROM lookback_runs WHERE began_at < $1 ORDER BY began_at LIMIT $2";
    let binds = vec![Bind::Instant(before), Bind::Int(limit.into())];
    let rows = D::rows(connection, SqlStr::from_static(text), binds).await?;
    rows.iter().map(|row| row.text("id")).collect()
}

pub(super) async fn drop_one<D: Dialect>(connection: &mut D::Connection, id: &str) -> sqlx::Result<()> {
    let text = SqlStr::from_static("DELETE FROM lookback_runs WHERE id = $1");
    D::execute(connection, text, vec![Bind::Text(id)]).await?;
    Ok(())
}

fn run(row: &impl Fields) -> sqlx::Result<LookbackRun> {
    let count = |column| Ok::<_, sqlx::Error>(u64::try_from(row.int(column)?).unwrap_or_default());
    Ok(LookbackRun {
        id: row.text("id")?,
        key: row.text("key")?,
        account: row.maybe_text("account")?,
        from: row.instant("from_at")?,
        to: row.instant("to_at")?,
        via: parsed(row, "via")?,
        phase: parsed(row, "phase")?,
        slice: u32::try_from(row.int("slice")?).unwrap_or(u32::MAX),
        cursor: row.text("cursor")?,
        pages: count("pages")?,
        customers: count("customers")?,
        unreadable: count("unreadable")?,
        counts: RunCounts {
            found: count("found")?,
            created: count("created")?,
            skipped: count("skipped")?,
            failed: count("failed")?,
            pending: count("pending")?,
        },
        error: row.maybe_text("error")?,
        began_at: row.instant("began_at")?,
        updated_at: row.instant("updated_at")?,
    })
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
