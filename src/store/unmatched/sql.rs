//! The statements.

use chrono::{DateTime, Utc};
use sqlx::{Connection, SqlStr};

use super::model::{
    NewUnmatched, OpenUnmatched, RefundedPayments, Resolution, UnmatchedFilter, UnmatchedNote,
    UnmatchedPayment, UnmatchedState, as_reference,
};
use crate::store::dialect::{Bind, Dialect, Fields};
use crate::store::model::Subscription;
use crate::store::purchases::{parsed, sql};

/// Who closes what needs no person.
const OURSELVES: &str = "surepass";

const OPEN: &str = "INSERT INTO unmatched_payments (id, reference, account, session, payment, tenant_id, path_tenant, reason, \
     detail, evidence, purchase, is_paid, state, history, opened_at, updated_at) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open', $13, $14, $14 \
     WHERE $8 = 'items_short' OR NOT EXISTS \
         (SELECT 1 FROM subscriptions WHERE id = $15 AND ($6 IS NULL OR tenant_id = $6)) \
     ON CONFLICT (account, session) DO UPDATE SET \
     payment = COALESCE(excluded.payment, unmatched_payments.payment), \
     tenant_id = COALESCE(excluded.tenant_id, unmatched_payments.tenant_id), \
     path_tenant = COALESCE(excluded.path_tenant, unmatched_payments.path_tenant), \
     history = CASE WHEN unmatched_payments.state = 'open' AND unmatched_payments.reason = excluded.reason \
         THEN unmatched_payments.history ELSE unmatched_payments.history || excluded.history END, \
     reason = excluded.reason, detail = excluded.detail, evidence = excluded.evidence, \
     purchase = COALESCE(excluded.purchase, unmatched_payments.purchase), is_paid = excluded.is_paid, \
     state = 'open', resolution = NULL, updated_at = excluded.updated_at \
     WHERE (unmatched_payments.state = 'open' OR unmatched_payments.resolution = 'subscription') \
         AND (excluded.path_tenant IS NULL OR unmatched_payments.path_tenant = excluded.path_tenant \
         OR unmatched_payments.tenant_id = (SELECT id FROM tenants WHERE slug = excluded.path_tenant)) \
     RETURNING *";

pub(super) async fn open<D: Dialect>(
    connection: &mut D::Connection,
    new: &NewUnmatched,
    tries: u32,
) -> sqlx::Result<Option<UnmatchedPayment>> {
    let reference = new.reference(tries);
    let evidence = serde_json::to_string(&new.evidence).map_err(encode)?;
    let history = line(&UnmatchedNote {
        at: new.at,
        who: OURSELVES.to_owned(),
        what: format!("opened: {}", new.reason),
        why: None,
    })?;
    let subscription = Subscription::id_of(&new.session);
    let binds = vec![
        Bind::Text(&new.id),
        Bind::Text(&reference),
        Bind::Text(new.account.as_deref().unwrap_or_default()),
        Bind::Text(&new.session),
        Bind::MaybeText(new.payment.as_deref()),
        Bind::MaybeText(new.tenant.as_deref()),
        Bind::MaybeText(new.path_tenant.as_deref()),
        Bind::Text(&new.reason),
        Bind::Text(&new.detail),
        Bind::Text(&evidence),
        Bind::MaybeText(new.purchase.as_deref()),
        Bind::Flag(new.is_paid),
        Bind::Text(&history),
        Bind::Instant(new.at),
        Bind::Text(&subscription),
    ];
    let rows = D::rows(connection, SqlStr::from_static(OPEN), binds).await?;
    let Some(case) = rows.first().map(payment).transpose()? else {
        return Ok(None);
    };
    // Its refund may have been reported first.
    let resolved = resolved::<D>(connection, Some(&case.id), 1).await?;
    if resolved.is_empty() {
        return Ok(Some(case));
    }
    close_resolved::<D>(connection, &resolved, new.at).await?;
    Ok(None)
}

