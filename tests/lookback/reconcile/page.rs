//! What a person reads.

use chrono::TimeDelta;
use surepass::store::CreatedVia;

use crate::reconcile::fixture::{Fixture, listed};
use support::program::{stderr, stdout};

#[tokio::test]
async fn a_person_reads_a_calm_page_within_80_columns() {
    let fixture = Fixture::open().await;
    for (name, via, after) in [
        ("A", CreatedVia::Webhook, TimeDelta::milliseconds(900)),
        ("B", CreatedVia::Webhook, TimeDelta::seconds(3)),
        ("C", CreatedVia::Lookback, TimeDelta::hours(4)),
    ] {
        let session = Fixture::sold(name, 6);
        fixture.stripe.add("", listed(&session));
        fixture.fulfil(&session, via, after).await;
    }
    let lost = Fixture::sold("LOST", 26)
        .with("passId", Some("pass-gone"))
        .with("passName", None);
    fixture.stripe.add("", listed(&lost));
    let output = fixture.shop.surepass(&["reconcile"]).await;
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1));
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let (first, page) = said.split_once('\n').unwrap();
    assert!(first.starts_with("30 days: sessions created "), "{first}");
    assert_eq!(page, PAGE);
    assert_eq!(stderr(&output), "surepass: 1 missing, 0 doubled.\n");
}

const PAGE: &str = "
paid                  4   complete, paid, and for a pass
  fulfilled           3   have a subscription
    active            3   of these, active and not expired
  in flight           0   paid just now
  refunded            0   in full, without a subscription
  missing             1   paid, without a subscription
doubled               0   more than one subscription for a session or payment

SOURCE        COUNT   SHARE     P50  P99  MAX
webhook           2  66.7 %  900 ms  3 s  3 s
status            0   0.0 %
lookback          1  33.3 %     4 h  4 h  4 h
self-service      0   0.0 %
support           0   0.0 %
all               3             3 s  4 h  4 h

Slowest, from payment to subscription:
  cs_test_a10000000000000000000000000000000000000000000000000000000C

MISSING 1: paid, without a subscription
  cs_test_a10000000000000000000000000000000000000000000000000000LOST
    tenant-1 · 1500.00 NOK · paid 26 h ago · pi_30000000000000000000LOST
    unresolved_pass: paid at tenant `tenant-1`, but we cannot tell which pass
    was bought: no pass has the id `pass-gone`. Add the pass to the catalog
    (`surepass catalog import`) and retry the job, assign one (`surepass
    unmatched assign ID --pass P --why …`), or refund it
";
