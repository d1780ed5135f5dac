//! Without JavaScript.

use serde_json::json;

use crate::chromium::fixture::Fixture;
use crate::chromium::tab::Tab;

async fn picture(tab: &Tab, name: &str) {
    tab.picture(&format!("{name}-390-light")).await;
    assert_eq!(tab.overflow().await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_page_refreshes_itself_until_the_pass_is_there() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio
        .browser_with("kari", json!({"javaScriptEnabled": false}))
        .await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.counts_to(1).await;
    picture(&tab, "plain-confirming").await;
    tab.counts_to(3).await;
    studio.shop.start_worker().await;
    tab.sees("[data-message]:has-text('✅ Success! Your pass is now active.')")
        .await;
    tab.sees("#passes li:has-text('10 classes')").await;
    picture(&tab, "plain-active").await;
    assert_eq!(studio.shop.fulfilled().await, [checkout.session]);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_the_button_is_a_form_that_finds_what_is_missing() {
    let studio = Fixture::open().await;
    let tab = studio
        .browser_with("kari", json!({"javaScriptEnabled": false}))
        .await;
    tab.visit(&studio.page()).await;
    studio.quiet_sync_is_over().await;
    let missed = studio.missed("kari", 2).await;
    tab.click("form[data-missing] button").await;
    tab.sees("[data-message]:has-text('✅ Found and activated 2 missing pass(es)!')")
        .await;
    tab.sees("#passes li >> nth=1").await;
    picture(&tab, "plain-found").await;
    tab.click("form[data-missing] button").await;
    tab.sees("[data-message]:has-text('✅ All your passes are here.')")
        .await;
    assert_eq!(studio.shop.fulfilled().await, missed);
    tab.was_calm().await;
}
