//! Unmatched payments ("cases"): paid sessions without a subscription, until a person or a refund closes
//! them.

mod model;

use chrono::{DateTime, Utc};

use self::model::as_reference;
use super::database::{Call, Database, Row, binds};
use super::query::Query;
use super::{StoreError, Subscription};

pub use model::{
    Evidence, NewUnmatched, OpenUnmatched, RefundedPayments, Resolution, UnmatchedFilter, UnmatchedNote,
    UnmatchedPayment, UnmatchedPolicy, UnmatchedState,
};

/// How often another reference is tried if one is taken.
const TRIES: u32 = 5;

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

/// Open cases whose session has a subscription of the same tenant.
const FULFILLED: &str = "SELECT held.id FROM unmatched_payments AS held \
    JOIN subscriptions AS made ON made.id = 'subscription-' || held.session \
    WHERE held.state = 'open' AND held.reason <> 'items_short' \
    AND (held.tenant_id IS NULL OR held.tenant_id = made.tenant_id)";

/// Open cases whose payment was refunded in full. What only a tenant's own secret proves closes no case of
/// another.
const REFUNDED: &str = "SELECT held.id FROM unmatched_payments AS held \
    JOIN refunded_payments AS refund ON refund.payment = held.payment AND refund.account = held.account \
    WHERE held.state = 'open' AND (refund.path_tenant = '' OR refund.path_tenant = held.path_tenant \
    OR held.tenant_id = (SELECT id FROM tenants WHERE slug = refund.path_tenant))";

/// Unmatched payments: [`Store::unmatched`](super::Store::unmatched).
///
/// Creating a session's subscription closes its case in the same transaction.
#[derive(Debug, Clone, Copy)]
pub struct Unmatched<'a>(pub(super) &'a Database);

