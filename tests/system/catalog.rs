//! `surepass catalog`: what a shop sells, in and out.

use std::path::Path;

use serde_json::json;

use support::program::{stderr, stdout};
use support::shop::{EXAMPLE_CATALOG, Shop};

#[tokio::test]
async fn importing_the_same_file_twice_changes_nothing() {
    let shop = Shop::empty("").await;
    let first = shop.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
    assert_eq!(
        stdout(&first),
        "tenants: 1 new, 0 updated; passes: 4 new, 0 updated; unchanged: 0\n"
    );
    let before = shop.json(&["catalog", "list", "--json"]).await;
    let second = shop.surepass(&["catalog", "import", EXAMPLE_CATALOG]).await;
    assert_eq!(
        stdout(&second),
        "tenants: 0 new, 0 updated; passes: 0 new, 0 updated; unchanged: 5\n"
    );
    assert_eq!(shop.json(&["catalog", "list", "--json"]).await, before);
}

#[tokio::test]
async fn a_bad_file_exits_1_says_what_is_wrong_and_changes_nothing() {
    let shop = Shop::prepare("").await;
    let before = shop.json(&["catalog", "list", "--json"]).await;
    let pass = json!({"id": "p", "name": "P", "type": "multi", "classesLimit": 1, "price": 1, "currency": "nok",
        "validityType": "days", "validityDays": 1});
    let tenant = |changes: serde_json::Value, passes: serde_json::Value| {
        let mut tenant = json!({"id": "new", "slug": "new", "name": "New", "timeZone": "Europe/Oslo",
            "webhookSecrets": ["whsec_HemmeligNew"], "passes": passes});
        tenant
            .as_object_mut()
            .unwrap()
            .extend(changes.as_object().unwrap().clone());
        json!({"tenants": [tenant]}).to_string()
    };
    let with_pass = |name: &str, value: serde_json::Value| {
        let mut pass = pass.clone();
        pass[name] = value;
        tenant(json!({}), json!([pass]))
    };
    for (name, text, word) in [
        ("broken.json", "{\"tenants\": [".to_owned(), "broken.json"),
        (
            "broken.toml",
            "[[tenants]]\nwebhookSecrets = [\"whsec_HemmeligNew\"".to_owned(),
            "broken.toml",
        ),
        (
            "zone.json",
            tenant(json!({"timeZone": "Mars/Olympus"}), json!([pass])),
            "timeZone",
        ),
        (
            "slug.json",
            tenant(json!({"slug": "No Slug"}), json!([pass])),
            "slug",
        ),
        (
            "secret.json",
            tenant(json!({"webhookSecrets": ["Hemmelig"]}), json!([pass])),
            "webhookSecrets",
        ),
        (
            "taken.json",
            tenant(json!({"slug": "studio"}), json!([pass])),
            "studio",
        ),
        ("type.json", with_pass("type", json!(7)), "type"),
        ("price.json", with_pass("price", json!(-1)), "price"),
        (
            "currency.json",
            with_pass("currency", json!("kroner")),
            "currency",
        ),
        (
            "limit.json",
            with_pass("classesLimit", json!(null)),
            "classesLimit",
        ),
        ("end.json", with_pass("validityDays", json!(null)), "validityDays"),
        ("twice.json", tenant(json!({}), json!([pass, pass])), "p"),
    ] {
        let file = shop.file(name, &text);
        let output = shop
            .surepass(&["catalog", "import", file.to_str().unwrap()])
            .await;
        assert_eq!(output.status.code(), Some(1), "{name}: {}", stdout(&output));
        assert!(stderr(&output).contains(word), "{name}: {}", stderr(&output));
        assert_eq!(shop.json(&["catalog", "list", "--json"]).await, before, "{name}");
    }
    let nowhere = shop.surepass(&["catalog", "import", "/no/such/file.toml"]).await;
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(
        stderr(&nowhere).contains("/no/such/file.toml"),
        "{}",
        stderr(&nowhere)
    );
}

#[tokio::test]
async fn what_catalog_list_prints_as_json_can_be_imported_elsewhere() {
    let here = Shop::prepare("").await;
    let catalog = here.json(&["catalog", "list", "--json"]).await;
    let there = Shop::empty("").await;
    let file = there.file("catalog.json", &catalog.to_string());
    let imported = there
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    assert_eq!(stderr(&imported), "");
    assert_eq!(there.json(&["catalog", "list", "--json"]).await, catalog);
    // And the example says the same as the store.
    assert!(Path::new(EXAMPLE_CATALOG).exists());
    assert_eq!(catalog["tenants"][0]["slug"], "studio");
    assert_eq!(catalog["tenants"][0]["passes"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn tables_for_people_name_what_is_there() {
    let shop = Shop::prepare("").await;
    let table = stdout(&shop.surepass(&["catalog", "list"]).await);
    for word in ["studio", "pass-10", "10 classes", "90 days", "until 2027-06-30"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let bare = json!({"tenants": [{"id": "bare", "slug": "bare", "name": "Bare", "timeZone": "Europe/Oslo",
        "webhookSecrets": [], "passes": []}]});
    let file = shop.file("bare.json", &bare.to_string());
    let imported = shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let table = stdout(&shop.surepass(&["catalog", "list"]).await);
    let bare = table.lines().find(|line| line.trim_start().starts_with("bare "));
    assert!(bare.is_some_and(|line| line.contains("none yet")), "{table}");
    let none = stdout(&shop.surepass(&["subscriptions", "list"]).await);
    assert_eq!(none, "No pass yet. Next: `surepass sync --all` asks Stripe.\n");
    assert_eq!(shop.json(&["subscriptions", "list", "--json"]).await, json!([]));
}

#[tokio::test]
async fn a_catalog_comes_by_standard_input_and_back_without_losing_its_secrets() {
    use tokio::io::AsyncWriteExt;

    let shop = Shop::prepare("").await;
    let mut own = json!({"tenants": [{"id": "own", "slug": "own", "name": "Own",
        "webhookSecrets": ["whsec_HemmeligOwn"], "passes": []}]});
    for _ in 0..2 {
        let mut command = shop.command(&["catalog", "import", "-"]);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(own.to_string().as_bytes()).await.unwrap();
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(stderr(&output), "");
        let secrets = shop
            .store()
            .await
            .catalog()
            .webhook_secrets(Some(&["own"]))
            .await
            .unwrap();
        assert_eq!(secrets["own"].len(), 1);
        // What is printed has the number of secrets, not the secrets.
        own = shop.json(&["catalog", "list", "--json"]).await;
    }
}
