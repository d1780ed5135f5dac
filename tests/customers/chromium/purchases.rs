//! From "payment done" to "your pass is active".

use reqwest::Method;
use serde_json::json;

use crate::chromium::fixture::{Checkout, Fixture, LATE, SUCCESS, SYNCING, confirming};
use crate::chromium::tab::Tab;

/// Waits until the page has settled after a purchase: the passes are listed and the address names no session any more.
async fn sees_its_passes(tab: &Tab, studio: &Fixture, passes: usize) {
    tab.sees(&format!("#passes li >> nth={}", passes - 1)).await;
    tab.arrives(&studio.page()).await;
    assert_eq!(tab.count("#passes li").await, passes);
    assert!(tab.text("#passes").await.contains("10 classes"));
}

/// From the first attempt on, each in its turn; a busy machine may sleep through some.
fn assert_counts_up(messages: &[String]) {
    let all: Vec<_> = (1..=15).map(confirming).collect();
    let nth = |message: &String| all.iter().position(|one| one == message).expect("a count");
    let counts: Vec<_> = messages.iter().map(nth).collect();
    assert!(
        counts.is_sorted() && counts[0] == 0 && counts.len() > 2,
        "{messages:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_normal_purchase_is_active_within_5_s_of_the_hosted_page() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    let success = format!("[data-message]:has-text({})", json!(SUCCESS));
    tab.does("waitForSelector", json!([success, {"timeout": 5_000}]))
        .await;
    sees_its_passes(&tab, &studio, 1).await;
    tab.screenshots("active").await;
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_webhook_is_late_the_page_counts_and_then_the_list_is_refreshed_in_place() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    // Nothing but the webhook can tell of it: Stripe's API does not answer.
    let away = json!({"error": 100, "paths": ["/v1/checkout/sessions"]});
    studio
        .stripe
        .faults(json!({"deliveries": {"drop": 100}, "api": away}))
        .await;
    tab.pays(&checkout).await;
    let birth = tab.birth().await;
    // It begins when ten seconds have passed.
    tab.counts_to(6).await;
    studio.stripe.faults(json!({"api": away})).await;
    studio.resend(&checkout.session).await;
    tab.hears(SUCCESS).await;
    sees_its_passes(&tab, &studio, 1).await;

    let messages = tab.messages().await;
    let (last, counts) = messages.split_last().unwrap();
    assert_eq!(last, SUCCESS);
    assert_counts_up(counts);
    let said = tab.said().await;
    assert!(
        said.iter()
            .all(|one| one.passes == 0 || one.state != "confirming"),
        "{said:#?}"
    );
    assert!(
        (tab.birth().await - birth).abs() < f64::EPSILON,
        "it was loaded again"
    );
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_webhook_never_comes_the_status_finds_the_purchase_at_stripe() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    // Lists are not to be had, so that no sync can find it.
    let no_lists = json!({"path": "/v1/checkout/sessions", "nth": 1, "times": 1_000_000, "fault": "error"});
    studio
        .stripe
        .faults(json!({"deliveries": {"drop": 100}, "api": {"once": [no_lists]}}))
        .await;
    tab.pays(&checkout).await;
    tab.hears(SUCCESS).await;
    sees_its_passes(&tab, &studio, 1).await;
    let subscriptions = studio.shop.subscriptions().await;
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0]["createdVia"], "status");
    assert_eq!(subscriptions[0]["stripeSessionId"], checkout.session);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_the_page_says_honestly_that_it_takes_longer_and_then_the_pass_comes_by_itself() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.counts_to(2).await;
    tab.screenshots("confirming").await;
    tab.hears(LATE).await;
    tab.screenshots("late").await;
    let messages = tab.messages().await;
    let (last, counts) = messages.split_last().unwrap();
    assert_eq!(last, LATE);
    assert_counts_up(counts);

    let birth = tab.birth().await;
    studio.shop.start_worker().await;
    tab.hears(SUCCESS).await;
    sees_its_passes(&tab, &studio, 1).await;
    assert!(
        (tab.birth().await - birth).abs() < f64::EPSILON,
        "it was loaded again"
    );
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm().await;
}

