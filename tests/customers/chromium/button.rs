//! "Missing Pass?", in all its outcomes.

use serde_json::json;

use crate::chromium::fixture::{Fixture, SUCCESS, SYNCING};
use crate::chromium::tab::Tab;

const BUTTON: &str = "form[data-missing] button";
const FOUND: &str = "✅ Found and activated 2 missing pass(es)!";
const ALL: &str = "✅ All your passes are here.";
const FAILED: &str = "❌ Your payments are safe, but";

/// A page whose quiet sync has been, so that what comes then is the button's doing.
async fn at_rest(studio: &Fixture) -> Tab {
    let tab = studio.browser_of("kari").await;
    assert_eq!(tab.visit(&studio.page()).await, 200);
    studio.quiet_sync_is_over().await;
    tab.sees("surepass-passes[data-state=idle]").await;
    tab
}

async fn works(tab: &Tab) {
    tab.click(BUTTON).await;
    tab.sees(&format!("{BUTTON}:not([disabled])")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_button_finds_what_is_missing_and_the_list_is_refreshed_in_place() {
    let studio = Fixture::open().await;
    let tab = at_rest(&studio).await;
    tab.screenshots("empty").await;
    let missed = studio.missed("kari", 2).await;
    let birth = tab.birth().await;
    tab.click(BUTTON).await;
    tab.hears(FOUND).await;
    tab.sees("#passes li >> nth=1").await;
    tab.screenshots("found").await;
    assert!(
        (tab.birth().await - birth).abs() < f64::EPSILON,
        "it was loaded again"
    );
    assert!(tab.messages().await.contains(&SYNCING.to_owned()));
    assert_eq!(studio.shop.fulfilled().await, missed);
    // The same again finds nothing new.
    tab.click(BUTTON).await;
    tab.hears(ALL).await;
    tab.screenshots("synced").await;
    assert_eq!(studio.shop.fulfilled().await, missed);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_looks_quietly_and_tells_only_what_it_has_found() {
    let studio = Fixture::open().await;
    let missed = studio.missed("kari", 2).await;
    let tab = studio.browser_of("kari").await;
    assert_eq!(tab.visit(&studio.page()).await, 200);
    tab.hears(FOUND).await;
    tab.sees("#passes li >> nth=1").await;
    assert_eq!(tab.messages().await, [FOUND], "it is quiet until then");
    assert_eq!(studio.shop.fulfilled().await, missed);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_missing_the_button_says_so_and_where_it_cannot_tell_too() {
    let mut studio = Fixture::open().await;
    let tab = at_rest(&studio).await;
    works(&tab).await;
    tab.sees("[data-message]:has-text('ℹ️ We found no other payments in the last 30 days.')")
        .await;
    tab.screenshots("none").await;
    studio.shop.kill_redis().await;
    works(&tab).await;
    tab.sees(&format!("[data-message]:has-text('{FAILED}')")).await;
    tab.screenshots("failed").await;
    tab.was_calm_but(&["503"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_button_works_it_is_disabled_and_busy_and_cannot_be_pressed_twice() {
    let mut studio = Fixture::open().await;
    let tab = at_rest(&studio).await;
    studio.shop.stop_worker().await;
    let missed = studio.missed("kari", 2).await;
    tab.click(BUTTON).await;
    tab.sees(&format!("{BUTTON}[disabled]")).await;
    tab.hears(SYNCING).await;
    let busy = tab
        .evaluate("document.querySelector('surepass-passes [aria-busy=true]') !== null")
        .await;
    assert_eq!(busy, true);
    tab.screenshots("syncing").await;
    studio.shop.start_worker().await;
    tab.hears(FOUND).await;
    assert_eq!(studio.shop.fulfilled().await, missed);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_focus_is_back_on_the_button_when_a_pass_arrives_while_it_works() {
    let mut studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.counts_to(1).await;
    tab.does("focus", json!([BUTTON])).await;
    tab.press("Enter").await;
    tab.sees(&format!("{BUTTON}[disabled]")).await;
    // Purchases only: the sync goes on and on.
    let worker = studio.shop.launch_worker(&["--queues", "fulfil"]);
    studio.shop.workers.push(worker);
    tab.hears(SUCCESS).await;
    tab.sees(&format!("{BUTTON}:not([disabled])")).await;
    let is_focused = format!("document.activeElement.matches({})", json!(BUTTON));
    assert_eq!(tab.evaluate(&is_focused).await, true);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_the_button_too_often_is_asked_to_wait() {
    let mut studio = Fixture::prepare("syncs_per_minute = 1\n").await;
    studio.shop.start_worker().await;
    let tab = at_rest(&studio).await;
    works(&tab).await;
    tab.hears("ℹ️ We found no other payments in the last 30 days.")
        .await;
    works(&tab).await;
    tab.hears("⏳ Please wait a moment before you try again.").await;
    tab.screenshots("too-many-syncs").await;
    tab.was_calm_but(&["429"]).await;
}
