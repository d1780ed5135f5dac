//! Watermarks: the time ranges in which nothing is missing.

use super::{Lookback, Watermark};
use crate::store::StoreError;
use crate::store::database::{Row, binds};

/// The suffix of the detector in watermarks of test mode. Older tables do not distinguish the modes.
const TEST: &str = ".test";

impl Lookback<'_> {
    /// Records that nothing is missing from `mark.from` to `mark.to`. Extends the stored range if the two
    /// overlap; else the later one stays. A watermark never goes back, unless it is in the future of
    /// `mark.updated_at`, which a wrong clock set.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn raise_watermark(self, mark: &Watermark) -> Result<(), StoreError> {
        let text = "INSERT INTO lookback_marks (detector, account, from_at, to_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (detector, account) DO UPDATE SET \
             from_at = CASE WHEN lookback_marks.to_at > $6 OR excluded.from_at < lookback_marks.from_at \
                 OR excluded.from_at > lookback_marks.to_at THEN excluded.from_at ELSE lookback_marks.from_at END, \
             to_at = CASE WHEN lookback_marks.to_at > $6 OR excluded.to_at > lookback_marks.to_at \
                 THEN excluded.to_at ELSE lookback_marks.to_at END, \
             updated_at = excluded.updated_at \
             WHERE lookback_marks.to_at > $6 OR excluded.to_at >= lookback_marks.from_at \
                 AND (excluded.to_at > lookback_marks.to_at OR excluded.from_at < lookback_marks.from_at)";
        let of_test = if mark.is_test { TEST } else { "" };
        let detector = format!("{}{of_test}", mark.detector);
        let binds = binds![
            &detector,
            mark.account.as_deref().unwrap_or_default(),
            mark.from,
            mark.to,
            mark.updated_at,
            mark.updated_at + Watermark::SKEW,
        ];
        self.0.db.execute(text, binds).await.map(drop)
    }

    /// All watermarks.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn watermarks(self) -> Result<Vec<Watermark>, StoreError> {
        let text = "SELECT * FROM lookback_marks ORDER BY detector, account";
        self.0.db.list(text, binds![], watermark).await
    }
}

fn watermark(row: &Row) -> sqlx::Result<Watermark> {
    let detector: String = row.get("detector")?;
    let of_test = detector.strip_suffix(TEST);
    Ok(Watermark {
        is_test: of_test.is_some(),
        detector: of_test.unwrap_or(&detector).to_owned(),
        account: row.filled("account")?,
        from: row.instant("from_at")?,
        to: row.instant("to_at")?,
        updated_at: row.instant("updated_at")?,
    })
}
