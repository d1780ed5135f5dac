//! The sessions of runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::timeout;

use super::{FoundSession, Lookback, LookbackRun, RecentBuyer, RunCounts, SessionState};
use crate::batcher::{BatchLimits, Batcher};
use crate::store::database::{Bind, Call, Database, Row, binds};
use crate::store::query::Query;
use crate::store::{STATEMENT, StoreError};

const COLUMNS: &str = "lookback_sessions (run, session, customer, purchase, state, error)";

/// Rows deleted by one statement, so that other writers do not wait long.
pub(super) const BATCH_SIZE: u32 = 1_000;

/// Updated sessions of a run, to be stored.
#[derive(Debug)]
pub(in crate::store) struct SessionBatch {
    run: String,
    sessions: Vec<FoundSession>,
}

/// Stores the updates of many customers in one transaction, since a commit for each would be slow.
pub(in crate::store) fn session_batches(db: &Arc<Database>) -> Batcher<SessionBatch, Result<(), StoreError>> {
    let db = Arc::clone(db);
    let limits = BatchLimits {
        batch: 128,
        waiting: 1_024,
        parallel: 1,
    };
    Batcher::start(limits, move |batch: Vec<SessionBatch>| {
        let db = Arc::clone(&db);
        async move {
            let saved = save_batch(&db, &batch).await;
            vec![saved; batch.len()]
        }
    })
}

/// If a session occurs twice, the last one counts.
async fn save_batch(db: &Database, batch: &[SessionBatch]) -> Result<(), StoreError> {
    // Ordered by key, so that concurrent writers lock rows in the same order.
    let rows: BTreeMap<(&str, &str), &FoundSession> = batch
        .iter()
        .flat_map(|note| note.sessions.iter().map(|one| (note.run.as_str(), one)))
        .map(|(run, one)| ((run, one.session.as_str()), one))
        .collect();
    let rows = rows.into_iter().map(|((run, _), one)| binds_of(run, one));
    let update = "ON CONFLICT (run, session) DO UPDATE SET purchase = excluded.purchase, \
         state = excluded.state, error = excluded.error";
    let mut call = db.transaction().await?;
    call.insert(COLUMNS, rows.collect(), update).await?;
    call.commit().await
}

/// Keeps existing rows.
pub(super) async fn add(call: &mut Call<'_>, run: &str, found: &[FoundSession]) -> Result<(), StoreError> {
    let rows = found.iter().map(|one| binds_of(run, one)).collect();
    let keep = "ON CONFLICT (run, session) DO NOTHING";
    call.insert(COLUMNS, rows, keep).await.map(drop)
}

/// In the order of [`COLUMNS`].
fn binds_of<'a>(run: &'a str, one: &'a FoundSession) -> Vec<Bind<'a>> {
    binds![
        run,
        &one.session,
        &one.customer,
        &one.purchase,
        one.state.as_str(),
        &one.error
    ]
}

/// Deletes a run's sessions: all, or those that nobody has to look at. In batches, so that other writers can
/// proceed in between.
pub(super) async fn delete(db: &Database, run: &str, all: bool) -> Result<(), StoreError> {
    let mut after = Some(String::new());
    while let Some(from) = &after {
        let last = "SELECT session FROM lookback_sessions WHERE run = $1 AND session > $2 \
             ORDER BY session LIMIT 1 OFFSET $3";
        let last = db.first(last, binds![run, from, BATCH_SIZE - 1], |row| row.get("session"));
        let last: Option<String> = last.await?;
        let mut text = "DELETE FROM lookback_sessions WHERE run = $1 AND session > $2".to_owned();
        let mut binds = binds![run, from];
        if let Some(last) = &last {
            text.push_str(" AND session <= $3");
            binds.push(last.into());
        }
        if !all {
            text.push_str(" AND state NOT IN ('created', 'refunded', 'dead', 'failed')");
        }
        db.execute(&text, binds).await?;
        after = last;
    }
    Ok(())
}

