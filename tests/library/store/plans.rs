//! The plans of all statements on a store that is full: none reads a whole table that grows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, Connection, Executor, Row};
use support::home::Home;
use support::postgres::Cluster;
use support::purchases::{minute, purchase};
use surepass::store::{
    AuditRecord, EmailProof, FoundSession, LoggedEvent, LookbackRun, PendingSession, RunCounts, RunPhase,
    RunStep, SessionState, Store, Watermark, WebhookSecrets,
};

use crate::store::queries::{ROWS, ask, ask_of_people, filled};
use crate::store::statements::Statements;

/// The tables that grow, and the names that statements give them. Not among them: tenants, and a row for each detector.
const GROWING: [&str; 16] = [
    "subscriptions",
    "users",
    "events",
    "audit",
    "lookback_open",
    "lookback_runs",
    "lookback_sessions",
    "unmatched_payments",
    "refunded_payments",
    "proved_emails",
    "passes",
    "held",
    "made",
    "refund",
    "one",
    "later",
];

/// Indexes that may be read from one end: a page by age ends at its limit, and open cases are few.
const FROM_AN_END: [&str; 6] = [
    "USING INDEX subscriptions_by_age",
    "USING INDEX events_by_age",
    "USING INDEX audit_by_age",
    "USING INDEX lookback_runs_by_age",
    "USING INDEX unmatched_open_by_age",
    "USING INDEX unmatched_open_by_session",
];

/// What neither customers, workers nor lookbacks ask: maintenance, and the lookback's writes.
async fn ask_the_rest(store: &Arc<Store>, run: &LookbackRun) {
    let lookback = store.lookback();
    lookback.begin_run(run).await.unwrap();
    lookback.run("run-1").await.unwrap();
    lookback.runs(10).await.unwrap();
    lookback.failed_account_syncs(minute(ROWS - 10)).await.unwrap();
    let found = FoundSession {
        session: "cs_found".to_owned(),
        customer: "user-1".to_owned(),
        purchase: None,
        state: SessionState::Staged,
        error: None,
    };
    let step = RunStep {
        pending: vec![PendingSession {
            session: "cs_pending".to_owned(),
            account: None,
            customers: vec!["user-1".to_owned()],
            created_at: minute(ROWS),
        }],
        resolved: vec!["cs_7".to_owned()],
        ..RunStep::at(minute(ROWS))
    };
    let found = [found];
    assert!(lookback.save_step(run, &step, &found).await.unwrap());
    lookback.save_sessions(&run.id, &found).await.unwrap();
    lookback.count_sessions(&run.id).await.unwrap();
    lookback.advance_slice(&run.id, 0).await.unwrap();
    let ended = lookback.end_run(&run.id, RunPhase::Done, RunCounts::default(), None, minute(ROWS));
    ended.await.unwrap();
    lookback.delete_run(&run.id).await.unwrap();
    assert_eq!(lookback.delete_runs(minute(3), 10).await.unwrap(), 2);
    lookback.delete_old_pending_sessions(minute(3)).await.unwrap();
    let mark = Watermark {
        detector: "sessions".to_owned(),
        account: None,
        is_test: false,
        from: minute(0),
        to: minute(1),
        updated_at: minute(1),
    };
    lookback.raise_watermark(&mark).await.unwrap();
    lookback.watermarks().await.unwrap();

    let event = LoggedEvent {
        id: "evt_new".to_owned(),
        kind: "charge.refunded".to_owned(),
        account: None,
        livemode: false,
        tenant_slug: None,
        object_id: None,
        outcome: "enqueued".to_owned(),
        created_at: minute(ROWS),
        received_at: minute(ROWS),
        body: None,
    };
    store.events().append(&[event]).await.unwrap();
    store.events().paths_of("cs_19000").await.unwrap();
    assert_eq!(store.events().delete(minute(20), 10).await.unwrap(), 10);
    let record = AuditRecord {
        id: "audit-new".to_owned(),
        actor: "kari".to_owned(),
        action: "retry".to_owned(),
        target: "{}".to_owned(),
        reason: None,
        began_at: minute(ROWS),
        ended_at: None,
        outcome: None,
    };
    store.audit().begin(&record).await.unwrap();
    store.audit().end(&record.id, minute(ROWS), "done").await.unwrap();
    assert_eq!(store.audit().delete(minute(20), 10).await.unwrap(), 10);

    let mut guest = purchase("guest");
    guest.buyer.user_id = None;
    guest.buyer.email = Some("guest@example.com".to_owned());
    store.subscriptions().create(guest).await.unwrap();
    let proof = EmailProof {
        email: "guest@example.com",
        user: "user-guest",
        at: minute(ROWS),
        audit: "audit-guest",
    };
    store.users().prove_email(&proof).await.unwrap();

    store.catalog().known().await.unwrap();
    let mut tenant = store.catalog().one("t-500").await.unwrap().unwrap();
    "New".clone_into(&mut tenant.name);
    "New".clone_into(&mut tenant.passes[0].name);
    let secrets = vec!["whsec_new".to_owned().into()];
    let secrets = WebhookSecrets::from([(tenant.id.clone(), secrets)]);
    store.catalog().import(&[tenant], &secrets).await.unwrap();
    store.schema().await.unwrap();
    store.try_write().await.unwrap();
}

