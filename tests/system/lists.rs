//! Lists of what is in the store, for people and for programs.

use serde_json::Value;
use tokio::io::AsyncReadExt;

use support::postgres::Cluster;
use support::program::{run, stderr, stdout};
use support::shop::{COMPLETED, Shop};

/// Of three pages, the last not whole.
const ROWS: usize = 2_500;

/// Fills the store with subscriptions, one a minute.
async fn fill(shop: &Shop) {
    use sqlx::{AssertSqlSafe, Connection, Executor};

    let address = shop.setting("DATABASE_URL").to_owned();
    let is_sqlite = address.starts_with("sqlite");
    let (at, numbers, yes, no) = if is_sqlite {
        (
            "(1795000000000 + n * 60000)",
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS}) \
                 SELECT n FROM numbers) AS numbers"
            ),
            "1",
            "0",
        )
    } else {
        (
            "to_timestamp(1795000000 + n * 60)",
            format!("generate_series(1, {ROWS}) AS numbers (n)"),
            "TRUE",
            "FALSE",
        )
    };
    // Some are made in the same moment: their ids tell which comes first.
    let same = at.replace("n *", "n / 7 *");
    let sql = format!(
        "INSERT INTO users (id, email, created_at) SELECT 'user-' || n, n || '@example.com', {at} FROM {numbers}; \
         INSERT INTO subscriptions (id, user_id, tenant_id, type, start_date, end_date, remaining_clips, pass_id, pass_name, \
         purchase_price, currency, stripe_payment_id, stripe_session_id, is_active, is_upgrade, created_via, created_at, \
         updated_at) SELECT 'subscription-cs_test_' || n, 'user-' || n, 'tenant-1', 'clipcard', {at}, {at}, 10, 'pass-10', \
         'Ten ' || '\u{202e}classes', 150000, 'nok', 'pi_' || n, 'cs_test_' || n, {yes}, {no}, 'webhook', {same}, {at} \
         FROM {numbers};"
    );
    let sql = AssertSqlSafe(sql);
    if is_sqlite {
        let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
        connection.execute(sql).await.unwrap();
    } else {
        let mut connection = sqlx::PgConnection::connect(&address).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

fn sessions(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|one| one["stripeSessionId"].as_str().unwrap())
        .collect()
}

async fn all_pages_make_one_list(shop: &Shop) {
    fill(shop).await;
    let all = shop.json(&["subscriptions", "list", "--json"]).await;
    let listed = sessions(&all);
    let mut each = listed.clone();
    each.sort_unstable();
    each.dedup();
    assert_eq!((listed.len(), each.len()), (ROWS, ROWS));
    let made = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["createdAt"].as_str().unwrap());
    assert!(made.is_sorted_by(|newer, older| newer >= older));
    assert_eq!(all[0]["passName"], "Ten \u{202e}classes");

    // A limit within a page, at its end, and beyond it.
    for limit in [1, 1_000, 1_001, ROWS + 1] {
        let some = shop
            .json(&["subscriptions", "list", "--json", "--limit", &limit.to_string()])
            .await;
        assert_eq!(sessions(&some), listed[..limit.min(ROWS)], "{limit}");
    }
    let table = shop.surepass(&["subscriptions", "list", "--limit", "1001"]).await;
    assert_eq!(stdout(&table).lines().count(), 1 + 1_001);
    assert!(
        stderr(&table).contains("the newest 1001; there are more"),
        "{}",
        stderr(&table)
    );
    let whole = shop
        .surepass(&["subscriptions", "list", "--limit", &ROWS.to_string()])
        .await;
    assert_eq!(stdout(&whole).lines().count(), 1 + ROWS);
    assert_eq!(stderr(&whole), "");
}

#[tokio::test]
async fn a_list_of_many_pages_is_one_json_array_and_a_limit_ends_it_on_sqlite() {
    all_pages_make_one_list(&Shop::prepare("").await).await;
}

#[tokio::test]
async fn a_list_of_many_pages_is_one_json_array_and_a_limit_ends_it_on_postgres() {
    let cluster = Cluster::shared();
    cluster.make("lists").await;
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", &cluster.url("lists"));
    shop.import_example().await;
    all_pages_make_one_list(&shop).await;
}

#[tokio::test]
async fn a_reader_who_has_gone_ends_the_list_quietly() {
    let shop = Shop::prepare("").await;
    fill(&shop).await;
    let mut command = shop.command(&["subscriptions", "list", "--json"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 2];
    out.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"[\n");
    drop(out);
    let ended = child.wait_with_output().await.unwrap();
    assert_eq!((ended.status.code(), stderr(&ended).as_str()), (Some(141), ""));
}

