//! Watermarks: the time ranges in which nothing is missing.

use sqlx::SqlStr;

use super::Watermark;
use crate::store::dialect::{Bind, Dialect, Fields};

/// The suffix of the detector in watermarks of test mode. Older tables do not distinguish the modes.
const TEST: &str = ".test";

/// Keeps the old range if the new one does not overlap it and ends no later. Replaces a range that ends in
/// the future, which a wrong clock set.
pub(super) async fn raise<D: Dialect>(connection: &mut D::Connection, mark: &Watermark) -> sqlx::Result<()> {
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
    let binds = vec![
        Bind::Text(&detector),
        Bind::Text(mark.account.as_deref().unwrap_or_default()),
        Bind::Instant(mark.from),
        Bind::Instant(mark.to),
        Bind::Instant(mark.updated_at),
        Bind::Instant(mark.updated_at + Watermark::SKEW),
    ];
    D::execute(connection, SqlStr::from_static(text), binds).await?;
    Ok(())
}

pub(super) async fn list<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<Vec<Watermark>> {
    let text = SqlStr::from_static("SELECT * FROM lookback_marks ORDER BY detector, account");
    let rows = D::rows(connection, text, Vec::new()).await?;
    rows.iter()
        .map(|row| {
            let detector: String = row.text("detector")?;
            let of_test = detector.strip_suffix(TEST);
            Ok(Watermark {
                is_test: of_test.is_some(),
                detector: of_test.unwrap_or(&detector).to_owned(),
                account: Some(row.text("account")?).filter(|account| !account.is_empty()),
                from: row.instant("from_at")?,
                to: row.instant("to_at")?,
                updated_at: row.instant("updated_at")?,
            })
        })
        .collect()
}
