//! Sessions that were pending when they were listed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::sessions::BATCH_SIZE;
use super::{Lookback, PendingSession};
use crate::store::StoreError;
use crate::store::database::{Call, binds};

const DELETE: &str = "DELETE FROM lookback_open WHERE session = ANY($1)";

/// Keeps existing rows.
pub(super) async fn add(call: &mut Call<'_>, sessions: &[PendingSession]) -> Result<(), StoreError> {
    // Ordered by key, so that concurrent account syncs lock rows in the same order.
    let rows: BTreeMap<(&str, &str), &PendingSession> = sessions
        .iter()
        .flat_map(|one| one.customers.iter().map(move |customer| (customer, one)))
        .map(|(customer, one)| ((customer.as_str(), one.session.as_str()), one))
        .collect();
    let rows = rows.into_iter().map(|((customer, session), one)| {
        let account = one.account.as_deref().unwrap_or_default();
        binds![customer, session, account, one.created_at]
    });
    let columns = "lookback_open (customer, session, account, created_at)";
    let keep = "ON CONFLICT (customer, session) DO NOTHING";
    call.insert(columns, rows.collect(), keep).await.map(drop)
}

pub(super) async fn remove(call: &mut Call<'_>, sessions: &[String]) -> Result<(), StoreError> {
    if sessions.is_empty() {
        return Ok(());
    }
    call.execute(DELETE, binds![sessions]).await.map(drop)
}

impl Lookback<'_> {
    /// Pending sessions of these customers in an account, created from `from` on. Each once, newest first, at
    /// most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pending_sessions(
        self,
        account: Option<&str>,
        customers: &[&str],
        from: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let text = "SELECT session, max(created_at) AS created FROM lookback_open WHERE account = $1 \
             AND customer = ANY($2) AND created_at >= $3 GROUP BY session ORDER BY created DESC, session LIMIT $4";
        let binds = binds![account.unwrap_or_default(), customers, from, limit];
        self.0.db.list(text, binds, |row| row.get("session")).await
    }

    /// Deletes sessions that are no longer pending.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove_pending_sessions(self, sessions: &[&str]) -> Result<(), StoreError> {
        if sessions.is_empty() {
            return Ok(());
        }
        self.0.db.execute(DELETE, binds![sessions]).await.map(drop)
    }

    /// Deletes pending sessions that were created before `before`, in batches. Returns how many rows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_old_pending_sessions(self, before: DateTime<Utc>) -> Result<u64, StoreError> {
        let text = "DELETE FROM lookback_open WHERE (customer, session) IN \
             (SELECT customer, session FROM lookback_open WHERE created_at < $1 LIMIT $2)";
        let mut deleted = 0;
        loop {
            let batch = self.0.db.execute(text, binds![before, BATCH_SIZE]).await?;
            deleted += batch;
            if batch < u64::from(BATCH_SIZE) {
                return Ok(deleted);
            }
        }
    }
}