/// A pass that only its price names: the worker reads the session's line items before it concludes anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_that_only_its_line_items_explain_gets_its_pass_without_a_sync() {
    let studio = Fixture::open().await;
    let form = [
        ("unit_amount", "150000"),
        ("currency", "nok"),
        ("product_data[name]", "10 classes"),
    ];
    let price = studio.stripe.post("prices", &form).await["id"].clone();
    let price = price.as_str().unwrap();
    let catalog = std::fs::read_to_string(support::shop::EXAMPLE_CATALOG).unwrap();
    let priced = catalog.replace("stripePriceIds = []", &format!("stripePriceIds = [\"{price}\"]"));
    let file = studio.shop.file("priced.toml", &priced);
    let imported = studio
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());

    let tab = studio.browser_of("kari").await;
    let parameters = [("metadata[userId]", "kari"), ("line_items[0][price]", price)];
    let checkout = studio.checkout_of(&studio.page(), &parameters).await;
    tab.pays(&checkout).await;
    sees_its_passes(&tab, &studio, 1).await;
    let messages = tab.messages().await;
    assert!(messages.iter().all(|message| message != SYNCING), "{messages:#?}");
    assert!(messages.last().unwrap().starts_with('✅'), "{messages:#?}");
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm().await;
}

/// A pass that nobody sells: only a person can mend that.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_that_no_sync_can_mend_is_told_with_its_reference_and_whom_to_ask() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let parameters = [("metadata[userId]", "kari"), ("metadata[passId]", "pass-none")];
    let checkout = studio.checkout_of(&studio.page(), &parameters).await;
    tab.pays(&checkout).await;
    let open = studio.shop.json(&["unmatched", "list", "--json"]).await;
    let reference = open[0]["reference"].as_str().unwrap();
    tab.hears(&format!(
        "⚠️ We received your payment but couldn't activate your pass yet. You won't be charged again. Contact Studio One and \
         quote {reference}."
    ))
    .await;
    let messages = tab.messages().await;
    assert!(messages.iter().any(|message| message == SYNCING), "{messages:#?}");
    tab.screenshots("problem").await;
    assert_eq!(tab.count("#passes .pass").await, 0);
    tab.was_calm().await;
}

/// A checkout that names no pass and whose price no pass has.
async fn gift_card(studio: &Fixture) -> Checkout {
    let success = format!(
        "{}?success=true&session_id={{CHECKOUT_SESSION_ID}}",
        studio.page()
    );
    let form = [
        ("mode", "payment"),
        ("success_url", success.as_str()),
        ("metadata[userId]", "kari"),
        ("line_items[0][price_data][unit_amount]", "12300"),
        ("line_items[0][price_data][currency]", "nok"),
        ("line_items[0][price_data][product_data][name]", "A gift card"),
    ];
    let session = studio.stripe.post("checkout/sessions", &form).await;
    let text = |name: &str| session[name].as_str().unwrap().to_owned();
    Checkout {
        session: text("id"),
        url: text("url"),
    }
}

