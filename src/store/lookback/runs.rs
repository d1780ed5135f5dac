//! The runs of the lookback.

use chrono::{DateTime, Utc};

use super::{FoundSession, Lookback, LookbackRun, RunCounts, RunPhase, RunStep, pending_sessions, sessions};
use crate::store::StoreError;
use crate::store::database::{Row, binds};

impl Lookback<'_> {
    /// Inserts a run. Returns false if its id exists already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begin_run(self, run: &LookbackRun) -> Result<bool, StoreError> {
        let text = "INSERT INTO lookback_runs (id, key, account, from_at, to_at, via, phase, slice, cursor, pages, \
             customers, unreadable, found, created, skipped, failed, pending, error, began_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, 0, 0, 0, 0, 0, 0, NULL, $10, $11) \
             ON CONFLICT (id) DO NOTHING";
        let binds = binds![
            &run.id,
            &run.key,
            &run.account,
            run.from,
            run.to,
            run.via.as_str(),
            run.phase.as_str(),
            run.slice,
            &run.cursor,
            run.began_at,
            run.updated_at,
        ];
        Ok(self.0.db.execute(text, binds).await? == 1)
    }

    /// A run by its id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn run(self, id: &str) -> Result<Option<LookbackRun>, StoreError> {
        let text = "SELECT * FROM lookback_runs WHERE id = $1";
        self.0.db.first(text, binds![id], run).await
    }

    /// The newest run with this key that is not over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn live_run(self, key: &str) -> Result<Option<LookbackRun>, StoreError> {
        let text = "SELECT * FROM lookback_runs WHERE key = $1 AND phase NOT IN ('done', 'failed') \
             ORDER BY began_at DESC, id DESC LIMIT 1";
        self.0.db.first(text, binds![key], run).await
    }

    /// Runs, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn runs(self, limit: u32) -> Result<Vec<LookbackRun>, StoreError> {
        let text = "SELECT * FROM lookback_runs ORDER BY began_at DESC, id DESC LIMIT $1";
        self.0.db.list(text, binds![limit], run).await
    }

    /// The last scheduled account sync of each account, if it failed and began after `since`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn failed_account_syncs(self, since: DateTime<Utc>) -> Result<Vec<LookbackRun>, StoreError> {
        // Ordered by age, so that SQLite uses the index by age for both ranges.
        let text = "SELECT * FROM lookback_runs AS one WHERE began_at > $1 AND via = 'lookback' AND phase = 'failed' \
             AND NOT EXISTS (SELECT 1 FROM lookback_runs AS later WHERE later.began_at > one.began_at \
                 AND later.via = 'lookback' AND later.phase IN ('done', 'failed') \
                 AND COALESCE(later.account, '') = COALESCE(one.account, '')) ORDER BY began_at, id";
        let mut runs = self.0.db.list(text, binds![since], run).await?;
        runs.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(runs)
    }

    /// Deletes a run that has not started.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_run(self, id: &str) -> Result<(), StoreError> {
        let text = "DELETE FROM lookback_runs WHERE id = $1 AND phase = 'waiting'";
        self.0.db.execute(text, binds![id]).await.map(drop)
    }

    /// Stores the sessions of a step and moves the run on, in one transaction, if the run is still in the
    /// state `before`. Returns false if another worker has moved it on; then nothing is written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn save_step(
        self,
        before: &LookbackRun,
        step: &RunStep,
        found: &[FoundSession],
    ) -> Result<bool, StoreError> {
        let text = "UPDATE lookback_runs SET phase = $1, cursor = $2, pages = pages + $3, \
             customers = customers + $4, unreadable = unreadable + $5, updated_at = $6, \
             error = COALESCE($7, error) WHERE id = $8 AND slice = $9 AND phase = $10 AND cursor = $11";
        let binds = binds![
            step.phase.as_str(),
            &step.cursor,
            step.pages,
            step.customers,
            step.unreadable,
            step.at,
            &step.error,
            &before.id,
            before.slice,
            before.phase.as_str(),
            &before.cursor,
        ];
        let mut call = self.0.db.transaction().await?;
        if call.execute(text, binds).await? == 0 {
            call.rollback().await?;
            return Ok(false);
        }
        sessions::add(&mut call, &before.id, found).await?;
        pending_sessions::add(&mut call, &step.pending).await?;
        pending_sessions::remove(&mut call, &step.resolved).await?;
        call.commit().await?;
        Ok(true)
    }

    /// Moves the run on to the slice after `slice`. Returns false if another worker has done so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn advance_slice(self, id: &str, slice: u32) -> Result<bool, StoreError> {
        let text = "UPDATE lookback_runs SET slice = $1 WHERE id = $2 AND slice = $3";
        let binds = binds![i64::from(slice) + 1, id, slice];
        Ok(self.0.db.execute(text, binds).await? == 1)
    }

    /// Ends a run with its counts, and deletes the sessions that nobody has to look at. A run that is over is
    /// not changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_run(
        self,
        id: &str,
        phase: RunPhase,
        counts: RunCounts,
        error: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let text = "UPDATE lookback_runs SET phase = $1, found = $2, created = $3, skipped = $4, failed = $5, \
             pending = $6, error = $7, updated_at = $8 WHERE id = $9 AND phase NOT IN ('done', 'failed')";
        let binds = binds![
            phase.as_str(),
            counts.found,
            counts.created,
            counts.skipped,
            counts.failed,
            counts.pending,
            error,
            at,
            id,
        ];
        self.0.db.execute(text, binds).await?;
        sessions::delete(&self.0.db, id, false).await
    }

    /// Deletes runs that began before `before`, with their sessions; at most `limit` in one call. Returns how
    /// many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delete_runs(self, before: DateTime<Utc>, limit: u32) -> Result<u64, StoreError> {
        let text = "SELECT id FROM lookback_runs WHERE began_at < $1 ORDER BY began_at LIMIT $2";
        let old = self
            .0
            .db
            .list(text, binds![before, limit], |row| row.get::<String>("id"));
        let old = old.await?;
        for id in &old {
            sessions::delete(&self.0.db, id, true).await?;
            let text = "DELETE FROM lookback_runs WHERE id = $1";
            self.0.db.execute(text, binds![id]).await?;
        }
        Ok(old.len() as u64)
    }
}

fn run(row: &Row) -> sqlx::Result<LookbackRun> {
    Ok(LookbackRun {
        id: row.get("id")?,
        key: row.get("key")?,
        account: row.get("account")?,
        from: row.instant("from_at")?,
        to: row.instant("to_at")?,
        via: row.parsed("via")?,
        phase: row.parsed("phase")?,
        slice: u32::try_from(row.get::<i64>("slice")?).unwrap_or(u32::MAX),
        cursor: row.get("cursor")?,
        pages: row.count("pages")?,
        customers: row.count("customers")?,
        unreadable: row.count("unreadable")?,
        counts: RunCounts {
            found: row.count("found")?,
            created: row.count("created")?,
            skipped: row.count("skipped")?,
            failed: row.count("failed")?,
            pending: row.count("pending")?,
        },
        error: row.get("error")?,
        began_at: row.instant("began_at")?,
        updated_at: row.instant("updated_at")?,
    })
}