/// The newest first.
pub(super) async fn find<D: Dialect>(
    connection: &mut D::Connection,
    name: &str,
) -> sqlx::Result<Vec<UnmatchedPayment>> {
    let reference = as_reference(name).unwrap_or_default();
    // `OR` would leave it to the planner to see that there is an index for each.
    let each = ["id = $1", "session = $1", "payment = $1", "reference = $2"];
    let text = each.map(|condition| format!("SELECT * FROM unmatched_payments WHERE {condition}"));
    let text = format!("{} ORDER BY opened_at DESC, id", text.join(" UNION "));
    let binds = vec![Bind::Text(name), Bind::Text(&reference)];
    let rows = D::rows(connection, sql(text), binds).await?;
    rows.iter().map(payment).collect()
}

pub(super) async fn of<D: Dialect>(
    connection: &mut D::Connection,
    sessions: &[&str],
) -> sqlx::Result<Vec<UnmatchedPayment>> {
    if sessions.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "SELECT * FROM unmatched_payments WHERE session {} ORDER BY opened_at, id",
        D::one_of(1)
    );
    let rows = D::rows(connection, sql(text), vec![Bind::Texts(sessions.to_vec())]).await?;
    rows.iter().map(payment).collect()
}

/// The oldest first.
pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    filter: &UnmatchedFilter<'_>,
    limit: u32,
) -> sqlx::Result<Vec<UnmatchedPayment>> {
    let mut conditions = Vec::new();
    let mut binds = Vec::new();
    // Spelled out: a bound state would keep the planner from the partial indexes.
    if let Some(state) = filter.state {
        conditions.push(format!("state = '{}'", state.as_str()));
    }
    if let Some(reason) = filter.reason {
        binds.push(Bind::Text(reason));
        conditions.push(format!("reason = {}", D::placeholder(binds.len())));
    }
    if let Some(before) = filter.updated_before {
        binds.push(Bind::Instant(before));
        conditions.push(format!("updated_at < {}", D::placeholder(binds.len())));
    }
    if let Some((opened, id)) = filter.after {
        binds.extend([Bind::Instant(opened), Bind::Text(id)]);
        let (first, second) = (D::placeholder(binds.len() - 1), D::placeholder(binds.len()));
        conditions.push(format!("(opened_at, id) > ({first}, {second})"));
    }
    let mut text = "SELECT * FROM unmatched_payments".to_owned();
    for (n, condition) in conditions.iter().enumerate() {
        text.push_str(if n == 0 { " WHERE " } else { " AND " });
        text.push_str(condition);
    }
    binds.push(Bind::Int(limit.into()));
    text.push_str(" ORDER BY opened_at, id LIMIT ");
    text.push_str(&D::placeholder(binds.len()));
    let rows = D::rows(connection, sql(text), binds).await?;
    rows.iter().map(payment).collect()
}

pub(super) async fn count<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<OpenUnmatched> {
    let text = SqlStr::from_static(
        "SELECT is_paid, reason, count(*) AS n, min(opened_at) AS oldest FROM unmatched_payments \
         WHERE state = 'open' GROUP BY is_paid, reason",
    );
    let mut open = OpenUnmatched::default();
    for row in D::rows(connection, text, Vec::new()).await? {
        let count = usize::try_from(row.int("n")?).unwrap_or_default();
        if row.flag("is_paid")? {
            open.by_reason.insert(row.text("reason")?, count);
            let oldest = row.instant("oldest")?;
            open.oldest = Some(open.oldest.map_or(oldest, |other| other.min(oldest)));
        } else {
            open.informational += count;
        }
    }
    Ok(open)
}

pub(super) async fn close<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    resolution: Resolution,
    note: &UnmatchedNote,
) -> sqlx::Result<bool> {
    let text = "UPDATE unmatched_payments SET state = 'closed', resolution = $1, history = history || $2, \
         updated_at = $3 WHERE id = $4 AND state = 'open'";
    let line = line(note)?;
    let binds = vec![
        Bind::Text(resolution.as_str()),
        Bind::Text(&line),
        Bind::Instant(note.at),
        Bind::Text(id),
    ];
    let written = D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(written > 0)
}

