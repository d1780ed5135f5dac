//! Whether a live purchase was ever fulfilled: what a system without a key goes by.

use surepass::store::Subscription;

use crate::store::create;
use support::home::Home;
use support::postgres::Cluster;
use support::purchases::purchase;

contract!(a_live_purchase_is_told_from_test_ones_in_every_handle,);

/// As Stripe names its sessions.
const TEST: [&str; 3] = ["test_a1Zz", "test_A0", "test_b1"];
const LIVE: &str = "live_a1Zz";

async fn a_live_purchase_is_told_from_test_ones_in_every_handle(home: Home) {
    let store = home.ready().await;
    let other = home.open().await;
    assert!(!store.subscriptions().has_live().await.unwrap());
    for name in TEST.iter().copied().chain(["a", "zz"]) {
        create(&store, purchase(name)).await;
    }
    assert!(!store.subscriptions().has_live().await.unwrap());
    create(&store, purchase(LIVE)).await;
    assert!(store.subscriptions().has_live().await.unwrap());
    assert!(other.subscriptions().has_live().await.unwrap());
}

#[tokio::test]
async fn a_live_purchase_is_told_in_databases_of_every_language() {
    for language in ["C", "und-x-icu", "en-x-icu", "nb-x-icu", "cs-x-icu"] {
        let home = Home::postgres(Cluster::shared()).await;
        let store = home.ready().await;
        home.run(&format!(
            "ALTER TABLE subscriptions ALTER COLUMN id TYPE text COLLATE \"{language}\""
        ))
        .await;
        for name in TEST {
            create(&store, purchase(name)).await;
        }
        assert!(!store.subscriptions().has_live().await.unwrap(), "{language}");
        create(&store, purchase(LIVE)).await;
        assert!(store.subscriptions().has_live().await.unwrap(), "{language}");
        let last = Subscription::id_of(&format!("cs_{LIVE}"));
        home.run(&format!("DELETE FROM subscriptions WHERE id = '{last}'"))
            .await;
        assert!(!store.subscriptions().has_live().await.unwrap(), "{language}");
    }
}