impl Unmatched<'_> {
    /// Opens the case of an account's session, or updates the one that is open. A case that a person or a refund closed
    /// stays closed, and a session that has its subscription, of the case's tenant, gets none (except for
    /// [`NewUnmatched::ITEMS_SHORT`]). What came in by one tenant's path changes no case of another. Returns the case if it is
    /// open and was written.
    ///
    /// # Errors
    /// [`StoreError`]. Safe to repeat.
    pub async fn open_unmatched(self, new: &NewUnmatched) -> Result<Option<UnmatchedPayment>, StoreError> {
        let mut tries = 0;
        loop {
            match self.open_with(new, &new.reference(tries)).await {
                Err(StoreError::Conflict(_)) if tries < TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn open_with(
        self,
        new: &NewUnmatched,
        reference: &str,
    ) -> Result<Option<UnmatchedPayment>, StoreError> {
        let evidence = serde_json::to_string(&new.evidence).map_err(encode)?;
        let history = line(&UnmatchedNote {
            at: new.at,
            who: OURSELVES.to_owned(),
            what: format!("opened: {}", new.reason),
            why: None,
        })?;
        let subscription = Subscription::id_of(&new.session);
        let binds = binds![
            &new.id,
            reference,
            new.account.as_deref().unwrap_or_default(),
            &new.session,
            &new.payment,
            &new.tenant,
            &new.path_tenant,
            &new.reason,
            &new.detail,
            &evidence,
            &new.purchase,
            new.is_paid,
            &history,
            new.at,
            &subscription,
        ];
        let mut call = self.0.write().await?;
        let Some(case) = call.list(OPEN, binds, payment).await?.pop() else {
            return Ok(None);
        };
        // Its subscription may just have been made, or its refund been reported first.
        let resolved = Resolved::find(&mut call, Some(&case.id), 1).await?;
        resolved.close(&mut call, new.at).await?;
        // Also where somebody else was the one to close it.
        Ok(resolved.is_empty().then_some(case))
    }

    /// The cases with this id, reference, session or payment, newest first. A reference matches regardless of
    /// case, spaces and hyphens.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find_unmatched(self, name: &str) -> Result<Vec<UnmatchedPayment>, StoreError> {
        let reference = as_reference(name).unwrap_or_default();
        // `OR` would leave it to the planner to see that there is an index for each.
        let each = ["id = $1", "session = $1", "payment = $1", "reference = $2"];
        let text = each.map(|condition| format!("SELECT * FROM unmatched_payments WHERE {condition}"));
        let text = format!("{} ORDER BY opened_at DESC, id", text.join(" UNION "));
        self.0.list(&text, binds![name, &reference], payment).await
    }

    /// The cases of these sessions, open and closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn unmatched_of(self, sessions: &[&str]) -> Result<Vec<UnmatchedPayment>, StoreError> {
        if sessions.is_empty() {
            return Ok(Vec::new());
        }
        let text = "SELECT * FROM unmatched_payments WHERE session = ANY($1) ORDER BY opened_at, id";
        self.0.list(text, binds![sessions], payment).await
    }

    /// Cases, oldest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_unmatched(
        self,
        filter: &UnmatchedFilter<'_>,
        limit: u32,
    ) -> Result<Vec<UnmatchedPayment>, StoreError> {
        let mut query = Query::new("SELECT * FROM unmatched_payments");
        // Spelled out: a bound state would keep the planner from the partial indexes.
        if let Some(state) = filter.state {
            query.and(&format!("state = '{}'", state.as_str()), binds![]);
        }
        if let Some(reason) = filter.reason {
            query.and("reason = ?", binds![reason]);
        }
        if let Some(before) = filter.updated_before {
            query.and("updated_at < ?", binds![before]);
        }
        if let Some((opened, id)) = filter.after {
            query.and("(opened_at, id) > (?, ?)", binds![opened, id]);
        }
        let (text, binds) = query.end(" ORDER BY opened_at, id LIMIT ?", binds![limit]);
        self.0.list(&text, binds, payment).await
    }

    /// Counts the open cases.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_unmatched(self) -> Result<OpenUnmatched, StoreError> {
        let text = "SELECT is_paid, reason, count(*) AS n, min(opened_at) AS oldest FROM unmatched_payments \
             WHERE state = 'open' GROUP BY is_paid, reason";
        let read = |row: &Row| {
            let count = usize::try_from(row.count("n")?).unwrap_or_default();
            Ok((
                row.get("is_paid")?,
                row.get("reason")?,
                count,
                row.instant("oldest")?,
            ))
        };
        let mut open = OpenUnmatched::default();
        for (is_paid, reason, count, oldest) in self.0.list(text, binds![], read).await? {
            if is_paid {
                open.by_reason.insert(reason, count);
                open.oldest = Some(open.oldest.map_or(oldest, |other| other.min(oldest)));
            } else {
                open.informational += count;
            }
        }
        Ok(open)
    }

    /// Closes a case. Returns false if it is not open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_unmatched(
        self,
        id: &str,
        resolution: Resolution,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError> {
        let closed = close(
            &mut self.0.write().await?,
            &[id],
            resolution,
            &line(note)?,
            note.at,
        )
        .await?;
        Ok(closed > 0)
    }

    /// Adds a line to the history of an open case, and sets its tenant if given. Returns false if it is not
    /// open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn note_unmatched(
        self,
        id: &str,
        tenant: Option<&str>,
        note: &UnmatchedNote,
    ) -> Result<bool, StoreError> {
        let text = "UPDATE unmatched_payments SET history = history || $1, updated_at = $2, \
             tenant_id = COALESCE($3, tenant_id) WHERE id = $4 AND state = 'open'";
        let line = line(note)?;
        let binds = binds![&line, note.at, tenant, id];
        Ok(self.0.execute(text, binds).await? > 0)
    }

    /// Closes the open cases whose payment was refunded in full, and remembers the payments for cases that open later.
    /// Returns how many were closed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_refunded(self, refunded: &RefundedPayments<'_>) -> Result<u64, StoreError> {
        let account = refunded.account.unwrap_or_default();
        let path = refunded.path_tenant.unwrap_or_default();
        let line = refund_line(refunded.at)?;
        let mut call = self.0.transaction().await?;
        let rows = refunded.payments.iter();
        let rows = rows.map(|payment| binds![account, *payment, path, refunded.at]);
        let columns = "refunded_payments (account, payment, path_tenant, seen_at)";
        call.insert(columns, rows.collect(), "ON CONFLICT DO NOTHING")
            .await?;
        let mut closed = 0;
        for (column, values) in [("payment", refunded.payments), ("session", refunded.sessions)] {
            if values.is_empty() {
                continue;
            }
            let text = format!(
                "UPDATE unmatched_payments SET state = 'closed', resolution = 'refund', history = history || $1, \
                 updated_at = $2 WHERE state = 'open' AND account = $3 AND {column} = ANY($4) \
                 AND ($5 = '' OR path_tenant = $5 OR tenant_id = (SELECT id FROM tenants WHERE slug = $5))"
            );
            let binds = binds![&line, refunded.at, account, values, path];
            closed += call.execute(&text, binds).await?;
        }
        call.commit().await?;
        Ok(closed)
    }

    /// Closes open cases whose session has a subscription of the same tenant, or whose payment is recorded as refunded; at
    /// most `limit` of each in one go. Returns how many. Transactions that run at the same time do not see each other: a case
    /// that opens while its subscription is made stays open until this is called.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn close_resolved(self, at: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        // Usually there are none, and SQLite has one writer.
        let resolved = Resolved::find(&mut self.0.read().await?, None, limit).await?;
        if resolved.is_empty() {
            return Ok(0);
        }
        resolved.close(&mut self.0.write().await?, at).await
    }

    /// Deletes cases that were closed before `before`, and refunds that were recorded before it; at most `limit` of each in
    /// one go. Returns `limit` where there may be more.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drop_unmatched(self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let cases = "DELETE FROM unmatched_payments WHERE id IN (SELECT id FROM unmatched_payments \
             WHERE state = 'closed' AND updated_at < $1 ORDER BY updated_at LIMIT $2)";
        let refunds = "DELETE FROM refunded_payments WHERE (payment, account, path_tenant) IN (SELECT payment, \
             account, path_tenant FROM refunded_payments WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)";
        let cases = self.0.execute(cases, binds![before, limit]).await?;
        Ok(cases.max(self.0.execute(refunds, binds![before, limit]).await?))
    }
}

