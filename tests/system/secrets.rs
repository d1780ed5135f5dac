//! Secrets never reach logs or errors; emails are masked. (Every other test looks at its programs' output as well.)

use support::answer::Answer;
use support::ports::free_port;
use support::postgres::Cluster;
use support::shop::{COMPLETED, Shop};

const REDIS_PASSWORD: &str = "HemmeligRedis";

#[tokio::test]
async fn secrets_and_emails_never_reach_a_log_or_an_error_even_at_debug() {
    let cluster = Cluster::shared();
    cluster.make("system_secrets").await;
    let mut shop = Shop::prepare("[queue]\nbackoff_base_ms = 50").await;
    // Over TCP, so that the address carries a password.
    let port = free_port().to_string();
    shop.redis(&["CONFIG", "SET", "port", &port]).await.unwrap();
    shop.redis(&["CONFIG", "SET", "requirepass", REDIS_PASSWORD])
        .await
        .unwrap();
    shop.set(
        "REDIS_URL",
        &format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{port}"),
    );
    let database = cluster
        .url("system_secrets")
        .replace("postgres@", "postgres:HemmeligPostgres@");
    shop.set("DATABASE_URL", &database);
    shop.set("SUREPASS_ADMIN_TOKEN", "Hemmelig-admin-token-of-32-bytes");
    shop.set("SUREPASS_JWT_SECRET", "Hemmelig-jwt-secret-of-more-than-32-bytes");
    shop.import_example().await;
    shop.start_server().await;
    shop.start_worker().await;

    let good = shop.session();
    let by_email = shop.session().with("userId", None);
    let dead = shop
        .session()
        .with("passId", Some("kari@example.com"))
        .with("passName", None);
    for session in [&good, &by_email, &dead] {
        assert_eq!(shop.buy(session).await, Answer::accepted());
    }
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 2);
    let errors = shop
        .queue()
        .errors(&format!("fulfil:{}", dead.session_id()))
        .await
        .unwrap()
        .join("\n");
    assert!(errors.contains("unresolved_pass"), "{errors}");
    support::shop::check_output(&errors);
    let forged = shop
        .post(
            shop.session().event(COMPLETED, 1),
            Some("t=1,v1=HemmeligSignature"),
        )
        .await;
    support::shop::check_output(&forged.body.to_string());

    // A password that is wrong, and services that go away, are told without their addresses.
    shop.redis(&["CONFIG", "SET", "requirepass", "HemmeligChanged"])
        .await
        .unwrap();
    shop.set("REDIS_URL", &format!("redis://:HemmeligChanged@127.0.0.1:{port}"));
    shop.redis(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
    assert!(shop.buy(&shop.session()).await.is_come_again());
    shop.workers[0].says("trying again").await;
    for (variable, value) in [
        (
            "DATABASE_URL",
            "postgres://postgres:HemmeligPostgres@127.0.0.1:1/none",
        ),
        ("DATABASE_URL", "HemmeligNonsense"),
        (
            "DATABASE_URL",
            "postgres://HemmeligUser:Hemmelig Password@:x/none",
        ),
        ("REDIS_URL", "redis://:Hemmelig Password@:x"),
        ("REDIS_URL", "HemmeligNonsense"),
        ("STRIPE_SECRET_KEY", "pk_test_HemmeligPublishable"),
        ("STRIPE_WEBHOOK_SECRET", "HemmeligNonsense,,"),
    ] {
        let before = shop.setting(variable).to_owned();
        shop.set(variable, value);
        // Looks at what it says, whether it serves with it or not.
        let mut server = shop.launch_server();
        if value.ends_with("127.0.0.1:1/none") {
            server.says("the store is not available yet").await;
        } else if variable != "STRIPE_WEBHOOK_SECRET" {
            assert!(!server.ended().await.success(), "{variable}={value}");
        }
        shop.bury(server);
        shop.set(variable, &before);
    }
}

/// One of each kind that a terminal obeys or hides.
const OBEYED: &str = "\u{1b}[2J\u{9b}2J\u{202e}\u{2066}\u{61c}\u{ad}\u{200b}\u{feff}";

#[tokio::test]
async fn no_command_sends_a_terminal_what_it_would_obey() {
    let shop = Shop::open().await;
    let mut catalog = shop.json(&["catalog", "list", "--json"]).await;
    catalog["tenants"][0]["name"] = OBEYED.into();
    catalog["tenants"][0]["passes"][0]["name"] = format!("ten{OBEYED}").into();
    let file = shop.file("hostile.json", &catalog.to_string());
    let imported = shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{imported:?}");
    let user = format!("user{OBEYED}");
    let session = shop.session().with("userId", Some(&user));
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    for arguments in [
        &["catalog", "list"][..],
        &["catalog", "list", "--json"],
        &["subscriptions", "list"],
        &["subscriptions", "list", "--json"],
        &["jobs", "list", "--state", "done"],
        &["jobs", "list", "--json"],
        &["jobs", "show", &session.session_id()],
        &["catalog", "import", "/no\u{1b}[2J\u{202e}where"],
    ] {
        let output = shop.surepass(arguments).await;
        let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let printed = printed.concat();
        let obeyed = printed
            .chars()
            .find(|&c| c != '\n' && surepass::terminal::is_obeyed(c));
        assert_eq!(obeyed, None, "{arguments:?}: {printed:?}");
    }
    let list = shop.json(&["subscriptions", "list", "--json"]).await;
    assert_eq!(list[0]["passName"], format!("ten{OBEYED}"));
}
