//! What the doctor says of Redis, the store, the settings and those who work.

use chrono::TimeDelta;
use sqlx::{Connection, Executor, SqliteConnection};
use surepass::clock::Clock;
use surepass::store::{CreatedVia, LookbackRun, RunCounts, RunPhase, Watermark};

use crate::doctor::fixture::{Fixture, findings};

#[tokio::test]
async fn a_redis_that_throws_keys_away_or_keeps_nothing_on_disk_is_wrong() {
    let checkup = Fixture::new(true).await;
    let set = |name: &'static str, value: &'static str| {
        let shop = &checkup.shop;
        async move { shop.redis(&["CONFIG", "SET", name, value]).await.unwrap() }
    };
    set("maxmemory-policy", "allkeys-lru").await;
    assert_eq!(
        checkup.doctor().await.only_wrong(),
        "Redis/eviction: maxmemory-policy is allkeys-lru: a full Redis would delete jobs"
    );
    set("maxmemory-policy", "noeviction").await;
    set("appendfsync", "no").await;
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.starts_with("Redis/persistence: append-only file"),
        "{warning}"
    );
    set("appendonly", "no").await;
    assert_eq!(
        checkup.doctor().await.only_wrong(),
        "Redis/persistence: no append-only file: a restart loses every unfinished job"
    );
    set("save", "3600 1").await;
    let wrong = checkup.doctor().await.only_wrong();
    assert!(wrong.starts_with("Redis/persistence: snapshots only"), "{wrong}");
}

