//! Reading Stripe, and what happens where that does not go well.

use chrono::TimeDelta;
use surepass::store::CreatedVia;

use crate::office::{Office, listed};

#[tokio::test]
async fn all_pages_of_the_window_are_read_and_nothing_beyond_it() {
    let office = Office::open().await;
    // Whatever page a purchase stands on: 350 sessions, of which every tenth is paid and lost.
    let mut lost = Vec::new();
    for number in 0..350 {
        let session = Office::sold(&format!("P{number:03}"), 24 + number);
        let mut listed = listed(&session);
        if number % 10 == 0 {
            lost.push(session.session_id());
        } else {
            listed["status"] = "expired".into();
            listed["payment_status"] = "unpaid".into();
        }
        office.stripe.add("", listed);
    }
    office.stripe.add("", listed(&Office::sold("ANCIENT", 31 * 24)));
    let ledger = office.reconcile(&[]).await;
    assert_eq!(ledger.sessions("missing"), lost);
    assert_eq!((ledger.count("sessions"), office.stripe.calls()), (350, 4));
    let ledger = office.reconcile(&["--days", "2"]).await;
    assert_eq!(ledger.sessions("missing"), lost[..3]);
}

#[tokio::test]
async fn a_listing_that_breaks_off_says_how_far_it_came_and_never_all_fine() {
    let office = Office::open().await;
    for number in 0..250 {
        let session = Office::sold(&format!("P{number:03}"), 1 + number);
        office.stripe.add("", listed(&session));
        office
            .fulfil(&session, CreatedVia::Webhook, TimeDelta::seconds(1))
            .await;
    }
    office.stripe.fail("", 2, 401);
    let ledger = office.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.count("sessions"), 200);
    assert_eq!(ledger.json["complete"], false);
    let back_to = Office::sold("", 200).created.format("%Y-%m-%d %H:").to_string();
    for words in [
        "0 missing, 0 doubled as far as could be read, and that was not all: this proves nothing.",
        "Of the key's own account 200 sessions back to ",
        &back_to,
        "STRIPE_SECRET_KEY is wrong, expired or revoked",
    ] {
        assert!(ledger.stderr.contains(words), "{words}: {}", ledger.stderr);
    }
    // What the listing did not come to is not told as unknown.
    assert_eq!(ledger.json["unknownSession"]["count"], 0);

    office.stripe.mend();
    assert_eq!(office.reconcile(&[]).await.status, 0);
}

#[tokio::test]
async fn a_key_that_may_not_read_payments_still_proves_that_nothing_is_missing_and_says_what_was_not_looked_at()
 {
    let office = Office::open().await;
    office.stripe.forbid_payments();
    office.sell("A", 5).await;
    let ledger = office.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.json["paymentsRead"], false);
    assert_eq!(ledger.count("fulfilled"), 1);
}

#[tokio::test]
async fn without_a_key_there_is_a_clear_sentence_and_exit_status_1() {
    let mut office = Office::open().await;
    office.shop.set("STRIPE_SECRET_KEY", "");
    let ledger = office.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert!(
        ledger
            .stderr
            .starts_with("surepass: STRIPE_SECRET_KEY is not set: "),
        "{}",
        ledger.stderr
    );
}

#[tokio::test]
async fn it_needs_no_redis() {
    let mut office = Office::open().await;
    office.sell("A", 5).await;
    office.stripe.add("", listed(&Office::sold("LOST", 5)));
    office.shop.set("REDIS_URL", "redis://127.0.0.1:1");
    let ledger = office.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!((ledger.count("paid"), ledger.count("fulfilled")), (2, 1));
    assert!(
        ledger.stderr.contains("Redis does not answer"),
        "{}",
        ledger.stderr
    );
}