impl Lookback<'_> {
    /// Updates the state of sessions of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_sessions(self, run: &str, sessions: &[FoundSession]) -> Result<(), StoreError> {
        let batch = SessionBatch {
            run: run.to_owned(),
            sessions: sessions.to_vec(),
        };
        match timeout(2 * STATEMENT, self.0.session_batches.call(batch)).await {
            Ok(Ok(saved)) => saved,
            Ok(Err(unanswered)) => Err(StoreError::Outage(unanswered.to_string())),
            Err(_) => Err(StoreError::Outage("the store is not keeping up".to_owned())),
        }
    }

    /// The keys of the customers in a run, in order, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn found_customers(
        self,
        run: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let text = "SELECT DISTINCT customer FROM lookback_sessions WHERE run = $1 AND customer > $2 \
             ORDER BY customer LIMIT $3";
        self.0
            .db
            .list(text, binds![run, after, limit], |row| row.get("customer"))
            .await
    }

    /// The sessions of a run and customer (`None`: of all customers), ordered by id, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn found_sessions(
        self,
        run: &str,
        customer: Option<&str>,
        states: &[SessionState],
        after: &str,
        limit: u32,
    ) -> Result<Vec<FoundSession>, StoreError> {
        let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
        let mut query = Query::new("SELECT * FROM lookback_sessions");
        query.and(
            "run = ? AND state = ANY(?) AND session > ?",
            binds![run, states, after],
        );
        if let Some(customer) = customer {
            query.and("customer = ?", binds![customer]);
        }
        let (text, binds) = query.end(" ORDER BY session LIMIT ?", binds![limit]);
        let read = |row: &Row| {
            Ok(FoundSession {
                session: row.get("session")?,
                customer: row.get("customer")?,
                purchase: row.get("purchase")?,
                state: row.parsed("state")?,
                error: row.get("error")?,
            })
        };
        self.0.db.list(&text, binds, read).await
    }

    /// Counts the sessions of a run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count_sessions(self, run: &str) -> Result<RunCounts, StoreError> {
        let text = "SELECT state, count(*) AS number FROM lookback_sessions WHERE run = $1 GROUP BY state";
        let read = |row: &Row| Ok((row.parsed("state")?, row.count("number")?));
        let mut counts = RunCounts::default();
        for (state, number) in self.0.db.list(text, binds![run], read).await? {
            if state == SessionState::Refunded {
                continue;
            }
            counts.found += number;
            *match state {
                SessionState::Staged | SessionState::Enqueued => &mut counts.pending,
                SessionState::Existing | SessionState::Ignored | SessionState::Refunded => {
                    &mut counts.skipped
                }
                SessionState::Created => &mut counts.created,
                SessionState::Dead | SessionState::Failed => &mut counts.failed,
            } += number;
        }
        Ok(counts)
    }

    /// Users who got a subscription in the run's time range from tenants of its account, without those in the
    /// run's list. In order of [`RecentBuyer::key`], after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn recent_buyers(
        self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<RecentBuyer>, StoreError> {
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
        let read = |row: &Row| {
            Ok(RecentBuyer {
                key: row.get("key")?,
                tenant_slug: row.get("slug")?,
                stripe_customer: row.get("stripe_customer")?,
                email: row.get("email")?,
            })
        };
        self.0.db.list(text, own_binds(run, after, limit), read).await
    }

    /// Sessions in the event log, in the run's time range and account, that were enqueued and have no
    /// subscription. Without those in the run's list. In order, after `after`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn logged_sessions(
        self,
        run: &LookbackRun,
        after: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let text = "SELECT DISTINCT object_id FROM events WHERE COALESCE(account, '') = $1 \
             AND received_at >= $2 AND received_at < $3 AND object_id > $4 \
             AND type IN ('checkout.session.completed', 'checkout.session.async_payment_succeeded') \
             AND outcome NOT LIKE 'ignored%' \
             AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE id = 'subscription-' || events.object_id) \
             AND NOT EXISTS (SELECT 1 FROM lookback_sessions WHERE run = $5 AND session = events.object_id) \
             ORDER BY object_id LIMIT $6";
        let binds = own_binds(run, after, limit);
        self.0.db.list(text, binds, |row| row.get("object_id")).await
    }
}

/// Account, time range, position, and the sessions in the run.
fn own_binds<'a>(run: &'a LookbackRun, after: &'a str, limit: u32) -> Vec<Bind<'a>> {
    let account = run.account.as_deref().unwrap_or_default();
    binds![account, run.from, run.to, after, &run.id, limit]
}
