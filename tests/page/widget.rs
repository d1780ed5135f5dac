//! The shop's own site: it signs its customers in, and has the element on a page of its own.

use serde_json::json;

use crate::site::Site;
use crate::studio::{SUCCESS, Studio};

/// A studio, and its shop's site on another host.
async fn with_site() -> (Studio, Site) {
    let site = Site::open();
    let studio = Studio::prepare(&format!("allowed_origins = [\"{}\"]\n", site.origin())).await;
    site.meets(studio.origin());
    (studio, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_on_another_site_signs_its_customer_in_by_a_form() {
    let (mut studio, site) = with_site().await;
    studio.shop.start_worker().await;
    let tab = studio.stranger(json!({})).await;
    tab.visit(&format!("{}/sign-in", site.origin())).await;
    tab.click("button").await;
    tab.arrives(&studio.page()).await;
    tab.sees("form[data-missing] button").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.hears(SUCCESS).await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_element_on_another_sites_page_confirms_a_purchase_and_has_the_button() {
    let (mut studio, site) = with_site().await;
    let tab = studio.stranger(json!({})).await;
    let checkout = studio
        .checkout_at(&format!("{}/passes", site.origin()), "kari")
        .await;
    tab.visit(&checkout.url).await;
    tab.fill("input[name=email]", "kari@example.com").await;
    tab.click("button[value=card]").await;
    tab.counts_to(2).await;
    studio.shop.start_worker().await;
    tab.hears(SUCCESS).await;
    tab.sees("surepass-passes li:has-text('10 classes')").await;
    tab.portraits("widget").await;
    studio.quiet_sync_is_over().await;
    let missed = studio.missed("kari", 1).await;
    tab.click("surepass-passes button").await;
    tab.hears("✅ Found and activated 1 missing pass(es)!").await;
    assert_eq!(studio.shop.fulfilled().await.len(), 1 + missed.len());
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_element_lists_the_passes_whatever_a_page_calls_its_language() {
    let (mut studio, site) = with_site().await;
    studio.shop.start_worker().await;
    studio.bought("kari", "pass-course", 0, json!({})).await;
    let tab = studio.stranger(json!({})).await;
    for (lang, until) in [
        ("en_GB", "Valid until 30 June 2027"),
        ("nb_NO.UTF-8", "Valid until June 30, 2027"),
        ("nb_NO", "Gyldig til 30. juni 2027"),
    ] {
        tab.visit(&format!("{}/passes?lang={lang}", site.origin())).await;
        tab.sees(&format!("surepass-passes li:has-text('{until}')")).await;
    }
    tab.was_calm().await;
}