/// The statements that the store runs where everything is asked of it.
async fn all_statements(home: &Home, run: &LookbackRun) -> BTreeSet<String> {
    let statements = Statements::watched();
    let store = home.open().await;
    statements.taken();
    ask(&store, run).await;
    ask_of_people(&store).await;
    ask_the_rest(&store, run).await;
    store.close().await;
    let texts: BTreeSet<String> = statements.taken().into_iter().map(|one| one.text).collect();
    let missing: Vec<String> = written(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store")))
        .into_iter()
        .filter(|begin| !texts.iter().any(|text| text.contains(begin.as_str())))
        .collect();
    assert!(missing.is_empty(), "not asked, so not explained: {missing:#?}");
    // `ping` reads no row; the others are no queries.
    let is_query = |text: &String| {
        ["SELECT", "INSERT", "UPDATE", "DELETE"]
            .iter()
            .any(|verb| text.starts_with(verb))
    };
    texts
        .into_iter()
        .filter(|text| is_query(text) && !text.contains("WHERE 1 = 0"))
        .collect()
}

/// How each statement in the source begins, up to what differs from call to call or between the databases.
fn written(folder: &Path) -> Vec<String> {
    let mut begins = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            begins.extend(written(&path));
            continue;
        }
        // The dialects' own statements differ, and migrations run alone.
        if ["sqlite.rs", "postgres.rs"]
            .iter()
            .any(|name| path.ends_with(name))
        {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for literal in source.split('"').skip(1) {
            let text = literal.split_whitespace().filter(|word| *word != "\\");
            let text = text.collect::<Vec<_>>().join(" ");
            let begin = text.split(['{', '?']).next().unwrap_or_default();
            let begin = begin.split("= ANY(").next().unwrap_or_default();
            let begin = begin.trim_end_matches(" FOR UPDATE").trim_end();
            let verbs = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "];
            if verbs
                .iter()
                .any(|verb| begin.len() > verb.len() && begin.starts_with(verb))
                && !begin.contains("_sqlx_migrations (")
                && !begin.starts_with("SELECT version, checksum")
            {
                begins.push(begin.to_owned());
            }
        }
    }
    begins
}

#[tokio::test]
async fn no_statement_reads_a_whole_table_or_tenant_of_a_full_sqlite() {
    let home = Home::sqlite();
    let run = filled(&home).await;
    let mut connection = sqlx::SqliteConnection::connect(home.address().expose_secret())
        .await
        .unwrap();
    for text in all_statements(&home, &run).await {
        let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {text}"));
        let plan = sqlx::query(explain).fetch_all(&mut connection).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|step| step.get("detail")).collect();
        for step in &steps {
            let is_whole = step.starts_with("SCAN ")
                && GROWING.iter().any(|table| step.split(' ').nth(1) == Some(table))
                && !FROM_AN_END.iter().any(|index| step.contains(index));
            // In the order of their age a page of a tenant is read from its newest end.
            let is_tenant = step.contains("subscriptions_by_tenant (tenant_id=?)")
                && steps.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY"));
            assert!(!is_whole && !is_tenant, "{text}\n{steps:#?}");
        }
    }
}

#[tokio::test]
async fn no_statement_has_a_plan_that_reads_a_whole_table_of_a_full_postgres() {
    let home = Home::postgres(Arc::new(Cluster::start())).await;
    let run = filled(&home).await;
    let mut connection = sqlx::PgConnection::connect(home.address().expose_secret())
        .await
        .unwrap();
    // As the store's own sessions. A scan of a whole table is left only where no index serves.
    let session = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
    connection.execute(session).await.unwrap();
    for text in all_statements(&home, &run).await {
        // Its parameters have no types unless the program gives them.
        if text.starts_with("INSERT INTO unmatched_payments") {
            continue;
        }
        let parameters = (1..100).take_while(|n| text.contains(&format!("${n}"))).count();
        let nulls = vec!["NULL"; parameters].join(", ");
        let call = if nulls.is_empty() {
            nulls
        } else {
            format!("({nulls})")
        };
        let prepare = AssertSqlSafe(format!("DEALLOCATE ALL; PREPARE one AS {text}"));
        connection.execute(prepare).await.expect(&text);
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE one {call}"));
        let plan = connection.fetch_all(explain).await.expect(&text);
        let steps: Vec<String> = plan.iter().map(|step| step.get(0)).collect();
        for table in GROWING {
            let whole = format!("Seq Scan on {table} ");
            assert!(
                !steps.iter().any(|step| step.contains(&whole)),
                "{text}\n{steps:#?}"
            );
        }
    }
}
