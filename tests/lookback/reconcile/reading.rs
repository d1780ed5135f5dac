//! Reading Stripe, and what happens where that does not go well.

use chrono::TimeDelta;
use surepass::store::CreatedVia;

use crate::reconcile::fixture::{Fixture, listed};

#[tokio::test]
async fn all_pages_of_the_window_are_read_and_nothing_beyond_it() {
    let fixture = Fixture::open().await;
    // Whatever page a purchase stands on: 350 sessions, of which every tenth is paid and lost.
    let mut lost = Vec::new();
    for number in 0..350 {
        let session = Fixture::sold(&format!("P{number:03}"), 24 + number);
        let mut listed = listed(&session);
        if number % 10 == 0 {
            lost.push(session.session_id());
        } else {
            listed["status"] = "expired".into();
            listed["payment_status"] = "unpaid".into();
        }
        fixture.stripe.add("", listed);
    }
    fixture.stripe.add("", listed(&Fixture::sold("ANCIENT", 31 * 24)));
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.sessions("missing"), lost);
    assert_eq!((ledger.count("sessions"), fixture.stripe.calls()), (350, 4));
    let ledger = fixture.reconcile(&["--days", "2"]).await;
    assert_eq!(ledger.sessions("missing"), lost[..3]);
}

#[tokio::test]
async fn a_listing_that_breaks_off_says_how_far_it_came_and_never_all_fine() {
    let fixture = Fixture::open().await;
    for number in 0..250 {
        let session = Fixture::sold(&format!("P{number:03}"), 1 + number);
        fixture.stripe.add("", listed(&session));
        fixture
            .fulfil(&session, CreatedVia::Webhook, TimeDelta::seconds(1))
            .await;
    }
    fixture.stripe.fail("", 2, 401);
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(ledger.count("sessions"), 200);
    assert_eq!(ledger.json["complete"], false);
    let back_to = Fixture::sold("", 200).created.format("%Y-%m-%d %H:").to_string();
    for words in [
        "0 missing, 0 doubled so far, but not everything could be read: this proves nothing.",
        "Only 200 sessions of the key's own account back to ",
        &back_to,
        "STRIPE_SECRET_KEY is wrong, expired or revoked",
    ] {
        assert!(ledger.stderr.contains(words), "{words}: {}", ledger.stderr);
    }
    // What the listing did not come to is not told as unknown.
    assert_eq!(ledger.json["unknownSession"]["count"], 0);

    fixture.stripe.mend();
    assert_eq!(fixture.reconcile(&[]).await.status, 0);
}

#[tokio::test]
async fn a_key_that_may_not_read_payments_still_proves_that_nothing_is_missing_and_says_what_was_not_looked_at()
 {
    let fixture = Fixture::open().await;
    fixture.stripe.forbid_payments();
    fixture.sell("A", 5).await;
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 0);
    assert_eq!(ledger.json["paymentsRead"], false);
    assert_eq!(ledger.count("fulfilled"), 1);
}

#[tokio::test]
async fn without_a_key_there_is_a_clear_sentence_and_exit_status_1() {
    let mut fixture = Fixture::open().await;
    fixture.shop.set("STRIPE_SECRET_KEY", "");
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert!(
        ledger
            .stderr
            .starts_with("surepass: STRIPE_SECRET_KEY is not set, so Stripe cannot be asked."),
        "{}",
        ledger.stderr
    );
}

#[tokio::test]
async fn it_needs_no_redis() {
    let mut fixture = Fixture::open().await;
    fixture.sell("A", 5).await;
    fixture.stripe.add("", listed(&Fixture::sold("LOST", 5)));
    fixture.shop.set("REDIS_URL", "redis://127.0.0.1:1");
    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!((ledger.count("paid"), ledger.count("fulfilled")), (2, 1));
    assert!(
        ledger.stderr.contains("Redis is not responding"),
        "{}",
        ledger.stderr
    );
}