/// Open cases that something closes without a person.
struct Resolved {
    fulfilled: Vec<String>,
    refunded: Vec<String>,
}

impl Resolved {
    /// At most `limit` of each kind; only the case `id`, where one is given.
    async fn find(call: &mut Call<'_>, id: Option<&str>, limit: u32) -> Result<Self, StoreError> {
        let mut found = [Vec::new(), Vec::new()];
        for (ids, select) in found.iter_mut().zip([FULFILLED, REFUNDED]) {
            let mut binds = binds![limit];
            binds.extend(id.map(Into::into));
            let narrowed = if id.is_some() { "AND held.id = $2" } else { "" };
            let text = format!("{select} {narrowed} LIMIT $1");
            *ids = call.list(&text, binds, |row| row.get("id")).await?;
        }
        let [fulfilled, refunded] = found;
        Ok(Self { fulfilled, refunded })
    }

    fn is_empty(&self) -> bool {
        self.fulfilled.is_empty() && self.refunded.is_empty()
    }

    async fn close(&self, call: &mut Call<'_>, at: DateTime<Utc>) -> Result<u64, StoreError> {
        let fulfilled: Vec<&str> = self.fulfilled.iter().map(String::as_str).collect();
        let refunded: Vec<&str> = self.refunded.iter().map(String::as_str).collect();
        Ok(close(call, &fulfilled, Resolution::Subscription, "", at).await?
            + close(call, &refunded, Resolution::Refund, &refund_line(at)?, at).await?)
    }
}

/// Closes those of these cases that are open, and adds `line` to their history. Returns how many.
async fn close(
    call: &mut Call<'_>,
    ids: &[&str],
    resolution: Resolution,
    line: &str,
    at: DateTime<Utc>,
) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let text = "UPDATE unmatched_payments SET state = 'closed', resolution = $1, history = history || $2, \
         updated_at = $3 WHERE state = 'open' AND ($1 <> 'subscription' OR reason <> 'items_short') AND id = ANY($4)";
    call.execute(text, binds![resolution.as_str(), line, at, ids])
        .await
}

fn refund_line(at: DateTime<Utc>) -> Result<String, StoreError> {
    line(&UnmatchedNote {
        at,
        who: OURSELVES.to_owned(),
        what: "closed".to_owned(),
        why: Some("refunded in full".to_owned()),
    })
}

fn payment(row: &Row) -> sqlx::Result<UnmatchedPayment> {
    Ok(UnmatchedPayment {
        id: row.get("id")?,
        reference: row.get("reference")?,
        state: row.parsed("state")?,
        reason: row.get("reason")?,
        detail: row.get("detail")?,
        is_paid: row.get("is_paid")?,
        session: row.get("session")?,
        payment: row.get("payment")?,
        account: row.filled("account")?,
        tenant: row.get("tenant_id")?,
        path_tenant: row.get("path_tenant")?,
        // What is odd in it must not hide the case.
        evidence: serde_json::from_str(row.get("evidence")?).unwrap_or_default(),
        purchase: row.get("purchase")?,
        resolution: row.maybe_parsed("resolution")?,
        history: row
            .get::<&str>("history")?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect(),
        opened_at: row.instant("opened_at")?,
        updated_at: row.instant("updated_at")?,
    })
}

fn line(note: &UnmatchedNote) -> Result<String, StoreError> {
    let line = serde_json::to_string(note).map_err(encode)?;
    Ok(line + "\n")
}

fn encode(error: serde_json::Error) -> StoreError {
    sqlx::Error::Encode(error.into()).into()
}