pub(super) async fn note<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
    tenant: Option<&str>,
    note: &UnmatchedNote,
) -> sqlx::Result<bool> {
    let text = "UPDATE unmatched_payments SET history = history || $1, updated_at = $2, \
         tenant_id = COALESCE($3, tenant_id) WHERE id = $4 AND state = 'open'";
    let line = line(note)?;
    let binds = vec![
        Bind::Text(&line),
        Bind::Instant(note.at),
        Bind::MaybeText(tenant),
        Bind::Text(id),
    ];
    let written = D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(written > 0)
}

/// Records the payments as refunded, and closes their open cases.
pub(super) async fn close_refunded<D: Dialect>(
    connection: &mut D::Connection,
    refunded: &RefundedPayments<'_>,
) -> sqlx::Result<u64> {
    let line = refund_line(refunded.at)?;
    let account = refunded.account.unwrap_or_default();
    let path = refunded.path_tenant.unwrap_or_default();
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    for payment in refunded.payments {
        let text = SqlStr::from_static(
            "INSERT INTO refunded_payments (account, payment, path_tenant, seen_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        );
        let binds = vec![
            Bind::Text(account),
            Bind::Text(payment),
            Bind::Text(path),
            Bind::Instant(refunded.at),
        ];
        D::execute(&mut transaction, text, binds).await?;
    }
    let mut closed = 0;
    for (column, values) in [("payment", refunded.payments), ("session", refunded.sessions)] {
        if values.is_empty() {
            continue;
        }
        let text = format!(
            "UPDATE unmatched_payments SET state = 'closed', resolution = 'refund', history = history || $1, \
             updated_at = $2 WHERE state = 'open' AND account = $3 AND {column} {} \
             AND ($5 = '' OR path_tenant = $5 OR tenant_id = (SELECT id FROM tenants WHERE slug = $5))",
            D::one_of(4)
        );
        let binds = vec![
            Bind::Text(&line),
            Bind::Instant(refunded.at),
            Bind::Text(account),
            Bind::Texts(values.to_vec()),
            Bind::Text(path),
        ];
        closed += D::execute(&mut transaction, sql(text), binds).await?;
    }
    transaction.commit().await?;
    Ok(closed)
}

/// Open cases that something closes without a person.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Their session has a subscription of the same tenant.
    fulfilled: Vec<String>,
    /// Their payment was refunded in full.
    refunded: Vec<String>,
}

impl Resolved {
    pub(super) fn is_empty(&self) -> bool {
        self.fulfilled.is_empty() && self.refunded.is_empty()
    }
}

/// At most `limit` of each kind; only the case `id`, where one is given.
pub(super) async fn resolved<D: Dialect>(
    connection: &mut D::Connection,
    id: Option<&str>,
    limit: u32,
) -> sqlx::Result<Resolved> {
    const FULFILLED: &str = "SELECT held.id FROM unmatched_payments AS held \
         JOIN subscriptions AS made ON made.id = 'subscription-' || held.session \
         WHERE held.state = 'open' AND held.reason <> 'items_short' \
         AND (held.tenant_id IS NULL OR held.tenant_id = made.tenant_id)";
    const REFUNDED: &str = "SELECT held.id FROM unmatched_payments AS held \
         JOIN refunded_payments AS known ON known.payment = held.payment AND known.account = held.account \
         WHERE held.state = 'open' AND (known.path_tenant = '' OR known.path_tenant = held.path_tenant \
         OR held.tenant_id = (SELECT id FROM tenants WHERE slug = known.path_tenant))";
    let mut found = [Vec::new(), Vec::new()];
    for (ids, select) in found.iter_mut().zip([FULFILLED, REFUNDED]) {
        let (narrowed, mut binds) = match id {
            Some(id) => (" AND held.id = $2", vec![Bind::Text(id)]),
            None => ("", vec![]),
        };
        binds.insert(0, Bind::Int(limit.into()));
        let rows = D::rows(connection, sql(format!("{select}{narrowed} LIMIT $1")), binds).await?;
        *ids = rows
            .iter()
            .map(|row| row.text("id"))
            .collect::<sqlx::Result<_>>()?;
    }
    let [fulfilled, refunded] = found;
    Ok(Resolved { fulfilled, refunded })
}

