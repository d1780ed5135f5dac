//! What is deleted in portions: whoever waits to write meanwhile must not wait for all of it.

use surepass::store::{RunCounts, RunPhase};

use crate::store::lookback::run;
use crate::store::statements::Statements;
use support::home::Home;
use support::purchases::minute;

contract!(
    what_a_long_run_has_found_is_dropped_in_statements_of_at_most_a_thousand_rows,
    open_sessions_that_are_too_old_are_dropped_in_statements_of_at_most_a_thousand_rows,
);

/// The most rows that one statement may delete.
const PORTION: u64 = 1_000;
/// Takes three statements, the last of which is not full.
const ROWS: u64 = 2_500;

/// Numbers from 1 to [`ROWS`], as the table `numbers (n)`.
fn numbers(home: &Home) -> String {
    match home {
        Home::Sqlite(_) => format!(
            "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS}) \
             SELECT n FROM numbers) AS numbers"
        ),
        Home::Postgres { .. } => format!("generate_series(1, {ROWS}) AS numbers (n)"),
    }
}

/// How many rows each statement has deleted from a table, none more than it may.
fn deleted(statements: &Statements, table: &str) -> Vec<u64> {
    let begin = format!("DELETE FROM {table} ");
    let all = statements.taken().into_iter();
    let rows = all
        .filter(|one| one.text.starts_with(&begin))
        .filter_map(|one| one.rows);
    let rows: Vec<u64> = rows.collect();
    assert!(rows.iter().all(|rows| *rows <= PORTION), "{table}: {rows:?}");
    rows
}

async fn what_a_long_run_has_found_is_dropped_in_statements_of_at_most_a_thousand_rows(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    for id in ["1", "2"] {
        records.begin_run(&run(id)).await.unwrap();
    }
    // Every fifth needs somebody's attention, and stays for as long as its run.
    let found = format!(
        "INSERT INTO lookback_sessions (run, session, customer, purchase, state, error) \
         SELECT run.id, 'cs_' || n, 'user_1', NULL, CASE WHEN n % 5 = 0 THEN 'dead' ELSE 'existing' END, NULL \
         FROM lookback_runs AS run, {}",
        numbers(&home)
    );
    home.run(&found).await;
    let statements = Statements::watched();
    statements.taken();

    let ended = records.end_run("1", RunPhase::Done, RunCounts::default(), None, minute(30));
    ended.await.unwrap();
    let rows = deleted(&statements, "lookback_sessions");
    assert_eq!((rows.len(), rows.iter().sum()), (3, ROWS / 5 * 4), "{rows:?}");
    let left = "SELECT count(*) FROM lookback_sessions WHERE run = '1'";
    assert_eq!(home.number(left).await, 500);
    let dead = format!("{left} AND state = 'dead'");
    assert_eq!(home.number(&dead).await, 500);

    assert_eq!(records.delete_runs(minute(11), 10).await.unwrap(), 2);
    let rows = deleted(&statements, "lookback_sessions");
    assert_eq!(rows.iter().sum::<u64>(), 500 + ROWS, "{rows:?}");
    assert!(rows.len() >= 4, "{rows:?}");
    assert_eq!(home.number("SELECT count(*) FROM lookback_sessions").await, 0);
}

async fn open_sessions_that_are_too_old_are_dropped_in_statements_of_at_most_a_thousand_rows(home: Home) {
    let store = home.ready().await;
    let at = |minutes| match home {
        Home::Sqlite(_) => minute(minutes).timestamp_millis().to_string(),
        Home::Postgres { .. } => format!("to_timestamp({})", minute(minutes).timestamp()),
    };
    let open = format!(
        "INSERT INTO lookback_open (customer, session, account, created_at) \
         SELECT 'user_' || n, 'cs_' || n, '', {} FROM {numbers}; \
         INSERT INTO lookback_open (customer, session, account, created_at) \
         SELECT 'young_' || n, 'cs_young_' || n, '', {} FROM {numbers}",
        at(0),
        at(20),
        numbers = numbers(&home)
    );
    home.run(&open).await;
    let statements = Statements::watched();
    statements.taken();

    assert_eq!(
        store
            .lookback()
            .delete_old_pending_sessions(minute(10))
            .await
            .unwrap(),
        ROWS
    );
    assert_eq!(deleted(&statements, "lookback_open"), [1_000, 1_000, 500]);
    let young = "SELECT count(*) FROM lookback_open WHERE customer LIKE 'young_%'";
    assert_eq!(home.number(young).await, 2_500);
    assert_eq!(home.number("SELECT count(*) FROM lookback_open").await, 2_500);
}
