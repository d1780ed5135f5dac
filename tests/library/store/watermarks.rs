//! What the sweeps have proven, and what they have met without an end.

use chrono::{DateTime, Utc};
use surepass::store::{PendingSession, RunPhase, RunStep, Watermark};

use crate::store::lookback::{run, step};
use support::home::Home;
use support::purchases::minute;

contract!(
    sessions_without_an_end_are_kept_by_whose_they_may_be_until_they_are_closed,
    a_mark_is_extended_where_spans_join_and_never_goes_back,
    marks_of_live_and_of_test_payments_are_apart,
    a_mark_that_a_clock_of_next_year_has_raised_gives_way_to_the_next_one,
);

async fn sessions_without_an_end_are_kept_by_whose_they_may_be_until_they_are_closed(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let open = |session: &str, account: Option<&str>, customers: &[&str], minutes| PendingSession {
        session: session.to_owned(),
        account: account.map(str::to_owned),
        customers: customers.iter().map(ToString::to_string).collect(),
        created_at: minute(minutes),
    };
    let list = async |account, customers: &[&str], from, limit| {
        records
            .pending_sessions(account, customers, minute(from), limit)
            .await
            .unwrap()
    };
    records.begin_run(&run("1")).await.unwrap();
    let first = RunStep {
        pending: vec![
            open("cs_a", None, &["cus_1", "email-1"], 1),
            open("cs_b", None, &["email-1"], 2),
            open("cs_b", None, &["email-1"], 2),
            open("cs_c", Some("acct_1"), &["email-1"], 3),
            open("cs_nobody", None, &[], 4),
        ],
        ..step(RunPhase::Listing, "cs_b")
    };
    assert!(records.save_step(&run("1"), &first, &[]).await.unwrap());
    assert_eq!(list(None, &["cus_1", "email-1"], 0, 10).await, ["cs_b", "cs_a"]);
    assert_eq!(list(None, &["cus_1", "email-1"], 0, 1).await, ["cs_b"]);
    assert_eq!(list(None, &["cus_1", "email-1"], 2, 10).await, ["cs_b"]);
    assert_eq!(list(None, &["cus_1"], 0, 10).await, ["cs_a"]);
    assert_eq!(list(Some("acct_1"), &["email-1"], 0, 10).await, ["cs_c"]);
    assert!(list(None, &["cus_2"], 0, 10).await.is_empty());
    assert!(list(None, &[], 0, 10).await.is_empty());

    // A step that comes late writes neither.
    let late = RunStep {
        pending: vec![open("cs_late", None, &["cus_1"], 5)],
        resolved: vec!["cs_a".to_owned()],
        ..step(RunPhase::Listing, "cs_c")
    };
    assert!(!records.save_step(&run("1"), &late, &[]).await.unwrap());
    assert_eq!(list(None, &["cus_1"], 0, 10).await, ["cs_a"]);
    let now = records.run("1").await.unwrap().unwrap();
    assert!(records.save_step(&now, &late, &[]).await.unwrap());
    assert_eq!(
        list(None, &["cus_1", "email-1"], 0, 10).await,
        ["cs_late", "cs_b"]
    );

    records
        .remove_pending_sessions(&["cs_b", "cs_unknown"])
        .await
        .unwrap();
    records.remove_pending_sessions(&[]).await.unwrap();
    assert_eq!(list(None, &["cus_1", "email-1"], 0, 10).await, ["cs_late"]);
    assert_eq!(records.delete_old_pending_sessions(minute(5)).await.unwrap(), 1);
    assert_eq!(list(None, &["cus_1"], 0, 10).await, ["cs_late"]);
    assert!(list(Some("acct_1"), &["email-1"], 0, 10).await.is_empty());
}

async fn a_mark_is_extended_where_spans_join_and_never_goes_back(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let raise = async |account: Option<&str>, from: i64, to: i64| {
        let mark = Watermark {
            detector: "sessions".to_owned(),
            account: account.map(str::to_owned),
            is_test: false,
            from: minute(from),
            to: minute(to),
            updated_at: minute(1_000),
        };
        records.raise_watermark(&mark).await.unwrap();
        let marks = records.watermarks().await.unwrap();
        let own = marks.into_iter().find(|mark| mark.account.as_deref() == account);
        own.map(|mark| (mark.from, mark.to)).unwrap()
    };
    let span = |from, to| -> (DateTime<Utc>, DateTime<Utc>) { (minute(from), minute(to)) };
    assert_eq!(raise(None, 100, 200).await, span(100, 200));
    assert_eq!(raise(None, 150, 250).await, span(100, 250), "they overlap");
    assert_eq!(raise(None, 250, 300).await, span(100, 300), "they touch");
    assert_eq!(raise(None, 120, 180).await, span(100, 300), "it lies within");
    assert_eq!(
        raise(None, 50, 180).await,
        span(50, 300),
        "it reaches further back"
    );
    assert_eq!(
        raise(None, 10, 20).await,
        span(50, 300),
        "it is older, with a gap"
    );
    assert_eq!(
        raise(None, 400, 500).await,
        span(400, 500),
        "after a gap nothing before is proven"
    );
    assert_eq!(raise(Some("acct_1"), 1, 2).await, span(1, 2));
    assert_eq!(raise(None, 450, 600).await, span(400, 600));
    assert_eq!(records.watermarks().await.unwrap().len(), 2);
}

async fn a_mark_that_a_clock_of_next_year_has_raised_gives_way_to_the_next_one(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let raise = async |from: i64, to: i64, now: i64| {
        let mark = Watermark {
            detector: "sessions".to_owned(),
            account: None,
            is_test: false,
            from: minute(from),
            to: minute(to),
            updated_at: minute(now),
        };
        records.raise_watermark(&mark).await.unwrap();
        let mark = records.watermarks().await.unwrap().remove(0);
        (mark.from, mark.to)
    };
    let span = |from, to| (minute(from), minute(to));
    let next_year = 365 * 24 * 60;
    assert_eq!(raise(100, next_year, next_year).await, span(100, next_year));
    assert_eq!(raise(150, 200, 201).await, span(150, 200));
    // Clocks may differ a little.
    assert_eq!(raise(140, 205, 206).await, span(140, 205));
    assert_eq!(raise(150, 199, 200).await, span(140, 205));
    assert_eq!(raise(150, 198, 199).await, span(150, 198));
}

async fn marks_of_live_and_of_test_payments_are_apart(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let mark = |is_test: bool, to: i64| Watermark {
        detector: "sessions".to_owned(),
        account: Some("acct_1".to_owned()),
        is_test,
        from: minute(0),
        to: minute(to),
        updated_at: minute(to),
    };
    for one in [mark(false, 100), mark(true, 90), mark(true, 200)] {
        records.raise_watermark(&one).await.unwrap();
    }
    let mut marks = records.watermarks().await.unwrap();
    marks.sort_by_key(|mark| mark.is_test);
    assert_eq!(marks, [mark(false, 100), mark(true, 200)]);
}
