//! The customer's page after payment, without a script.

use crate::program::PATIENCE;
use crate::reader::{ACTIVE, PAGE, Reader, Sight};
use crate::studio::{Studio, of};

const SUCCESS: &str = "✅ Success! Your pass is now active.";

fn bought(session: &str) -> String {
    format!("{PAGE}?success=true&session_id={session}")
}

/// Goes where the page sends a browser without scripts, until it sends nowhere.
async fn until_it_stays(reader: &Reader, mut seen: Sight) -> Sight {
    let going = async {
        while let Some(next) = seen.refresh() {
            // Sooner than a browser would.
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            seen = reader.get(&next).await;
        }
        seen
    };
    tokio::time::timeout(PATIENCE, going).await.expect("it stays")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_the_page_confirms_a_purchase_by_itself_once_the_webhook_is_there() {
    let mut studio = Studio::open_with("").await;
    let session = of(studio.shop.session(), "kari");
    let kari = Reader::signed_in(&studio, "kari").await;
    let first = kari.get(&bought(&session.session_id())).await;
    assert_eq!(first.message(), "⏳ Confirming your purchase… (1/15)");
    assert_eq!(
        first.attribute("surepass-passes", "data-state").as_deref(),
        Some("confirming")
    );
    assert_eq!(
        first.attribute("surepass-passes", "session"),
        Some(session.session_id())
    );
    assert_eq!(first.passes(ACTIVE).len(), 0);
    let next = first.refresh().unwrap();
    assert_eq!(next, format!("{}&attempt=2", bought(&session.session_id())));
    assert_eq!(
        kari.get(&next).await.message(),
        "⏳ Confirming your purchase… (2/15)"
    );
    studio.shop.buy(&session).await;
    studio.shop.start_worker().await;
    let last = until_it_stays(&kari, first).await;
    assert_eq!(last.message(), SUCCESS);
    assert_eq!(
        last.attribute("surepass-passes", "data-state").as_deref(),
        Some("active")
    );
    assert_eq!(
        last.passes(ACTIVE).len(),
        1,
        "the pass is on the page that says so"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn after_thirty_seconds_the_page_says_honestly_that_it_takes_long_and_refreshes_no_more() {
    let studio = Studio::open_with("").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let kari = Reader::signed_in(&studio, "kari").await;
    let at = async |attempt: &str| {
        let path = format!("{}&attempt={attempt}", bought(&session.session_id()));
        kari.get(&path).await
    };
    let last = at("15").await;
    assert_eq!(last.message(), "⏳ Confirming your purchase… (15/15)");
    assert!(last.refresh().unwrap().ends_with("&attempt=16"));
    for late in ["16", "17", "4294967296", "99999999999999999999"] {
        let seen = at(late).await;
        if late.len() < 10 {
            assert_eq!(
                seen.message(),
                "⚠️ Taking longer than expected. Your pass should appear shortly. Try refreshing the page."
            );
            assert_eq!(seen.refresh(), None);
        } else {
            assert_eq!(seen.message(), "⏳ Confirming your purchase… (1/15)");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_purchase_has_its_own_words_and_pending_is_never_failed() {
    let studio = Studio::open().await;
    let kari = Reader::signed_in(&studio, "kari").await;
    for (outcome, state, words) in [
        ("open", "unpaid", "ℹ️ This purchase has not been paid for yet."),
        (
            "unpaid",
            "pending",
            "⏳ Your payment is on its way. We will tell you when the bank confirms.",
        ),
        (
            "failed",
            "declined",
            "⚠️ The bank has not confirmed this payment, and nothing was charged. Please try again.",
        ),
        (
            "expired",
            "expired",
            "⚠️ This checkout has expired, and nothing was charged. Please start again.",
        ),
    ] {
        let session = studio.stripe.session("kari", outcome).await;
        let seen = kari.get(&bought(&session)).await;
        assert_eq!(seen.message(), words);
        assert_eq!(
            seen.attribute("surepass-passes", "data-state").as_deref(),
            Some(state)
        );
        assert_eq!(seen.refresh(), None);
    }
    // Paid, and no webhook came: Stripe was asked, and the next looks find the pass.
    let session = studio.stripe.session("kari", "paid").await;
    let first = kari.get(&bought(&session)).await;
    let last = until_it_stays(&kari, first).await;
    assert_eq!(last.message(), SUCCESS);
    // A dead letter: a sync has been asked for by this very look.
    let dead = of(studio.shop.session(), "kari")
        .with("passId", None)
        .with("passName", None);
    studio.shop.buy(&dead).await;
    studio.shop.settled().await;
    let seen = kari.get(&bought(&dead.session_id())).await;
    assert_eq!(seen.message(), "🔄 Syncing your passes…");
    assert!(seen.refresh().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_session_tells_nothing_on_the_page() {
    let studio = Studio::open().await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    studio.shop.settled().await;
    let ola = Reader::signed_in(&studio, "ola").await;
    let seen = ola.get(&bought(&session.session_id())).await;
    let unknown = ola.get(&bought("cs_test_nobodyknowsthisone")).await;
    assert_eq!(seen.message(), "⏳ Confirming your purchase… (1/15)");
    assert_eq!(
        seen.html
            .replace(&session.session_id(), "cs_test_nobodyknowsthisone"),
        unknown.html
    );
    let kari = Reader::signed_in(&studio, "kari").await;
    assert_eq!(kari.get(&bought(&session.session_id())).await.message(), SUCCESS);
    // Without `success` it is a visit like any other.
    let seen = kari
        .get(&format!("{PAGE}?session_id={}", session.session_id()))
        .await;
    assert_eq!(seen.message(), "");
}
