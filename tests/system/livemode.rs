//! Live and test purchases at a shop without a key for Stripe.

use nix::sys::signal::Signal;
use surepass::up::sample::SampleSession;

use support::program::{SUREPASS, WORKER, stderr, stdout};
use support::shop::{COMPLETED, Shop};

async fn without_key(mode: &str) -> Shop {
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_SECRET_KEY", "");
    shop.set("SUREPASS_LIVEMODE", mode);
    shop.start_server().await;
    shop.start_worker().await;
    shop
}

/// Buys in live mode; the session's id.
async fn buy_live(shop: &Shop, session: &SampleSession) -> String {
    let live = |text: &str| text.replace("cs_test_", "cs_live_");
    let body = String::from_utf8(session.event(COMPLETED, 1)).unwrap();
    let body = live(&body).replace("\"livemode\": false", "\"livemode\": true");
    assert_eq!(shop.deliver(body.into_bytes()).await.status, 200);
    shop.worked_off().await;
    live(&session.session_id())
}

async fn buy_test(shop: &Shop) -> String {
    let session = shop.session();
    assert_eq!(shop.buy(&session).await.status, 200);
    shop.worked_off().await;
    session.session_id()
}

#[tokio::test]
async fn without_a_key_test_purchases_are_refused_from_the_first_live_one_on_by_every_worker() {
    let mut shop = without_key("").await;
    let test = buy_test(&shop).await;
    let live = buy_live(&shop, &shop.session()).await;
    assert_eq!(shop.fulfilled().await, [live.clone(), test.clone()]);

    // The worker that fulfilled it, one that was started since, and one after all have gone.
    let refused = buy_test(&shop).await;
    shop.start_worker().await;
    let mut first = shop.workers.remove(0);
    first.signal(Signal::SIGTERM);
    first.ended().await;
    shop.bury(first);
    buy_test(&shop).await;
    shop.stop_worker().await;
    shop.start_worker().await;
    buy_test(&shop).await;
    assert_eq!(shop.fulfilled().await, [live, test]);

    let job = shop.json(&["jobs", "show", &refused, "--json"]).await;
    assert!(job.to_string().contains("livemode_mismatch"), "{job}");
    // Nothing was paid: nobody waits for a pass.
    let verdict = shop.surepass(&["doctor"]).await;
    let page = stdout(&verdict);
    assert!(
        !page.contains("has no pass:") && !page.contains("have no pass:"),
        "{page}"
    );
    assert!(
        page.contains("live purchases only, since the first live one arrived"),
        "{page}"
    );
    let list = shop.json(&["unmatched", "list", "--json"]).await;
    let cases = list.as_array().unwrap();
    assert_eq!(cases.len(), 3);
    assert!(cases.iter().all(|case| case["isPaid"] == false), "{list}");
}

#[tokio::test]
async fn without_a_key_the_setting_refuses_purchases_of_the_other_mode() {
    let shop = without_key("true").await;
    buy_test(&shop).await;
    let live = buy_live(&shop, &shop.session()).await;
    assert_eq!(shop.fulfilled().await, [live]);

    let shop = without_key("false").await;
    let test = buy_test(&shop).await;
    buy_live(&shop, &shop.session()).await;
    assert_eq!(shop.fulfilled().await, [test]);
}

#[tokio::test]
async fn a_setting_that_contradicts_the_key_stops_the_start() {
    let mut shop = Shop::empty("").await;
    shop.set("SUREPASS_LIVEMODE", "true");
    for (program, arguments) in [(&*SUREPASS, &["serve"][..]), (&*WORKER, &[])] {
        let mut program = shop.launch(program, arguments);
        assert_eq!(program.ended().await.code(), Some(1));
        let said = program.said();
        assert!(
            said.contains("SUREPASS_LIVEMODE is true, but STRIPE_SECRET_KEY is a test key"),
            "{said}"
        );
        shop.bury(program);
    }
    let told = shop.surepass(&["subscriptions", "list"]).await;
    assert!(
        stderr(&told).contains("SUREPASS_LIVEMODE is true"),
        "{}",
        stderr(&told)
    );
}
