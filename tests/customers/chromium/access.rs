//! Who may see what: other customers, nobody, and who was signed in until now.

use serde_json::json;

use crate::chromium::fixture::{Fixture, LATE, LEEWAY, SUCCESS, token};

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_session_is_told_nothing_of_ever_and_looks_like_one_that_does_not_exist() {
    let studio = Fixture::open().await;
    let kari = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    kari.pays(&checkout).await;
    kari.sees("#passes li").await;

    let ola = studio.browser_of("ola").await;
    let other = ola.beside().await;
    let invented = checkout.session.replace("cs_test_", "cs_test_x");
    ola.visit(&studio.page_after(&checkout.session)).await;
    other.visit(&studio.page_after(&invented)).await;
    for tab in [&ola, &other] {
        tab.hears(LATE).await;
    }
    let said = ola.messages().await;
    assert_eq!(said, other.messages().await, "one tells more than the other");
    assert!(!said.iter().any(|message| message.contains('✅')), "{said:#?}");
    for tab in [&ola, &other] {
        let passes: Vec<_> = tab.said().await.iter().map(|said| said.passes).collect();
        assert!(passes.iter().all(|passes| *passes == 0), "{passes:?}");
        tab.visit(&studio.page()).await;
        assert_eq!(tab.count("#passes li").await, 0);
    }
    assert_eq!(studio.shop.subscriptions().await[0]["user"], "kari");
    for tab in [kari, ola, other] {
        tab.was_calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_or_no_longer_is_shown_the_way_to_the_shops_own_sign_in() {
    let studio = Fixture::open().await;
    let tab = studio.stranger(json!({})).await;
    for token in [None, Some(token("kari", -LEEWAY - 5))] {
        if let Some(token) = &token {
            studio.keep_cookie(&tab, token).await;
        }
        tab.visit(&studio.page()).await;
        tab.sees("main a[href^='http://localhost:9/sign-in?school=studio&return=']")
            .await;
        assert_eq!(tab.count("#passes li").await, 0);
        tab.screenshots(if token.is_some() { "expired" } else { "signed-out" })
            .await;
    }
    assert_eq!(
        tab.visit(&format!("{}/nowhere/subscriptions", studio.origin()))
            .await,
        404
    );
    tab.screenshots("unknown-shop").await;
    tab.was_calm_but(&["401", "404"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_while_the_page_waits_is_told_with_the_way_to_sign_in() {
    let studio = Fixture::prepare("").await;
    let tab = studio.stranger(json!({})).await;
    let checkout = studio.checkout("kari").await;
    studio.keep_cookie(&tab, &token("kari", 8 - LEEWAY)).await;
    tab.pays(&checkout).await;
    tab.sees("surepass-passes[data-state=signed_out]").await;
    tab.screenshots("signed-out-while-waiting").await;
    tab.click("surepass-passes [data-message] a").await;
    tab.sees("main a[href^='http://localhost:9/sign-in?school=studio&return=']")
        .await;
    let way_back = tab.evaluate("document.querySelector('main a').href").await;
    assert!(
        way_back.as_str().unwrap().contains(&checkout.session),
        "{way_back}"
    );
    tab.was_calm_but(&["401"]).await;
}

/// The cookie ends while its customer is at the hosted page; or the browser keeps it, and it is refused; or a phone comes back
/// in another browser, with none.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_from_checkout_signed_out_sees_the_purchase_confirmed_and_the_way_to_sign_in() {
    for cookie in [None, Some(token("kari", -LEEWAY - 5))] {
        let mut studio = Fixture::prepare("").await;
        let tab = studio.stranger(json!({})).await;
        if let Some(token) = &cookie {
            studio.keep_cookie(&tab, token).await;
        }
        let checkout = studio.checkout("kari").await;
        tab.pays(&checkout).await;
        tab.counts_to(2).await;
        if cookie.is_none() {
            tab.screenshots("alone-confirming").await;
        }
        let birth = tab.birth().await;
        studio.shop.start_worker().await;
        tab.hears(SUCCESS).await;
        tab.arrives(&studio.page()).await;
        if cookie.is_none() {
            tab.screenshots("alone-active").await;
        }
        let link = "main a[href^='http://localhost:9/sign-in?school=studio&return=']";
        assert_eq!(tab.count(link).await, 1);
        assert_eq!(tab.count("#passes, button").await, 0);
        assert!(!tab.text("body").await.contains("10 classes"));
        assert!(
            (tab.birth().await - birth).abs() < f64::EPSILON,
            "it was loaded again"
        );
        let messages = tab.messages().await;
        let (last, counts) = messages.split_last().unwrap();
        assert_eq!(last, SUCCESS);
        assert!(
            counts.iter().all(|message| message.starts_with('⏳')),
            "{messages:#?}"
        );
        assert_eq!(studio.shop.fulfilled().await, [checkout.session]);

        // Arrives when it is active already: nothing else is asked for.
        tab.visit(&studio.page_after(&studio.shop.fulfilled().await[0]))
            .await;
        tab.hears(SUCCESS).await;
        tab.arrives(&studio.page()).await;
        tab.was_calm().await;
    }
}

/// A browser drops the cookie when its token ends, and then the page has nothing but the session's id.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_while_the_page_waits_learns_that_the_purchase_is_active_and_nothing_else() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio.stranger(json!({})).await;
    let checkout = studio.checkout("kari").await;
    studio.sign_in(&tab, &token("kari", 8)).await;
    tab.pays(&checkout).await;
    tab.counts_to(6).await;
    let cookies = tab.does("context.cookies", json!([])).await;
    assert_eq!(cookies, json!([]), "the cookie has ended");
    studio.shop.start_worker().await;
    tab.hears(SUCCESS).await;
    studio.shop.worked_off().await;
    assert_eq!(tab.messages().await.last().unwrap(), SUCCESS);
    for _ in 0..2 {
        tab.click("form[data-missing] button").await;
        tab.sees("surepass-passes[data-state=signed_out]").await;
        tab.sees("form[data-missing]:not([aria-busy=true]) button:not([disabled])")
            .await;
    }
    assert_eq!(tab.count("surepass-passes [data-message] a").await, 1);
    let passes: Vec<_> = tab.said().await.iter().map(|said| said.passes).collect();
    assert!(passes.iter().all(|passes| *passes == 0), "{passes:?}");
    tab.was_calm_but(&["401"]).await;
}
