//! What stands in the way of a page, and rarer things that it says: that each looks as calm as the rest.

use serde_json::{Value, json};

use crate::chromium::fixture::Fixture;
use crate::chromium::shop_site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_checkout_that_is_not_paid_for_says_so_and_once_it_has_expired_that() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.visit(&studio.page_after(&checkout.session)).await;
    tab.hears(
        "ℹ️ This purchase is not paid yet, and you were not charged. Please finish the payment in the shop.",
    )
    .await;
    tab.screenshots("unpaid").await;
    let expire = format!("checkout/sessions/{}/expire", checkout.session);
    studio.stripe.post(&expire, &[]).await;
    tab.hears("⚠️ You were not charged: this checkout has expired.")
        .await;
    tab.screenshots("checkout-expired").await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_of_a_pass_that_is_over_says_so_and_never_that_it_is_active_now() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let ended = studio.bought("kari", "pass-10", 100, json!({})).await;
    let old = studio.bought("kari", "pass-10", 2, json!({})).await;
    let upgrade = json!({
        "type": "pass_upgrade", "upgradeFromSubscriptionId": format!("subscription-{old}"),
        "originalPassPrice": "1500", "newPassPrice": "1500", "upgradeCost": "0"
    });
    studio.bought("kari", "pass-month", 1, upgrade).await;
    for (session, message, name) in [
        (ended, "ℹ️ This pass has expired.", "ended"),
        (
            old,
            "ℹ️ This pass has been exchanged for another one.",
            "exchanged",
        ),
    ] {
        tab.visit(&studio.page_after(&session)).await;
        tab.hears(message).await;
        tab.arrives(&studio.page()).await;
        assert_eq!(tab.messages().await, [message]);
        tab.screenshots(name).await;
    }
    tab.visit(&format!("{}?sync=working", studio.page())).await;
    tab.hears("🔄 We are still checking your payments.").await;
    tab.screenshots("under-way").await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_of_a_page_is_told_calmly() {
    let mut studio = Fixture::prepare("address_requests_per_minute = 20\n").await;
    let tab = studio.browser_of("kari").await;
    let mut calls = 0;
    while tab.visit(&studio.page()).await != 429 {
        calls += 1;
        assert!(calls < 50, "never too many");
    }
    tab.screenshots("too-many").await;

    // A store that is away.
    let database = studio.shop.setting("DATABASE_URL").to_owned();
    studio
        .starts_again_with("DATABASE_URL", "postgres://surepass@127.0.0.1:9/surepass")
        .await;
    while tab.visit(&studio.page()).await != 503 {}
    tab.sees("h1:has-text('We will be right back')").await;
    tab.screenshots("away").await;

    studio.shop.set("DATABASE_URL", &database);
    studio.starts_again_with("SUREPASS_JWT_SECRET", "").await;
    assert_eq!(tab.visit(&studio.page()).await, 503);
    tab.sees("h1:has-text('Not set up yet')").await;
    tab.screenshots("not-open").await;
    tab.was_calm_but(&["429", "503"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_a_site_that_is_not_allowed_signs_nobody_in_and_says_so() {
    let site = Site::open();
    let studio = Fixture::prepare("").await;
    site.meets(studio.origin());
    let tab = studio.stranger(json!({})).await;
    tab.visit(&format!("{}/sign-in", site.origin())).await;
    tab.click("button").await;
    tab.sees("h1:has-text('Please try again')").await;
    assert_eq!(tab.does("context.cookies", Value::Array(vec![])).await, json!([]));
    tab.screenshots("forbidden").await;
    tab.was_calm_but(&["403"]).await;
}
