//! What the page is like to use: on a phone, in the dark, in Norwegian, with a keyboard; and with hostile names.

use serde_json::{Value, json};

use crate::chromium::fixture::{Fixture, SUCCESS};

const NORWEGIAN: &str = include_str!("../../../config/locales/nb.toml");

#[tokio::test(flavor = "multi_thread")]
async fn on_a_phone_all_of_a_purchase_fits_without_scrolling_sideways_and_the_button_is_large() {
    let studio = Fixture::open().await;
    for width in [390, 320] {
        let phone = json!({
            "viewport": {"width": width, "height": 700}, "isMobile": true, "hasTouch": true,
            "deviceScaleFactor": 2
        });
        let tab = studio.browser_with(&format!("kari{width}"), phone).await;
        let checkout = studio.checkout(&format!("kari{width}")).await;
        tab.pays(&checkout).await;
        tab.hears(SUCCESS).await;
        tab.sees("#passes li").await;
        assert_eq!(tab.overflow().await, json!(0));
        assert_eq!(tab.axe().await, json!([]));
        tab.picture(&format!("phone-{width}-light")).await;
        let size = "document.querySelector('form[data-missing] button').getBoundingClientRect().height";
        let height = tab.evaluate(size).await.as_f64().unwrap();
        assert!(
            height >= 44.0,
            "a finger needs 44 px, and the button has {height}"
        );
        tab.was_calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_of_each_kind_are_listed_the_active_ones_before_those_that_are_over() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    for (pass, days_ago) in [("pass-10", 100), ("pass-single", 2), ("pass-month", 1)] {
        studio.bought("kari", pass, days_ago, json!({})).await;
    }
    tab.visit(&studio.page()).await;
    let headings = "[...document.querySelectorAll('#passes h2, #passes h3')].map(it => it.textContent)";
    let headings: Vec<String> = serde_json::from_value(tab.evaluate(headings).await).unwrap();
    let (active, over) = headings.split_at(3);
    assert_eq!(active[0], "Active passes");
    assert!(active.contains(&"Drop-in class".to_owned()) && active.contains(&"Unlimited month".to_owned()));
    assert_eq!(over, ["Expired passes", "10 classes"]);
    assert!(tab.text("#passes").await.contains("1 class left"));
    tab.screenshots("list").await;
    tab.was_calm().await;
}

/// A screen of 1280 by 1024 at 400 %.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_low_screen_message_and_button_scroll_away_and_on_a_high_one_they_stay_in_sight() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    studio.missed("kari", 6).await;
    tab.visit(&studio.page()).await;
    tab.sees("#passes li >> nth=5").await;
    for (width, height, stays) in [(320, 256, false), (320, 640, true)] {
        tab.does("setViewportSize", json!([{"width": width, "height": height}]))
            .await;
        let bottom = "(() => { window.scrollTo(0, document.body.scrollHeight);
            return document.querySelector('surepass-passes').getBoundingClientRect().bottom })()";
        let bottom = tab.evaluate(bottom).await.as_f64().unwrap();
        assert_eq!(bottom > 0.0, stays, "{height}: {bottom}");
    }
    tab.does("setViewportSize", json!([{"width": 320, "height": 256}]))
        .await;
    tab.picture("low-320-light").await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_dark_the_page_is_dark() {
    let studio = Fixture::open().await;
    let lightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)";
    for (scheme, is_dark) in [("dark", true), ("light", false)] {
        let tab = studio.browser_with("kari", json!({"colorScheme": scheme})).await;
        tab.visit(&studio.page()).await;
        let colour: Vec<u32> = serde_json::from_value(tab.evaluate(lightness).await).unwrap();
        assert_eq!(
            colour.iter().sum::<u32>() < 3 * 64,
            is_dark,
            "{scheme}: {colour:?}"
        );
        tab.was_calm().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_norwegian_reads_norwegian_before_and_after_the_script_has_spoken() {
    let words: toml::Table = toml::from_str(NORWEGIAN).unwrap();
    let script = words["script"].as_table().unwrap();
    let success = script["active"].as_str().unwrap();
    let studio = Fixture::open().await;
    let tab = studio.browser_with("kari", json!({"locale": "nb-NO"})).await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.hears(success).await;
    tab.sees("#passes li").await;
    assert_eq!(tab.evaluate("document.documentElement.lang").await, "nb");
    tab.screenshots("norwegian").await;
    tab.click("form[data-missing] button").await;
    tab.hears(script["already"].as_str().unwrap()).await;
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_keyboard_alone_the_focus_is_seen_and_enter_presses_the_button() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    tab.visit(&studio.page()).await;
    studio.quiet_sync_is_over().await;
    tab.sees("surepass-passes[data-state=idle]").await;
    let missed = studio.missed("kari", 2).await;
    let focus = "(() => { const it = document.activeElement; const style = getComputedStyle(it); return {
        isButton: it.matches('form[data-missing] button'), isBody: it === document.body,
        isSeen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
    } })()";
    let mut stops = 0;
    loop {
        tab.press("Tab").await;
        stops += 1;
        let focus: Value = tab.evaluate(focus).await;
        assert!(
            focus["isBody"] == false && stops < 20,
            "the button was not reached"
        );
        assert_eq!(focus["isSeen"], true, "stop {stops}");
        if focus["isButton"] == true {
            break;
        }
    }
    tab.picture("keyboard-390-light").await;
    tab.press("Enter").await;
    tab.hears("✅ Found and activated 2 missing pass(es)!").await;
    assert_eq!(studio.shop.fulfilled().await, missed);
    tab.was_calm().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_of_a_pass_is_text_and_nothing_else() {
    const NAME: &str = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>";
    let studio = Fixture::open().await;
    let catalog = std::fs::read_to_string(support::shop::EXAMPLE_CATALOG).unwrap();
    let hostile = catalog.replace("name = \"10 classes\"", &format!("name = {}", json!(NAME)));
    assert_ne!(catalog, hostile);
    let file = studio.shop.file("hostile.toml", &hostile);
    let imported = studio
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());

    let tab = studio.browser_of("kari").await;
    let checkout = studio.checkout("kari").await;
    tab.pays(&checkout).await;
    tab.hears(SUCCESS).await;
    tab.sees("#passes li").await;
    assert!(tab.text("#passes").await.contains(NAME));
    assert_eq!(tab.count("#passes img, #passes script").await, 0);
    assert_eq!(tab.overflow().await, json!(0));
    tab.picture("hostile-390-light").await;
    tab.was_calm().await;
}
