//! The shop's own site: it signs its customers in, and has the element on a page of its own.

use serde_json::json;

use crate::chromium::fixture::{Fixture, SUCCESS};
use crate::chromium::shop_site::Site;
use crate::chromium::tab::Tab;

/// A studio, and its shop's site on another host.
async fn with_site() -> (Fixture, Site) {
    let site = Site::open();
    let studio = Fixture::prepare(&format!("allowed_origins = [\"{}\"]\n", site.origin())).await;
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
    tab.screenshots("widget").await;
    studio.quiet_sync_is_over().await;
    let missed = studio.missed("kari", 1).await;
    tab.click("surepass-passes button").await;
    tab.hears("✅ Found and activated 1 missing pass(es)!").await;
    assert_eq!(studio.shop.fulfilled().await.len(), 1 + missed.len());
    tab.was_calm().await;
}

async fn texts(tab: &Tab, list: &str) -> Vec<String> {
    let script = format!("[...{list}].map(it => it.textContent.trim())");
    serde_json::from_value(tab.evaluate(&script).await).unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn the_element_tells_of_each_pass_the_same_end_as_the_page() {
    let (mut studio, site) = with_site().await;
    studio.shop.start_worker().await;
    let catalog = std::fs::read_to_string(support::shop::EXAMPLE_CATALOG).unwrap();
    // Midnight in Oslo, the end of the year.
    let midnight = catalog.replace("2027-06-30", "2027-12-31T23:00:00Z");
    assert_ne!(catalog, midnight);
    let file = studio.shop.file("midnight.toml", &midnight);
    let imported = studio
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    for (pass, days_ago) in [("pass-course", 1), ("pass-month", 2)] {
        studio.bought("kari", pass, days_ago, json!({})).await;
    }
    let ended = studio.bought("kari", "pass-10", 100, json!({})).await;

    let page = studio.browser_of("kari").await;
    page.visit(&studio.page()).await;
    let on_page = texts(&page, "document.querySelectorAll('#passes .until')").await;
    assert!(
        on_page.contains(&"Valid until 31 December 2027".to_owned()),
        "{on_page:?}"
    );
    let tab = studio.stranger(json!({})).await;
    tab.visit(&format!("{}/passes?lang=en-GB&session_id={ended}", site.origin()))
        .await;
    tab.sees("surepass-passes li >> nth=2").await;
    let spans = "document.querySelector('surepass-passes').shadowRoot.querySelectorAll('li span')";
    let told = texts(&tab, spans).await;
    let ends: Vec<_> = told
        .iter()
        .map(|told| told.split(" · ").last().unwrap())
        .collect();
    assert_eq!(ends, on_page);
    tab.hears("ℹ️ This pass has expired.").await;
    for tab in [page, tab] {
        tab.was_calm().await;
    }
}

/// The shop's script comes after the element's, as in docs/customers.md.
#[tokio::test(flavor = "multi_thread")]
async fn the_element_asks_for_nothing_before_the_pages_own_script_has_given_it_the_token() {
    let (studio, site) = with_site().await;
    let tab = studio.stranger(json!({})).await;
    let listen = "const real = window.fetch; window.asked = [];
        window.fetch = (url, options) => {
            if (String(url).includes('/api/user/')) window.asked.push('Authorization' in options.headers);
            return real(url, options);
        };";
    tab.does("addInitScript", json!([{"content": listen}])).await;
    tab.visit(&format!("{}/passes", site.origin())).await;
    tab.sees("surepass-passes:has-text('You have no active passes.')")
        .await;
    let asked: Vec<bool> = serde_json::from_value(tab.evaluate("window.asked").await).unwrap();
    assert!(
        !asked.is_empty() && asked.iter().all(|has_token| *has_token),
        "{asked:?}"
    );
    tab.was_calm().await;
}
