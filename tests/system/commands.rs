//! What an operator's commands say of what is not as it should be.

use chrono::TimeDelta;

use support::program::{stderr, stdout};
use support::shop::{Shop, now};

#[tokio::test]
async fn a_pass_that_is_over_or_was_exchanged_is_not_listed_as_active() {
    let shop = Shop::open().await;
    let usable = shop.session();
    let mut over = shop.session();
    over.created = now() - TimeDelta::days(400);
    let old = shop.session().with("userId", Some("user_kari"));
    let new = shop
        .session()
        .with("type", Some("pass_upgrade"))
        .with("passId", Some("pass-course"))
        .with("userId", Some("user_kari"))
        .with(
            "upgradeFromSubscriptionId",
            Some(&format!("subscription-{}", old.session_id())),
        );
    for session in [&usable, &over, &old, &new] {
        shop.buy(session).await;
        shop.settled().await;
    }
    let list = stdout(&shop.surepass(&["subscriptions", "list"]).await);
    let state = |id: String| {
        let line = list.lines().find(|line| line.contains(&id)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(state(usable.session_id()), "yes", "{list}");
    assert_eq!(state(over.session_id()), "expired", "{list}");
    assert_eq!(state(old.session_id()), "upgraded", "{list}");
}

#[tokio::test]
async fn a_sync_that_waits_for_a_paused_queue_says_so_and_ends() {
    let shop = Shop::open().await;
    for queue in ["sync", "fulfil"] {
        let paused = shop.surepass(&["jobs", "pause", queue, "--why", "a test"]).await;
        assert!(paused.status.success());
    }
    let synced = shop.surepass(&["sync", "--user", "user_kari"]).await;
    assert_eq!(synced.status.code(), Some(1));
    let said = stderr(&synced);
    assert!(
        said.contains("is paused: waiting for `surepass jobs resume")
            && said.contains("then run the same command again"),
        "{said}"
    );
}