#[tokio::test]
async fn a_redis_that_is_nearly_full_or_full_is_told_before_it_refuses() {
    let checkup = Fixture::new(false).await;
    checkup
        .shop
        .redis(&["CONFIG", "SET", "maxmemory", "0"])
        .await
        .unwrap();
    checkup.doctor().await.says("Redis/memory: ");
    let unlimited = checkup.doctor().await.warnings();
    assert!(unlimited[0].ends_with("used, no limit set"), "{unlimited:#?}");
    let used = "return tonumber(string.match(redis.call('INFO', 'memory'), 'used_memory:(%d+)'))";
    let used = checkup.shop.redis(&["EVAL", used, "0"]).await.unwrap();
    let used: u64 = redis::from_redis_value(used).unwrap();
    for (max, group) in [(used * 100 / 75, "warning"), (used * 100 / 97, "error")] {
        let max = max.to_string();
        checkup
            .shop
            .redis(&["CONFIG", "SET", "maxmemory", &max])
            .await
            .unwrap();
        let found = checkup.doctor().await;
        let told = if group == "error" {
            found.wrong()
        } else {
            found.warnings()
        };
        assert!(
            told.iter().any(|line| line.starts_with("Redis/memory: ")),
            "{told:#?}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_is_away_is_wrong_and_the_rest_is_still_told() {
    let mut checkup = Fixture::new(false).await;
    checkup.shop.kill_redis().await;
    let found = checkup.doctor().await;
    let wrong = found.wrong();
    assert!(
        wrong[0].starts_with("Purchases/passes: Redis is not responding (")
            && wrong[1].starts_with("Redis/connection: "),
        "{wrong:#?}"
    );
    found.says("Store/tables: up to date");
    found.says("Stripe/key: restricted, test mode");
}

#[tokio::test]
async fn a_redis_user_without_info_is_told_and_all_other_checks_are_made() {
    let mut checkup = Fixture::new(true).await;
    let rule = "ACL SETUSER app on >Hemmelig ~* &* +@all -@dangerous -@admin";
    let words: Vec<&str> = rule.split(' ').collect();
    checkup.shop.redis(&words).await.unwrap();
    let address = checkup.shop.setting("REDIS_URL").to_owned();
    let separator = if address.contains('?') { '&' } else { '?' };
    let own = if address.starts_with("redis://") {
        address.replacen("redis://", "redis://app:Hemmelig@", 1)
    } else {
        format!("{address}{separator}user=app&pass=Hemmelig")
    };
    checkup.shop.set("REDIS_URL", &own);
    let found = checkup.doctor().await;
    let warning = found.only_warning();
    assert!(
        warning.starts_with("Redis/server: ") && warning.contains("memory cannot be checked"),
        "{warning}"
    );
    found.says("Redis/writes: accepted");
    found.says("Work/workers: 1 worker alive");
    found.says("Purchases/passes: ");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_told_and_not_made() {
    let mut checkup = Fixture::new(true).await;
    let file = checkup.shop.file("there", "");
    let missing = file.with_file_name("missing.db");
    checkup
        .shop
        .set("DATABASE_URL", &format!("sqlite://{}", missing.display()));
    let wrong = checkup.doctor().await.wrong();
    assert!(
        wrong[0].starts_with("Store/connection: there is no SQLite file"),
        "{wrong:#?}"
    );
    assert!(!missing.exists());
}

#[tokio::test]
async fn tables_that_are_missing_or_behind_are_told_and_never_made() {
    let mut checkup = Fixture::new(true).await;
    let store = checkup.shop.setting("DATABASE_URL").to_owned();
    let mut connection = SqliteConnection::connect(&store).await.unwrap();
    let newest = "DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
    connection.execute(newest).await.unwrap();
    let wrong = checkup.doctor().await.wrong();
    assert!(
        wrong[0].starts_with("Store/tables: version ") && wrong[0].contains(", 1 behind"),
        "{wrong:#?}"
    );

    let empty = checkup.shop.file("empty.db", "");
    checkup
        .shop
        .set("DATABASE_URL", &format!("sqlite://{}", empty.display()));
    let wrong = checkup.doctor().await.wrong();
    assert_eq!(wrong[0], "Store/tables: not created yet");
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", empty.display()))
        .await
        .unwrap();
    let tables: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sqlite_master")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn a_setting_that_does_not_exist_is_told_with_its_file() {
    let checkup = Fixture::new(false).await;
    checkup.shop.file(
        "config/development.toml",
        "[lookback]\nnightley = \"0 3 * * *\"\n",
    );
    let output = checkup.shop.surepass(&["doctor", "--json"]).await;
    let wrong = findings(&output).only_wrong();
    assert!(
        wrong.contains("development.toml: there is no setting `lookback.nightley`"),
        "{wrong}"
    );
}

#[tokio::test]
async fn secrets_that_are_missing_are_told() {
    let mut checkup = Fixture::new(true).await;
    checkup.shop.set("SUREPASS_ADMIN_TOKEN", "");
    assert_eq!(checkup.doctor().await.advice(), <[String; 0]>::default());
    let jwt_secret = checkup.shop.setting("SUREPASS_JWT_SECRET").to_owned();
    checkup.shop.set("SUREPASS_JWT_SECRET", "");
    let advice = checkup.doctor().await.advice();
    assert!(
        advice[0].contains("customer routes respond with 503"),
        "{advice:#?}"
    );
    checkup.shop.set("SUREPASS_JWT_SECRET", &jwt_secret);
    checkup.shop.set("STRIPE_WEBHOOK_SECRET", "");
    let wrong = checkup.doctor().await.wrong();
    assert_eq!(
        wrong[0],
        "Settings/webhook secret: not set: `surepass serve` does not start"
    );
}

#[tokio::test]
async fn nobody_who_works_and_ticks_that_nobody_fires_are_wrong() {
    let checkup = Fixture::new(false).await;
    let wrong = checkup.doctor().await.wrong();
    assert_eq!(
        wrong,
        [
            "Work/workers: none is running: purchases are waiting",
            "Work/nightly: no worker has enqueued it yet",
            "Work/recent: no worker has enqueued it yet",
            "Work/audit: no worker has enqueued it yet",
        ]
    );
}

#[tokio::test]
async fn a_dead_letter_and_a_paused_queue_are_told() {
    let checkup = Fixture::new(true).await;
    let session = checkup.shop.session().with("passId", Some("no-such-pass"));
    let session = session.with("passName", None);
    checkup
        .shop
        .buy_as("whsec_HemmeligSignaturOfThisEndpoint", &session)
        .await;
    checkup.shop.worked_off().await;
    let paused = checkup
        .shop
        .surepass(&["jobs", "pause", "sync", "--why", "a test"])
        .await;
    assert!(paused.status.success());
    let found = checkup.doctor().await;
    assert_eq!(
        found.only_wrong(),
        "Purchases/passes: 1 paid purchase has no pass: unresolved_pass (1)"
    );
    let warnings = found.warnings();
    assert_eq!(warnings[0], "Work/dead letters: 1 dead letter in fulfil");
    assert!(
        warnings[1].starts_with("Work/lookbacks: ") && warnings[1].ends_with("the queue is paused"),
        "{warnings:#?}"
    );
    assert_eq!(warnings.len(), 2);
}

#[tokio::test]
async fn a_lookback_that_does_not_get_further_is_told_but_not_of_an_account_that_no_tenant_has() {
    let checkup = Fixture::new(true).await;
    let store = checkup.shop.store().await;
    let long_ago = Clock::system().now() - TimeDelta::hours(50);
    for (account, detector) in [(None, "stale"), (Some("acct_gone"), "sessions")] {
        let mark = Watermark {
            detector: detector.to_owned(),
            account: account.map(str::to_owned),
            is_test: true,
            from: long_ago - TimeDelta::days(30),
            to: long_ago,
            updated_at: long_ago,
        };
        store.lookback().raise_watermark(&mark).await.unwrap();
    }
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.starts_with("Work/proven: purchases complete from ") && warning.ends_with("(2 days ago)"),
        "{warning}"
    );
}

#[tokio::test]
async fn a_gap_in_what_is_proven_is_told_and_a_mark_by_a_wrong_clock_is_wrong() {
    let checkup = Fixture::new(true).await;
    let store = checkup.shop.store().await;
    let now = Clock::system().now();
    let mark = |from: TimeDelta, to: TimeDelta| Watermark {
        // Of a name that no sweep of the worker's raises.
        detector: "more".to_owned(),
        account: None,
        is_test: true,
        from: now - from,
        to: now - to,
        updated_at: now - to,
    };
    let (days, minutes) = (TimeDelta::days, TimeDelta::minutes);
    store
        .lookback()
        .raise_watermark(&mark(days(3), minutes(9)))
        .await
        .unwrap();
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.starts_with("Work/proven: purchases complete from ")
            && warning.ends_with("(9 min ago); older purchases are not covered yet"),
        "{warning}"
    );
    store
        .lookback()
        .raise_watermark(&mark(days(31), minutes(9)))
        .await
        .unwrap();
    assert_eq!(checkup.doctor().await.warnings(), <[String; 0]>::default());
    store
        .lookback()
        .raise_watermark(&mark(days(31), days(-365)))
        .await
        .unwrap();
    let wrong = checkup.doctor().await.only_wrong();
    assert!(wrong.ends_with(": set by a wrong clock"), "{wrong}");
}

#[tokio::test]
async fn an_account_that_stripe_refuses_is_wrong_until_a_lookback_gets_through() {
    let checkup = Fixture::new(true).await;
    let store = checkup.shop.store().await;
    let ended = async |id: &str, phase: RunPhase| {
        // Later than what the worker has begun.
        let now = Clock::system().now() + TimeDelta::seconds(1);
        let via = CreatedVia::Lookback;
        let run = LookbackRun::new(id, id, via, now - TimeDelta::hours(3), now, now);
        store.lookback().begin_run(&run).await.unwrap();
        let (counts, why) = (RunCounts::default(), Some("stripe_forbidden: HTTP 403"));
        store
            .lookback()
            .end_run(id, phase, counts, why, now)
            .await
            .unwrap();
    };
    ended("cron:recent:1:own", RunPhase::Failed).await;
    let wrong = checkup.doctor().await.only_wrong();
    assert!(
        wrong.starts_with("Work/lookback: the last one failed ")
            && wrong.ends_with(": stripe_forbidden: HTTP 403"),
        "{wrong}"
    );
    ended("cron:recent:2:own", RunPhase::Done).await;
    assert_eq!(checkup.doctor().await.wrong(), <[String; 0]>::default());
}

#[tokio::test]
async fn no_line_is_longer_than_80_columns_but_for_a_word_that_is() {
    let mut checkup = Fixture::new(false).await;
    for name in [
        "STRIPE_WEBHOOK_SECRET",
        "SUREPASS_ADMIN_TOKEN",
        "SUREPASS_JWT_SECRET",
    ] {
        checkup.shop.set(name, "");
    }
    checkup.stripe.has(vec![]);
    checkup.stripe.state().forbidden = vec!["charges", "events"];
    let (status, page) = checkup.page().await;
    assert_eq!(status, 1);
    for line in page.lines() {
        let words = line.split_whitespace().filter(|word| word.len() > 1).count();
        assert!(line.chars().count() <= 80 || words <= 2, "{line}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
    assert!(page.contains("\n  ✗ "), "{page}");
    assert!(!page.contains('\u{1b}'), "no colours where it is no terminal");
}
