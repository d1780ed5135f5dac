//! What the doctor says, whole: a text that changes is reviewed as a snapshot's difference.

use std::fmt::Write;

use serde_json::Value;

use crate::doctor::fixture::Fixture;
use support::program::stdout;
use support::shop::Shop;
use support::snapshot;

const OWN: &[(&str, &str)] = &[
    (r"/\S+/data", "/FOLDER/data"),
    (r"the disk of \S+", "the disk of /FOLDER"),
    (r"acct_[A-Za-z0-9]+", "acct_ID"),
];

/// Each check in lines that are not wrapped: how long they are depends on ages and folders.
async fn examined(shop: &Shop) -> String {
    let output = shop.surepass(&["doctor", "--json"]).await;
    let document: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let mut text = format!("{}\n", document["verdict"].as_str().unwrap());
    for check in document["checks"].as_array().unwrap() {
        let word = |name: &str| check[name].as_str().unwrap_or_default();
        let (group, name, level) = (word("group"), word("name"), word("level"));
        writeln!(text, "{level}: {group}, {name}: {}", word("message")).unwrap();
        if let Some(fix) = check["mend"].as_str() {
            writeln!(text, "    → {fix}").unwrap();
        }
    }
    text
}

#[tokio::test]
async fn what_the_doctor_says_of_a_healthy_shop_and_of_one_in_need_is_as_it_was_reviewed() {
    let mut checkup = Fixture::new(true).await;
    let good = examined(&checkup.shop).await;
    snapshot::check("doctor-healthy", &good, Some(OWN));

    for name in [
        "STRIPE_WEBHOOK_SECRET",
        "SUREPASS_ADMIN_TOKEN",
        "SUREPASS_JWT_SECRET",
    ] {
        checkup.shop.set(name, "");
    }
    checkup.shop.set("STRIPE_SECRET_KEY", "sk_test_HemmeligKey");
    checkup.stripe.has(vec![]);
    checkup.stripe.state().forbidden = vec!["charges", "events", "payment_intents"];
    let shop = &checkup.shop;
    for (name, value) in [
        ("maxmemory-policy", "allkeys-lru"),
        ("maxmemory", "0"),
        ("appendonly", "no"),
    ] {
        shop.redis(&["CONFIG", "SET", name, value]).await.unwrap();
    }
    let paused = shop.surepass(&["jobs", "pause", "sync", "--why", "a test"]).await;
    assert!(paused.status.success());
    snapshot::check("doctor-in-need", &examined(shop).await, Some(OWN));
}

#[tokio::test]
async fn what_the_doctor_says_without_redis_store_and_stripe_is_as_it_was_reviewed() {
    let mut checkup = Fixture::new(false).await;
    checkup.shop.kill_redis().await;
    checkup.shop.set("STRIPE_SECRET_KEY", "");
    checkup.shop.set("DATABASE_URL", "sqlite:///nowhere/surepass.db");
    checkup.shop.file("config/development.toml", "");
    let text = examined(&checkup.shop).await;
    snapshot::check("doctor-alone", &text, Some(OWN));
}