#[tokio::test]
async fn a_list_that_cannot_be_written_is_an_error_and_no_panic() {
    let shop = Shop::prepare("").await;
    for arguments in [
        &["subscriptions", "list", "--json"][..],
        &["subscriptions", "list"],
        &["subscriptions", "--help"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = shop.command(arguments);
        command.stdout(full).stderr(std::process::Stdio::piped());
        // `output` would capture stdout in place of the full device.
        let listed = command.spawn().unwrap().wait_with_output().await.unwrap();
        assert_eq!(
            (listed.status.code(), stderr(&listed).as_str()),
            (
                Some(1),
                "surepass: cannot write to standard output: No space left on device (os error 28)\n"
            ),
            "{arguments:?}"
        );
    }
}

/// What a command prints on a terminal of 80 columns, then what it says on stderr; and its exit status.
pub(crate) async fn terminal(shop: &Shop, arguments: &str) -> (i32, String) {
    let errors = shop.file("errors", "").display().to_string();
    let script = format!(
        "stty cols 80 rows 24; {} {arguments} </dev/null 2>{errors}; status=$?; cat {errors}; exit $status",
        *support::program::SUREPASS
    );
    let output = run(shop.command_of("script", &["-qec", &script, "/dev/null"])).await;
    let status = output.status.code().unwrap_or_default();
    (status, stdout(&output).replace("\r\n", "\n"))
}

/// The same of one that succeeds.
async fn on_terminal(shop: &Shop, arguments: &str) -> String {
    let (status, printed) = terminal(shop, arguments).await;
    assert_eq!(status, 0, "{printed}");
    printed
}

#[tokio::test]
async fn lists_fit_a_terminal_of_80_columns_with_their_ids_whole() {
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_SECRET_KEY", "");
    shop.start_server().await;
    shop.start_worker().await;
    let (sold, gone) = (shop.session(), shop.session().with("passId", Some("gone")));
    for session in [&sold, &gone.with("passName", None)] {
        shop.buy(session).await;
    }
    shop.worked_off().await;
    let passes = on_terminal(&shop, "subscriptions list").await;
    let id = format!("subscription-{}", sold.session_id());
    for line in [id.as_str(), "  active: 10 classes, 10 left, "] {
        assert!(passes.lines().any(|shown| shown.starts_with(line)), "{passes}");
    }
    let cases = on_terminal(&shop, "unmatched list").await;
    assert!(cases.contains(" at studio, "), "the tenant by its slug: {cases}");
    for line in passes.lines().chain(cases.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[tokio::test]
async fn a_session_whose_id_cannot_be_read_is_listed_by_its_event() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    shop.start_worker().await;
    let session = shop.session();
    let body = String::from_utf8(session.event(COMPLETED, 1)).unwrap();
    let body = body.replace(&format!("\"{}\"", session.session_id()), "7");
    assert_eq!(shop.deliver(body.into_bytes()).await.status, 200);
    shop.worked_off().await;
    let list = stdout(&shop.surepass(&["unmatched", "list"]).await);
    let event = session.event_id(1);
    assert!(
        list.contains(&format!("\n  event {event}\n")) && list.contains("find its event at Stripe"),
        "{list}"
    );
    assert!(
        !list.contains("session evt_") && !list.contains("--session evt_"),
        "{list}"
    );
}

#[tokio::test]
async fn jobs_of_a_tenant_are_found_by_any_of_its_names_whichever_they_carry() {
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_SECRET_KEY", "");
    shop.start_server().await;
    shop.start_worker().await;
    for name in ["studio", "tenant-1", "nowhere"] {
        let session = shop
            .session()
            .with("tenantId", Some(name))
            .with("passId", Some("gone"));
        shop.buy(&session.with("passName", None)).await;
    }
    shop.worked_off().await;
    for (name, expected) in [("studio", 2), ("tenant-1", 2), ("nowhere", 1)] {
        let page = shop.json(&["jobs", "list", "--tenant", name, "--json"]).await;
        assert_eq!(page["jobs"].as_array().unwrap().len(), expected, "{name}: {page}");
    }
    let unknown = shop.surepass(&["jobs", "list", "--tenant", "nope"]).await;
    assert_eq!(unknown.status.code(), Some(2));
    let said = stderr(&unknown);
    assert!(
        said.contains("no job matches, and no tenant has the id or slug `nope`. Tenants: studio"),
        "{said}"
    );
    let retried = shop
        .json(&[
            "jobs", "retry", "--dead", "--tenant", "tenant-1", "--yes", "--json",
        ])
        .await;
    assert_eq!(retried["done"], 2, "{retried}");
}

#[tokio::test]
async fn an_empty_list_says_for_whom_and_an_unknown_tenant_is_an_error_that_names_the_known() {
    let shop = Shop::prepare("").await;
    for (arguments, told) in [
        (
            &["--email", "bo@example.org"][..],
            "No pass for bo@example.org. Next: `surepass sync --email bo@example.org` asks Stripe.\n",
        ),
        (
            &["--session", "cs_test_1", "--tenant", "tenant-1"],
            "No pass of cs_test_1 at studio. Next: `surepass sync --session cs_test_1 --tenant studio` asks Stripe.\n",
        ),
        (&[], "No pass yet. Next: `surepass sync --all` asks Stripe.\n"),
    ] {
        let list = shop
            .surepass(&[&["subscriptions", "list"], arguments].concat())
            .await;
        assert_eq!((list.status.code(), stdout(&list).as_str()), (Some(0), told));
    }
    for command in [&["subscriptions", "list"][..], &["sync", "--all"], &["reconcile"]] {
        let known = shop.surepass(&[command, &["--tenant", "nope"]].concat()).await;
        assert_eq!(known.status.code(), Some(2), "{command:?}");
        let said = stderr(&known);
        assert!(
            said.contains("surepass: no tenant has the id or slug `nope`. Tenants: studio"),
            "{command:?}: {said}"
        );
    }
    let none = stdout(&shop.surepass(&["unmatched", "list", "--all"]).await);
    assert_eq!(none, "No unmatched payments, open or closed.\n");
    assert_eq!(
        shop.json(&["unmatched", "list", "--json"]).await,
        Value::Array(vec![])
    );
}