pub(super) async fn close_resolved<D: Dialect>(
    connection: &mut D::Connection,
    resolved: &Resolved,
    at: DateTime<Utc>,
) -> sqlx::Result<u64> {
    let refund = refund_line(at)?;
    let mut closed = 0;
    for (ids, resolution, line) in [
        (&resolved.fulfilled, Resolution::Subscription, ""),
        (&resolved.refunded, Resolution::Refund, refund.as_str()),
    ] {
        if ids.is_empty() {
            continue;
        }
        let text = format!(
            "UPDATE unmatched_payments SET state = 'closed', resolution = $1, history = history || $2, updated_at = $3 \
             WHERE state = 'open' AND ($1 = 'refund' OR reason <> 'items_short') AND id {}",
            D::one_of(4)
        );
        let binds = vec![
            Bind::Text(resolution.as_str()),
            Bind::Text(line),
            Bind::Instant(at),
            Bind::Texts(ids.iter().map(String::as_str).collect()),
        ];
        closed += D::execute(connection, sql(text), binds).await?;
    }
    Ok(closed)
}

fn refund_line(at: DateTime<Utc>) -> sqlx::Result<String> {
    line(&UnmatchedNote {
        at,
        who: OURSELVES.to_owned(),
        what: "closed".to_owned(),
        why: Some("refunded in full".to_owned()),
    })
}

/// Closed cases and recorded refunds; at most `limit` of each. Returns how many of which there were more.
pub(super) async fn drop_closed<D: Dialect>(
    connection: &mut D::Connection,
    before: DateTime<Utc>,
    limit: u32,
) -> sqlx::Result<u64> {
    const CASES: &str = "DELETE FROM unmatched_payments WHERE id IN (SELECT id FROM unmatched_payments \
         WHERE state = 'closed' AND updated_at < $1 ORDER BY updated_at LIMIT $2)";
    const REFUNDS: &str = "DELETE FROM refunded_payments WHERE (payment, account, path_tenant) IN \
         (SELECT payment, account, path_tenant FROM refunded_payments WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)";
    let mut most = 0;
    for text in [CASES, REFUNDS] {
        let binds = vec![Bind::Instant(before), Bind::Int(limit.into())];
        most = most.max(D::execute(connection, SqlStr::from_static(text), binds).await?);
    }
    Ok(most)
}

fn payment(row: &impl Fields) -> sqlx::Result<UnmatchedPayment> {
    let state: UnmatchedState = parsed(row, "state")?;
    Ok(UnmatchedPayment {
        id: row.text("id")?,
        reference: row.text("reference")?,
        state,
        reason: row.text("reason")?,
        detail: row.text("detail")?,
        is_paid: row.flag("is_paid")?,
        session: row.text("session")?,
        payment: row.maybe_text("payment")?,
        account: Some(row.text("account")?).filter(|account| !account.is_empty()),
        tenant: row.maybe_text("tenant_id")?,
        path_tenant: row.maybe_text("path_tenant")?,
        // What is odd in it must not hide the case.
        evidence: serde_json::from_str(&row.text("evidence")?).unwrap_or_default(),
        purchase: row.maybe_text("purchase")?,
        resolution: match row.maybe_text("resolution")? {
            Some(_) => Some(parsed(row, "resolution")?),
            None => None,
        },
        history: row
            .text("history")?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect(),
        opened_at: row.instant("opened_at")?,
        updated_at: row.instant("updated_at")?,
    })
}

fn line(note: &UnmatchedNote) -> sqlx::Result<String> {
    let line = serde_json::to_string(note).map_err(encode)?;
    Ok(line + "\n")
}

fn encode(error: serde_json::Error) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}
