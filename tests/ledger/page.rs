//! What a person reads.

use chrono::TimeDelta;
use surepass::store::CreatedVia;

use crate::office::{Office, listed};
use crate::program::{stderr, stdout};

#[tokio::test]
async fn a_person_reads_a_calm_page_within_80_columns() {
    let office = Office::open().await;
    for (name, via, after) in [
        ("A", CreatedVia::Webhook, TimeDelta::milliseconds(900)),
        ("B", CreatedVia::Webhook, TimeDelta::seconds(3)),
        ("C", CreatedVia::Lookback, TimeDelta::hours(4)),
    ] {
        let session = Office::sold(name, 6);
        office.stripe.add("", listed(&session));
        office.fulfil(&session, via, after).await;
    }
    let lost = Office::sold("LOST", 26)
        .with("passId", Some("pass-gone"))
        .with("passName", None);
    office.stripe.add("", listed(&lost));
    let output = office.shop.surepass(&["reconcile"]).await;
    let said = stdout(&output);
    println!("{said}");
    assert_eq!(output.status.code(), Some(1));
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let (first, page) = said.split_once('\n').unwrap();
    assert!(first.starts_with("30 days: sessions created "), "{first}");
    assert_eq!(page, PAGE);
    assert_eq!(stderr(&output), "surepass: 1 missing, 0 doubled.\n");
}

const PAGE: &str = "";