/// Nothing names a pass, and no pass has its price: a person must look.
#[tokio::test(flavor = "multi_thread")]
async fn an_unmatched_payment_is_said_to_be_safe_with_its_reference_and_no_sync() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = gift_card(&studio).await;
    tab.pays(&checkout).await;
    tab.hears("We received your payment, and you won't be charged again.")
        .await;
    let messages = tab.messages().await;
    let last = messages.last().unwrap();
    let open = studio.shop.json(&["unmatched", "list", "--json"]).await;
    assert!(last.contains(open[0]["reference"].as_str().unwrap()), "{last}");
    assert!(messages.iter().all(|message| message != SYNCING), "{messages:#?}");
    tab.screenshots("unmatched").await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_that_is_over_says_that_it_was_closed_or_refunded_and_waits_for_nothing() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    for (picture, message) in [
        (
            "closed",
            "ℹ️ We received your payment, and you won't be charged again. The shop has checked it and closed the case, so no pass \
             appears here. Questions? Contact Studio One and quote ",
        ),
        (
            "refunded",
            "ℹ️ This payment was refunded in full, so there is no pass for it. Questions? Contact Studio One.",
        ),
    ] {
        let Checkout { session, url } = gift_card(&studio).await;
        tab.pays(&Checkout {
            session: session.clone(),
            url,
        })
        .await;
        tab.hears("We received your payment, and you won't be charged again.")
            .await;
        let close = ["unmatched", "close", &session, "--why", "paid in cash"];
        let sync = ["sync", "--session", &session, "--tenant", "studio"];
        if picture == "refunded" {
            let held = studio
                .stripe
                .get(&format!("checkout/sessions/{session}"), &[])
                .await;
            let payment = held["payment_intent"].as_str().unwrap();
            studio
                .stripe
                .post("refunds", &[("payment_intent", payment)])
                .await;
        }
        let act = if picture == "closed" {
            &close[..]
        } else {
            &sync[..]
        };
        assert!(studio.shop.surepass(act).await.status.success());
        tab.visit(&studio.page_after(&session)).await;
        tab.hears(message).await;
        tab.arrives(&studio.page()).await;
        assert_eq!(tab.messages().await.len(), 1, "rendered so, and not changed");
        tab.screenshots(picture).await;
    }
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_transfer_is_on_its_way_and_never_failed_until_the_bank_has_spoken() {
    let studio = Fixture::open().await;
    let parameters = [
        ("metadata[userId]", "kari"),
        ("metadata[passId]", "pass-10"),
        ("payment_method_types[]", "sepa_debit"),
    ];
    for arrives in [true, false] {
        let tab = studio.browser_of("kari").await;
        let checkout = studio.checkout_of(&studio.page(), &parameters).await;
        tab.visit(&checkout.url).await;
        tab.fill("input[name=email]", "kari@example.com").await;
        tab.click("button[value=transfer]").await;
        tab.hears("⏳ Your bank transfer is being processed, usually 1–3 days. Your pass appears here as soon as it arrives. You can close this page.")
            .await;
        if arrives {
            tab.screenshots("pending").await;
        }
        let settle = format!("sessions/{}/settle", checkout.session);
        studio
            .stripe
            .control(Method::POST, &settle, json!({"arrives": arrives}))
            .await;
        if arrives {
            tab.hears(SUCCESS).await;
            sees_its_passes(&tab, &studio, 1).await;
        } else {
            tab.hears("⚠️ You were not charged: your bank declined this payment.")
                .await;
            tab.screenshots("declined").await;
        }
        let messages = tab.messages().await;
        assert!(
            !messages.iter().any(|message| message.contains("failed")),
            "{messages:#?}"
        );
        tab.was_calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_of_one_purchase_both_show_it_and_it_is_there_once() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    let other = tab.beside().await;
    other.visit(&studio.page_after(&checkout.session)).await;
    tab.counts_to(2).await;
    studio.shop.start_worker().await;
    for tab in [&tab, &other] {
        tab.hears(SUCCESS).await;
        sees_its_passes(tab, &studio, 1).await;
    }
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    for tab in [tab, other] {
        tab.was_calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_back_and_forward_after_success_is_not_asked_to_wait_again() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.hears(SUCCESS).await;
    sees_its_passes(&tab, &studio, 1).await;
    tab.does("goBack", json!([])).await;
    assert!(tab.address().await.contains("/pay/"), "the hosted page");
    tab.does("goForward", json!([])).await;
    sees_its_passes(&tab, &studio, 1).await;
    let messages = tab.messages().await;
    assert!(
        !messages.iter().any(|message| message.contains('⏳')),
        "{messages:#?}"
    );
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm().await;
}
