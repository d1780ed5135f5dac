//! The customer's page after payment, without a script.

use chrono::TimeDelta;
use serde_json::json;

use crate::fixture::{Fixture, of};
use crate::reader::{ACTIVE, OVER, PAGE, Reader, Sight, hold};
use crate::sign_in::claims_with;
use support::program::PATIENCE;
use support::shop::now;

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
    let mut studio = Fixture::open_with("").await;
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
    let studio = Fixture::open_with("").await;
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
                "⚠️ This is taking longer than expected. Your payment is safe. This page updates by itself; you can also refresh it, or come back later."
            );
            assert_eq!(seen.refresh(), None);
        } else {
            assert_eq!(seen.message(), "⏳ Confirming your purchase… (1/15)");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_of_a_purchase_has_its_own_words_and_pending_is_never_failed() {
    let studio = Fixture::open().await;
    let kari = Reader::signed_in(&studio, "kari").await;
    for (outcome, state, words) in [
        (
            "open",
            "unpaid",
            "ℹ️ This purchase is not paid yet, and you were not charged. Please finish the payment in the shop.",
        ),
        (
            "unpaid",
            "pending",
            "⏳ Your bank transfer is being processed, usually 1–3 days. Your pass appears here as soon as it arrives. You can close this page.",
        ),
        (
            "failed",
            "declined",
            "⚠️ You were not charged: your bank declined this payment. Please try again, or pay in another way.",
        ),
        (
            "expired",
            "expired",
            "⚠️ You were not charged: this checkout has expired. Please start again in the shop.",
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
    // Where that has not helped, the page does not say that the pass will come.
    let last = format!("{}&attempt=16", bought(&dead.session_id()));
    let open = studio.shop.json(&["unmatched", "list", "--json"]).await;
    let reference = open[0]["reference"].as_str().unwrap();
    for (lang, words) in [
        (
            "en",
            "⚠️ We received your payment but couldn't activate your pass yet. You won't be charged again. Contact Studio One \
             and quote",
        ),
        (
            "nb",
            "⚠️ Vi har mottatt betalingen din, men fikk ikke aktivert kortet ennå. Du blir ikke belastet igjen. Kontakt \
             Studio One og oppgi",
        ),
    ] {
        let seen = kari.get(&format!("{last}&lang={lang}")).await;
        assert_eq!(seen.message(), format!("{words} {reference}."));
        assert_eq!(seen.refresh(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_session_tells_nothing_on_the_page() {
    let studio = Fixture::open().await;
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

/// A token of a minute ends while its customer pays, and a phone may come back in another browser.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_signed_out_learns_that_the_purchase_is_active_and_nothing_else_and_where_to_sign_in()
{
    let mut studio =
        Fixture::open_with("sign_in_url = \"https://{tenant}.example.com/sign-in?next={return}\"").await;
    let ended = claims_with("kari", "exp", json!(now().timestamp() - 120));
    let ended = studio.sign_in.signed("rsa", ended).await;
    let readers = [
        Reader::stranger(&studio),
        Reader::with_cookie(&studio, &ended),
        Reader::with_cookie(&studio, "rubbish"),
        Reader::stranger(&studio).sending("Authorization", "Basic a2FyaTprYXJp"),
    ];
    let mut fresh = of(studio.shop.session(), "kari");
    fresh.created = now() - TimeDelta::minutes(2);
    let mut old = of(studio.shop.session(), "kari");
    old.created = now() - TimeDelta::minutes(61);
    for reader in &readers {
        let seen = reader
            .get(&format!("{}&attempt=3", bought(&fresh.session_id())))
            .await;
        assert_eq!((seen.status, seen.text("h1")), (200, "Your passes".to_owned()));
        assert_eq!(seen.message(), "⏳ Confirming your purchase… (3/15)");
        let next = format!("{}&attempt=4", bought(&fresh.session_id()));
        assert_eq!(seen.refresh(), Some(next));
        assert!(
            seen.text("main").contains("Your passes are safe"),
            "{}",
            seen.html
        );
        // Who signs in sees the first look again.
        assert_eq!(
            seen.attribute("main a", "href").unwrap(),
            format!(
                "https://studio.example.com/sign-in?next=%2Fstudio%2Fsubscriptions%3Fsuccess%3Dtrue%26session_id%3D{}",
                fresh.session_id()
            )
        );
        assert_eq!(seen.texts("#passes, form, button"), [""; 0]);
        assert_eq!(seen.attributes("script", "src").len(), 1, "{}", seen.html);
        let late = reader
            .get(&format!("{}&attempt=16", bought(&fresh.session_id())))
            .await;
        assert!(
            late.message().starts_with("⚠️ This is taking longer"),
            "{}",
            late.html
        );
        assert_eq!(late.refresh(), None);
    }

    studio.shop.buy(&fresh).await;
    studio.shop.buy(&old).await;
    studio.shop.start_worker().await;
    studio.shop.settled().await;
    for reader in &readers {
        let seen = reader.get(&bought(&fresh.session_id())).await;
        assert_eq!((seen.status, seen.message()), (200, SUCCESS.to_owned()));
        assert_eq!(seen.refresh(), None);
        assert_eq!(seen.texts("#passes, form, button"), [""; 0]);
        for personal in ["10 classes", "kari", "Valid until"] {
            assert!(!seen.html.contains(personal), "{personal}: {}", seen.html);
        }
        // What is another tenant's, too old or unknown looks alike.
        let unknown = reader.get(&bought("cs_test_nobodyknowsthisone")).await;
        assert_eq!(unknown.message(), "⏳ Confirming your purchase… (1/15)");
        let seen = reader.get(&bought(&old.session_id())).await;
        let as_unknown = seen.html.replace(&old.session_id(), "cs_test_nobodyknowsthisone");
        assert_eq!(as_unknown, unknown.html);
        let elsewhere = bought(&fresh.session_id()).replace("/studio/", "/other/");
        let seen = reader.get(&elsewhere).await;
        assert_eq!(seen.message(), "⏳ Confirming your purchase… (1/15)");
    }
    let kari = Reader::signed_in(&studio, "kari").await;
    let seen = kari.get(&bought(&fresh.session_id())).await;
    assert_eq!((seen.message().as_str(), seen.passes(ACTIVE).len()), (SUCCESS, 2));
}

/// Each look is one call.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_signed_out_has_the_limit_of_calls_that_everybody_has() {
    let studio = Fixture::open_with("address_requests_per_minute = 6").await;
    let stranger = Reader::stranger(&studio);
    // Three at once, and one more each ten seconds.
    for look in 0..20 {
        let status = stranger.get(&bought("cs_test_1")).await.status;
        if status == 429 {
            assert!(look >= 3, "refused at look {look}");
            return;
        }
        assert_eq!(status, 200);
    }
    panic!("never refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_whose_pass_has_ended_is_not_said_to_be_active_now() {
    let studio = Fixture::open_with("").await;
    hold(&studio, "kari", "over", |pass| {
        pass.end_date = now() - TimeDelta::days(1);
    })
    .await;
    let kari = Reader::signed_in(&studio, "kari").await;
    let seen = kari.get(&bought("cs_test_over")).await;
    assert_eq!(seen.message(), "ℹ️ This pass has expired.");
    assert_eq!((seen.refresh(), seen.passes(OVER).len()), (None, 1));
    let told = studio
        .told(&studio.sign_in.token("kari").await, "cs_test_over")
        .await;
    assert_eq!(
        (&told["found"], &told["state"], &told["message"]),
        (&json!(true), &json!("active"), &json!("This pass has expired."))
    );
    let pass = &told["subscription"];
    assert_eq!(
        (&pass["isActive"], &pass["isExpired"]),
        (&json!(true), &json!(true))
    );
}
