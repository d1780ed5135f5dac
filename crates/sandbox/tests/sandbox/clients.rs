//! The sandbox under Stripe's own clients, as they are published.

use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use support::ROOT;
use support::program::{self, stderr, stdout};
use support::stripe_sandbox::{StripeSandbox, TEST_KEY, ids};

fn installed(library: &str) {
    assert!(
        Path::new(ROOT).join(library).exists(),
        "{library} is not installed: run `make test`, or `scripts/install.sh test` once"
    );
}

async fn walks(program: &str, script: &str, library: &str, steps: &str) {
    installed(library);
    let sandbox = StripeSandbox::start(&[]).await;
    let mut path = Path::new(ROOT).join(".tools/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut walk = Command::new(program);
    walk.arg(Path::new(ROOT).join(script)).arg(&sandbox.url);
    walk.env("PATH", path).kill_on_drop(true);
    let walked = program::run(walk).await;
    assert!(walked.status.success(), "{script}: {}", stderr(&walked));
    assert_eq!(stdout(&walked), format!("{steps}\n"));
}

#[tokio::test]
async fn stripes_library_for_node_finds_what_it_finds_at_stripe() {
    walks(
        "node",
        "crates/sandbox/tests/sandbox/client.mjs",
        ".tools/node/node_modules/stripe",
        "10 steps",
    )
    .await;
}

#[tokio::test]
async fn stripes_library_for_python_finds_what_it_finds_at_stripe() {
    walks(
        "python3",
        "crates/sandbox/tests/sandbox/client.py",
        ".tools/python/stripe",
        "5 steps",
    )
    .await;
}

/// Stripe publishes the command line for other machines too, but not all of them are in every registry.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[tokio::test]
async fn stripes_command_line_finds_what_it_finds_at_stripe() {
    const PROGRAM: &str = ".tools/node/node_modules/@stripe/cli-linux-x64/bin/stripe";
    installed(PROGRAM);
    let sandbox = StripeSandbox::start(&[]).await;
    let home = tempfile::tempdir().unwrap();
    let run = async |arguments: &[&str]| -> Value {
        let mut command = Command::new(Path::new(ROOT).join(PROGRAM));
        command
            .args(arguments)
            .args(["--api-base", &sandbox.url, "--api-key", TEST_KEY])
            // It keeps a configuration, and would ask Stripe for a newer version of itself.
            .env("HOME", home.path())
            .env("STRIPE_CLI_TELEMETRY_OPTOUT", "1")
            .kill_on_drop(true);
        let done = program::run(command).await;
        let said = stdout(&done);
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}{}", stderr(&done)))
    };
    let made = run(&[
        "post",
        "/v1/customers",
        "-d",
        "email=kari@example.com",
        "-d",
        "metadata[user]=user_1",
    ])
    .await;
    assert_eq!(made["metadata"], json!({"user": "user_1"}));
    let customer = made["id"].as_str().unwrap();
    assert_eq!(run(&["customers", "retrieve", customer]).await, made);

    let sessions = sandbox.purchases(json!({"count": 12})).await;
    let listed = run(&[
        "get",
        "/v1/checkout/sessions",
        "--limit",
        "5",
        "-e",
        "data.line_items",
    ])
    .await;
    assert_eq!((ids(&listed).len(), &listed["has_more"]), (5, &json!(true)));
    assert_eq!(listed["data"][0]["id"], sessions[11]["id"]);
    assert_eq!(
        listed["data"][0]["line_items"]["data"][0]["description"],
        "10 classes"
    );
    let id = sessions[3]["id"].as_str().unwrap();
    assert_eq!(run(&["get", id]).await["id"], id);
    let intent = sessions[3]["payment_intent"].as_str().unwrap();
    let refund = run(&[
        "refunds",
        "create",
        "--payment-intent",
        intent,
        "--amount",
        "1000",
    ])
    .await;
    assert_eq!(refund["amount"], 1_000);
    let events = run(&["events", "list", "--type", "charge.refunded"]).await;
    assert_eq!(events["data"][0]["data"]["object"]["amount_refunded"], 1_000);
    let missing = run(&["get", "/v1/customers/cus_none"]).await;
    assert_eq!(missing["error"]["code"], "resource_missing");
}
