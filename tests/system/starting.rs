//! What the programs do when what they need is not there, not yet, or wrong.

use sqlx::{Connection, Executor, SqliteConnection};

use support::answer::Answer;
use support::postgres::Cluster;
use support::program::{SUREPASS, WORKER, command, run, stderr};
use support::shop::Shop;

#[tokio::test]
async fn a_worker_started_while_redis_is_away_waits_and_comes() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.kill_redis().await;
    let worker = shop.launch_worker(&[]);
    worker
        .says("no jobs from Redis; trying again until it answers")
        .await;
    shop.workers.push(worker);
    shop.restart_redis().await;
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
}

#[tokio::test]
async fn a_worker_started_before_the_database_exists_waits_and_comes() {
    let cluster = Cluster::start();
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &cluster.url("not_yet"));
    cluster.kill();
    let worker = shop.launch_worker(&[]);
    worker.says("the store is not available yet; retrying").await;
    cluster.run_server();
    // The server answers, and says that there is no such database.
    worker.says("3D000").await;
    cluster.make("not_yet").await;
    worker.says(r#""message":"working""#).await;
    shop.workers.push(worker);
    shop.import_example().await;
    shop.start_server().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
}

#[tokio::test]
async fn a_worker_that_waits_for_its_database_stops_at_sigterm() {
    let cluster = Cluster::start();
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &cluster.url("never"));
    cluster.kill();
    let mut worker = shop.launch_worker(&[]);
    worker.says("the store is not available yet; retrying").await;
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(worker.ended().await.success());
    shop.bury(worker);
}

#[tokio::test]
async fn server_and_workers_that_start_at_once_on_a_store_that_is_not_there_all_come_up() {
    let mut shop = Shop::empty("").await;
    let workers = [
        shop.launch_worker(&[]),
        shop.launch_worker(&[]),
        shop.launch_worker(&[]),
    ];
    shop.start_server().await;
    for worker in workers {
        worker.says(r#""message":"working""#).await;
        shop.workers.push(worker);
    }
    shop.import_example().await;
    assert_eq!(shop.buy(&shop.session()).await, Answer::accepted());
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 1);
}

#[tokio::test]
async fn a_worker_asked_for_a_queue_that_is_none_exits_2_and_names_those_there_are() {
    let output = run(command(&WORKER, &["--queues", "nonsense"], &[])).await;
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert!(error.contains("nonsense") && error.contains("fulfil"), "{error}");
}

