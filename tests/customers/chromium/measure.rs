//! How long a customer waits, measured in the browser. The times are printed, and none is asserted:
//! `SUREPASS_PAGE_PURCHASES=50 cargo test --release --test customers chromium::measure -- --nocapture`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::chromium::fixture::Fixture;
use support::shop::COMPLETED;

/// How many are bought, one after the other.
fn purchases() -> usize {
    match std::env::var("SUREPASS_PAGE_PURCHASES") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 3,
    }
}

/// From the moment at which the webhook is sent to the moment at which the page says that the pass is active, as its own
/// observer of changes sees it, by the same machine's clock.
#[tokio::test(flavor = "multi_thread")]
async fn from_the_webhook_to_the_visible_change_on_the_page() {
    let studio = Fixture::open().await;
    let tab = studio.browser_of("kari").await;
    let (mut posts, mut changes, mut lists) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..purchases() {
        // Stripe does not know of it, so nothing but the webhook can tell.
        let session = studio.shop.session().with("userId", Some("kari"));
        tab.visit(&studio.page_after(&session.session_id())).await;
        // The page's stream is open by the second attempt, and webhooks come at any moment between two of them.
        tab.counts_to(2).await;
        tokio::time::sleep(Duration::from_millis(nth as u64 * 37 % 1_500)).await;
        let body = session.event(COMPLETED, 1);
        let (sent, began) = (SystemTime::now(), Instant::now());
        let answer = studio.shop.deliver(body).await;
        posts.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(answer, support::answer::Answer::accepted());
        let sent = sent.duration_since(UNIX_EPOCH).unwrap().as_secs_f64() * 1e3;
        tab.sees(&format!("#passes li >> nth={nth}")).await;
        let said = tab.said().await;
        let active = said.iter().find(|said| said.state == "active").unwrap();
        changes.push(active.at - sent);
        let listed = said.iter().find(|said| said.passes == nth + 1).unwrap();
        lists.push(listed.at - sent);
    }
    println!(
        "{} purchases, one after the other; ms: median, p90, p99 (of 50: the longest)",
        purchases()
    );
    for (what, times) in [
        ("the webhook's POST alone", &mut posts),
        (
            "webhook sent → the page says that the pass is active",
            &mut changes,
        ),
        ("webhook sent → the pass is in the list", &mut lists),
    ] {
        times.sort_by(f64::total_cmp);
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1];
        println!("{:7.1} {:7.1} {:7.1}  {what}", at(50), at(90), at(99));
    }
    tab.was_calm().await;
}
