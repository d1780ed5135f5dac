//! That the harness hears what it is to hear: a test of calm pages would else prove nothing.

use serde_json::json;

use crate::chromium::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_trouble_in_a_page_is_heard_whatever_its_kind() {
    let studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    tab.visit(&studio.page()).await;
    for trouble in [
        "console.error('of the console')",
        "setTimeout(() => { throw new Error('of a script') })",
        "alert('of a dialog')",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = true'}))",
        "fetch('/nowhere')",
    ] {
        tab.evaluate(&format!("void {trouble}")).await;
    }
    let expected = [
        "console: of the console",
        "script: of a script",
        "dialog: of a dialog",
        "Content Security Policy",
        "404",
    ];
    support::program::awaited("all troubles", async {
        loop {
            let heard = tab.troubles().await;
            if expected
                .iter()
                .all(|word| heard.iter().any(|trouble| trouble.contains(word)))
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(
        tab.evaluate("window.ran").await,
        json!(null),
        "the policy lets an inline script run"
    );
    tab.was_calm_but(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_what_is_wrong_and_a_page_that_is_too_wide_is_seen() {
    let studio = Fixture::prepare("").await;
    let tab = studio.browser_of("kari").await;
    tab.visit(&studio.page()).await;
    let spoil = "(() => { const image = document.createElement('img'); image.width = 2000; image.height = 9;
        document.querySelector('main').append(image) })()";
    tab.evaluate(spoil).await;
    let found = tab.axe().await;
    assert_eq!(found[0]["id"], "image-alt", "{found:#}");
    assert!(tab.overflow().await.as_i64().unwrap() > 1_000);
    tab.was_calm().await;
}
