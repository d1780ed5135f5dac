//! Inserts a batch of records in one transaction, with one call if the database takes several statements at
//! once.
//!
//! SQLite runs on its own thread, and the round trip costs more than the insert of a row. With `BEGIN`, the
//! rows and `COMMIT` in one call there is one round trip.

use std::sync::OnceLock;

use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};

use super::dialect::{Bind, Dialect, Insert, SIZES, power};

/// `N` insert statements. Each record is one row of each statement, in order.
#[derive(Debug)]
pub(super) struct BatchInsert<const N: usize> {
    inserts: [Insert; N],
    /// By the power of two of the row count, and by whether the text begins and ends the transaction.
    texts: [[OnceLock<SqlStr>; 4]; SIZES],
}

impl<const N: usize> BatchInsert<N> {
    pub(super) const fn new(inserts: [Insert; N]) -> Self {
        Self {
            inserts,
            texts: [const { [const { OnceLock::new() }; 4] }; SIZES],
        }
    }

    /// Inserts all records or none. After an error the connection may still be in the transaction.
    pub(super) async fn run<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        records: impl ExactSizeIterator<Item = [Vec<Bind<'_>>; N]> + Send,
    ) -> sqlx::Result<()> {
        if !D::JOINS_STATEMENTS {
            let mut transaction = connection.begin_with(D::begin(connection)).await?;
            let mut rows = [const { Vec::new() }; N];
            for record in records {
                for (rows, row) in rows.iter_mut().zip(record) {
                    rows.push(row);
                }
            }
            for (insert, rows) in self.inserts.iter().zip(rows) {
                insert.run::<D>(&mut transaction, rows.into_iter()).await?;
            }
            return transaction.commit().await;
        }
        let mut records = records;
        let mut begins = true;
        while records.len() > 0 {
            let power = power::<D>(records.len());
            let ends = records.len() == 1 << power;
            let mut widths = [0; N];
            let mut binds: [Vec<Bind<'_>>; N] = [const { Vec::new() }; N];
            for record in records.by_ref().take(1 << power) {
                for (nth, row) in record.into_iter().enumerate() {
                    widths[nth] = row.len();
                    binds[nth].extend(row);
                }
            }
            let text = self.texts[power][usize::from(begins) + 2 * usize::from(ends)]
                .get_or_init(|| self.text::<D>(1 << power, widths, begins, ends));
            D::execute(connection, text.clone(), binds.into_iter().flatten().collect()).await?;
            begins = false;
        }
        Ok(())
    }

    fn text<D: Dialect>(&self, rows: usize, widths: [usize; N], begins: bool, ends: bool) -> SqlStr {
        let inserts = self.inserts.iter().zip(widths);
        let statements: Vec<_> = begins
            .then(|| D::BEGIN.to_owned())
            .into_iter()
            .chain(inserts.map(|(insert, width)| insert.text::<D>(rows, width)))
            .chain(ends.then(|| "COMMIT".to_owned()))
            .collect();
        AssertSqlSafe(statements.join("; ")).into_sql_str()
    }
}
