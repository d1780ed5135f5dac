//! What commands print on a terminal of 80 columns, whole: a text that changes is reviewed as a snapshot's difference.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::lists::terminal;
use support::program::{eventually, stderr};
use support::shop::Shop;
use support::snapshot;
use support::stripe_sandbox::{StripeSandbox, TEST_KEY};

/// What differs from run to run only here.
const OWN: &[(&str, &str)] = &[
    (r"\b(evt|pi|cus|price)_[A-Za-z0-9]+", "${1}_ID"),
    (
        r"HOST +PID +VERSION +QUEUES +JOBS +STARTED +",
        "HOST  PID  VERSION  QUEUES       JOBS   STARTED  ",
    ),
    (r"(alive|dead) +\S+ +\d+ +(\d\.\d\.\d)", "$1   HOST  PID  $2"),
    (r"\bon \S+-\d+-[0-9A-Z]{26}:\d+", "on WORKER"),
    (r"UTC \S+@\S+:", "UTC USER@HOST:"),
    (r#""at": \d+"#, r#""at": SECONDS"#),
    // How long passes took.
    (r"COUNT +SHARE +P50 +P99 +MAX", "COUNT  SHARE  P50  P99  MAX"),
    (
        r"(?m)^(webhook|status|lookback|self-service|support|all)( +\d+)( +[\d.]+ %)? .*$",
        "$1$2$3  TIMES",
    ),
];

/// A shop of which some customers have their pass, and others do not.
struct Scene {
    shop: Shop,
    stripe: StripeSandbox,
}

impl Scene {
    async fn open() -> Self {
        let stripe = StripeSandbox::start(&["--seed", "7"]).await;
        let mut shop = Shop::prepare("[queue]\nlease_seconds = 3\n").await;
        shop.set("STRIPE_API_BASE", &stripe.url);
        shop.set("STRIPE_SECRET_KEY", TEST_KEY);
        shop.start_server().await;
        shop.start_worker().await;
        eventually("the worker's first sign of life", async || {
            shop.json(&["workers", "list", "--json"]).await != json!([])
        })
        .await;
        Self { shop, stripe }
    }

    /// A purchase that no webhook tells of; `metadata` beside the tenant. Answers its session.
    async fn bought(&self, metadata: Value) -> String {
        let mut metadata = metadata;
        metadata["tenantId"] = json!("tenant-1");
        let order =
            json!({"guests": true, "email": "kari@example.org", "webhooks": "none", "metadata": metadata});
        let made = self.stripe.purchases(order).await;
        made[0]["id"].as_str().unwrap().to_owned()
    }

    /// What commands print one after the other, with their exit status.
    async fn shows(&self, name: &str, commands: &[&str]) {
        let mut text = String::new();
        for command in commands {
            let (status, printed) = terminal(&self.shop, command).await;
            writeln!(text, "$ surepass {command}\n{printed}[{status}]\n").unwrap();
        }
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        snapshot::check(name, &lines.join("\n"), Some(OWN));
    }
}

fn pass(pass: &str) -> Value {
    json!({"type": "pass_purchase", "passId": pass, "userId": "user_kari"})
}

#[tokio::test]
async fn tables_of_an_empty_installation_say_what_to_do_next() {
    let mut shop = Shop::empty("").await;
    shop.set("STRIPE_SECRET_KEY", "");
    let migrated = shop.surepass(&["migrate"]).await;
    assert!(migrated.status.success(), "{}", stderr(&migrated));
    let stripe = StripeSandbox::start(&[]).await;
    let scene = Scene { shop, stripe };
    scene
        .shows(
            "tables-empty",
            &[
                "catalog list",
                "subscriptions list",
                "subscriptions list --email bo@example.org --tenant studio",
                "subscriptions show cs_test_none",
                "jobs list",
                "jobs show cs_test_none",
                "jobs retry cs_test_none",
                "jobs retry",
                "jobs retry --dead",
                "jobs list --queue nope",
                "workers list",
                "unmatched list",
                "unmatched list --all",
                "unmatched close K3E8-7RDZ --why x",
                "sync --all",
                "reconcile",
            ],
        )
        .await;
}

#[tokio::test]
async fn tables_of_a_shop_are_as_they_were_reviewed() {
    let scene = Scene::open().await;
    let nothing = ["reconcile", "sync --email bo@example.org", "sync --all"];
    scene.shows("tables-nothing-bought", &nothing).await;
    let given = scene.bought(pass("pass-10")).await;
    let gone = scene.bought(pass("gone")).await;
    let nameless = scene.bought(json!({"userId": "user_ola"})).await;
    // Stripe lists up to the second that has begun.
    eventually("the end of their second", async || {
        scene.shop.json(&["reconcile", "--json"]).await["paid"] == 3
    })
    .await;
    scene.shows("tables-missing", &["reconcile"]).await;
    for session in [&given, &gone, &nameless] {
        scene.shop.surepass(&["sync", "--session", session]).await;
    }
    let [one, dead, open] = [&given, &gone, &nameless];
    scene
        .shows(
            "tables-subscriptions",
            &[
                "catalog list",
                "subscriptions list",
                &format!("subscriptions show {one}"),
                &format!("subscriptions move {one} --user user_bo --why 'ticket 1'"),
                &format!("subscriptions move {one} --user user_bo --why 'ticket 1'"),
                &format!("subscriptions show {one}"),
            ],
        )
        .await;
    scene
        .shows(
            "tables-jobs",
            &[
                "jobs list --queue fulfil --state dead",
                &format!("jobs show {dead}"),
                &format!("jobs show {one}"),
                "jobs pause fulfil --why 'ticket 2'",
                "jobs list --queue fulfil --state dead --error nothing",
                "jobs resume fulfil",
                &format!("jobs retry {one} {dead} --why 'ticket 3'"),
                "jobs discard --dead",
                "workers list",
            ],
        )
        .await;
    scene.shop.worked_off().await;
    scene
        .shows(
            "tables-unmatched",
            &[
                "unmatched list",
                &format!("unmatched assign {open} --pass pass-10 --why 'ticket 4'"),
                &format!("unmatched assign {open} --pass pass-10 --why 'ticket 4'"),
                &format!("unmatched close {dead} --why 'ticket 5'"),
                "unmatched list",
                "unmatched list --all",
                "reconcile",
                "sync --all",
            ],
        )
        .await;
}