#[tokio::test]
async fn a_command_whose_reader_has_gone_ends_quietly() {
    let shop = Shop::prepare("").await;
    for arguments in [
        &["catalog", "list"][..],
        &["subscriptions", "list", "--json"],
        &["jobs", "list"],
        &["workers", "list"],
        &["doctor"],
        &["--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = shop.command(arguments);
        command.stdout(writer).stderr(std::process::Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().await.unwrap();
        let error = stderr(&output);
        // As the shell says of a program that SIGPIPE ended: never as if it had finished.
        assert_eq!((output.status.code(), &*error), (Some(141), ""), "{arguments:?}");
    }
}

#[tokio::test]
async fn misuse_of_the_command_line_exits_2() {
    for arguments in [
        &["nonsense"][..],
        &["catalog"],
        &["catalog", "import"],
        &["up", "--exit-when-done"],
    ] {
        let output = run(command(&SUREPASS, arguments, &[])).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn serve_without_a_webhook_secret_exits_1_and_says_where_to_find_it() {
    let mut shop = Shop::empty("").await;
    for (none, what_to_do) in [("", "Stripe's Dashboard"), (" , ", "remove the extra comma")] {
        shop.set("STRIPE_WEBHOOK_SECRET", none);
        let output = shop.surepass(&["serve"]).await;
        assert_eq!(output.status.code(), Some(1), "{none:?}");
        let error = stderr(&output);
        let told = error.lines().last().unwrap();
        assert!(
            told.starts_with("surepass: STRIPE_WEBHOOK_SECRET") && told.contains(what_to_do),
            "{none:?}: {error}"
        );
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_with_what_to_do() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    let taken = shop.servers[0].address.to_string();
    shop.set("SUREPASS_BIND", &taken);
    let output = shop.surepass(&["serve"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(
        error.contains(&format!("cannot listen on {taken}")) && error.contains("SUREPASS_BIND"),
        "{error}"
    );
}

#[tokio::test]
async fn serve_ends_where_the_stores_tables_cannot_be_brought_up_to_date() {
    let shop = Shop::prepare("").await;
    let mut store = SqliteConnection::connect(shop.setting("DATABASE_URL"))
        .await
        .unwrap();
    store
        .execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1")
        .await
        .unwrap();
    let output = shop.surepass(&["serve"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("DATABASE_URL"), "{error}");
}

/// What docker's env files, a slip at the dashboard or haste put there.
const UNUSABLE: [(&str, &str, &str); 9] = [
    (
        "STRIPE_WEBHOOK_SECRET",
        "\"whsec_Hemmelig0123456789\"",
        "is in quotes",
    ),
    (
        "STRIPE_WEBHOOK_SECRET",
        "'whsec_Hemmelig0123456789'",
        "is in quotes",
    ),
    (
        "STRIPE_WEBHOOK_SECRET",
        "we_1Hemmelig",
        "is the id of a webhook endpoint",
    ),
    ("STRIPE_WEBHOOK_SECRET", "sk_test_Hemmelig", "is an API key"),
    ("STRIPE_WEBHOOK_SECRET", "x", "must begin with whsec_"),
    ("STRIPE_SECRET_KEY", "\"sk_live_Hemmelig\"", "is in quotes"),
    ("STRIPE_SECRET_KEY", "sk_org_Hemmelig", "must begin with rk_live_"),
    ("SUREPASS_JWT_SECRET", "a", "is shorter than 32 bytes"),
    ("SUREPASS_ADMIN_TOKEN", "a", "is shorter than 24 characters"),
];

#[tokio::test]
async fn a_guard_that_cannot_read_its_key_stays_shut() {
    let mut shop = Shop::empty("").await;
    for (name, value, cause) in UNUSABLE {
        shop.set(name, value);
        for (program, arguments) in [(&*SUREPASS, &["serve"][..]), (&*WORKER, &[])] {
            let mut program = shop.launch(program, arguments);
            assert_eq!(program.ended().await.code(), Some(1), "{name}={value}");
            let said = program.said();
            assert!(
                said.contains(name) && said.contains(cause),
                "{name}={value}: {said}"
            );
            shop.bury(program);
        }
        // Empty is unset.
        shop.set(name, "");
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_told_with_its_setting_value_cause_and_fix() {
    let mut shop = Shop::at("redis://127.0.0.1:1", "");
    for (name, value, arguments, told) in [
        (
            "REDIS_URL",
            "foo",
            &["jobs", "list"],
            "REDIS_URL: `foo` has no scheme: write it as redis://HOST:PORT",
        ),
        (
            "REDIS_URL",
            "redis://:Hemm#lig@127.0.0.1:6379",
            &["jobs", "list"],
            "REDIS_URL: `redis://***@127.0.0.1:6379` has `#` in its user name or password, where it ends the address: write %23",
        ),
        (
            "REDIS_URL",
            "redis://127.0.0.1:1",
            &["jobs", "list"],
            "Next: start Redis, or correct REDIS_URL, `redis://127.0.0.1:1`",
        ),
        (
            "DATABASE_URL",
            "mysql://x",
            &["catalog", "list"],
            "DATABASE_URL: `mysql://x` is not an address of SQLite or PostgreSQL: use sqlite://FILE or postgres://",
        ),
        (
            "DATABASE_URL",
            "postgres://u:Hemm/lig@db/surepass",
            &["catalog", "list"],
            "DATABASE_URL: `postgres://***@db/surepass` has `/` in its user name or password, where it ends the address: write %2F",
        ),
        (
            "STRIPE_API_BASE",
            "localhost:12111",
            &["catalog", "list"],
            "STRIPE_API_BASE must be a URL that begins with https:// or http://, and is `localhost:12111`",
        ),
    ] {
        let before = shop.setting(name).to_owned();
        shop.set(name, value);
        let output = shop.surepass(arguments).await;
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{name}={value}: {error}");
        assert!(error.contains(told), "{name}={value}: {error}");
        shop.set(name, &before);
    }
    let output = shop.surepass(&["healthcheck", "foo"]).await;
    assert_eq!(output.status.code(), Some(2));
    let error = stderr(&output);
    assert!(
        error.contains("'foo'") && error.contains("http://127.0.0.1:8080/readyz"),
        "{error}"
    );
    let output = shop.surepass(&["healthcheck", "http://127.0.0.1:1/readyz"]).await;
    let error = stderr(&output);
    assert!(
        error.contains("http://127.0.0.1:1/readyz is not responding: Connection refused"),
        "{error}"
    );
}
