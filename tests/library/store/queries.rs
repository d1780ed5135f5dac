//! What queries read of a store that is full: rows that they are about, never a whole table or tenant.

use std::fmt::Write as _;
use std::sync::Arc;

use surepass::store::{
    CreatedVia, EmailProof, LookbackRun, Move, NewUnmatched, RefundedPayments, Resolution, Store,
    SubscriptionFilter, UnmatchedFilter, UnmatchedNote, UnmatchedState,
};

use support::home::Home;
use support::postgres::Cluster;
use support::purchases::{minute, purchase, upgrade};

/// One tenant's purchases, one a minute, each by a user of its own; and so many passes of other tenants, 20 each.
pub(super) const ROWS: i64 = 20_000;

/// All that customers, workers and lookbacks ask; `run` is a lookback's of the last hour.
pub(super) async fn ask(store: &Arc<Store>, run: &LookbackRun) {
    let users = ["user-19000", "user-19001"];
    assert_eq!(
        store
            .subscriptions()
            .held_by("tenant-studio", &users, 100)
            .await
            .unwrap()
            .len(),
        2
    );
    let filter = |user: Option<&str>, session: Option<&str>, email: Option<&str>| SubscriptionFilter {
        tenant_slug: Some("studio".to_owned()),
        user: user.map(str::to_owned),
        session: session.map(str::to_owned),
        email: email.map(str::to_owned),
        ..SubscriptionFilter::default()
    };
    for filter in [
        filter(Some("user-19000"), None, None),
        filter(None, Some("cs_19000"), None),
        filter(None, None, Some("19000@example.com")),
    ] {
        assert_eq!(
            store.subscriptions().list(&filter, 100).await.unwrap().len(),
            1,
            "{filter:?}"
        );
    }
    assert_eq!(
        store
            .subscriptions()
            .list(&filter(None, None, None), 10)
            .await
            .unwrap()
            .len(),
        10
    );
    store
        .subscriptions()
        .list(&SubscriptionFilter::default(), 10)
        .await
        .unwrap();
    store
        .subscriptions()
        .of(&["cs_19000"], &["pi_19001"])
        .await
        .unwrap();
    let page = store
        .subscriptions()
        .begun(run.from, run.to, None, 10)
        .await
        .unwrap();
    store
        .subscriptions()
        .begun(run.from, run.to, page.last(), 10)
        .await
        .unwrap();
    store.subscriptions().has_live().await.unwrap();
    store.events().one("evt_1").await.unwrap();
    store.events().list(10).await.unwrap();
    store.events().drop_bodies(minute(0), 10).await.unwrap();
    store.audit().list(10).await.unwrap();
    store.ping().await.unwrap();
    ask_of_the_catalog(store).await;

    let lookback = store.lookback();
    store
        .subscriptions()
        .fulfilled(&["cs_19000"], &["pi_19001"])
        .await
        .unwrap();
    assert_eq!(lookback.recent_buyers(run, "", 10).await.unwrap().len(), 10);
    lookback.logged_sessions(run, "", 10).await.unwrap();
    lookback
        .pending_sessions(None, &["user-19000"], run.from, 10)
        .await
        .unwrap();
    lookback.remove_pending_sessions(&["cs_19000"]).await.unwrap();
    lookback.found_customers("run", "", 10).await.unwrap();
    lookback
        .found_sessions("run", Some("user-19000"), &[], "", 10)
        .await
        .unwrap();
    lookback.found_sessions("run", None, &[], "", 10).await.unwrap();
    lookback.live_run("key").await.unwrap();

    for (name, user) in [("a", Some("user-19000")), ("b", None)] {
        let mut new = purchase(name);
        new.buyer.user_id = user.map(str::to_owned);
        store.subscriptions().create(new).await.unwrap();
    }
    store.subscriptions().create(upgrade("c", "a")).await.unwrap();
    store.subscriptions().create(purchase("a")).await.unwrap();
}

/// All that is asked of cases and of who has proved which email.
pub(super) async fn ask_of_people(store: &Arc<Store>) {
    let note = UnmatchedNote {
        at: minute(ROWS),
        who: "kari@studio".to_owned(),
        what: "closed".to_owned(),
        why: None,
    };
    let cases = store.unmatched();
    let new = NewUnmatched {
        id: "case_new".to_owned(),
        random: 1,
        account: None,
        session: "cs_new".to_owned(),
        payment: Some("pi_new".to_owned()),
        tenant: None,
        path_tenant: None,
        reason: "unresolved_pass".to_owned(),
        detail: String::new(),
        evidence: surepass::store::Evidence::default(),
        purchase: None,
        is_paid: true,
        at: minute(ROWS),
    };
    assert!(cases.open_unmatched(&new).await.unwrap().is_some());
    assert!(
        cases.open_unmatched(&new).await.unwrap().is_some(),
        "the same case"
    );
    for name in ["case_new", "cs_new", "pi_new"] {
        assert_eq!(cases.find_unmatched(name).await.unwrap().len(), 1, "{name}");
    }
    cases.unmatched_of(&["cs_lost_19000"]).await.unwrap();
    let open = UnmatchedFilter {
        state: Some(UnmatchedState::Open),
        ..UnmatchedFilter::default()
    };
    let first = cases.list_unmatched(&open, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    let after = UnmatchedFilter {
        after: first.last().map(|case| (case.opened_at, case.id.as_str())),
        ..open
    };
    cases.list_unmatched(&after, 10).await.unwrap();
    assert_eq!(cases.count_unmatched().await.unwrap().paid(), 1);
    let refunded = RefundedPayments {
        account: None,
        path_tenant: None,
        payments: &["pi_19000"],
        sessions: &["cs_19000"],
        at: minute(ROWS),
    };
    cases.close_refunded(&refunded).await.unwrap();
    cases.close_resolved(minute(ROWS), 10).await.unwrap();
    cases.note_unmatched("case_new", None, &note).await.unwrap();
    let by_a_person = Resolution::Person;
    assert!(
        cases
            .close_unmatched("case_new", by_a_person, &note)
            .await
            .unwrap()
    );
    assert_eq!(cases.drop_unmatched(minute(20), 10).await.unwrap(), 10);

    let ownership = store.users();
    ownership
        .verified_owners(&["19000@example.com", "nobody@example.com"])
        .await
        .unwrap();
    for email in ["19001@example.com", "new@example.com"] {
        let proof = EmailProof {
            email,
            user: "user-new",
            at: minute(ROWS),
            audit: email,
        };
        ownership.prove_email(&proof).await.unwrap();
    }
    ownership.moved(&["subscription-cs_19000"]).await.unwrap();
    let wanted = Move {
        subscription: "subscription-cs_19002",
        from: "user-19002",
        to: "user-new",
        email: None,
        at: minute(ROWS),
    };
    ownership.move_subscription(&wanted).await.unwrap();
}

async fn ask_of_the_catalog(store: &Arc<Store>) {
    store.catalog().version().await.unwrap();
    let tenant = store.catalog().one("t-500").await.unwrap().unwrap();
    assert_eq!(tenant.passes.len(), 20);
    let ids = ["t-500", "t-501"];
    assert_eq!(
        store.catalog().webhook_secrets(Some(&ids)).await.unwrap().len(),
        2
    );
    let page = store.catalog().pass_keys(None, 10).await.unwrap();
    assert_eq!(
        store.catalog().pass_keys(page.last(), 10).await.unwrap().len(),
        10
    );
}

pub(super) async fn filled(home: &Home) -> LookbackRun {
    home.ready().await.close().await;
    let (at, numbers) = match home {
        Home::Sqlite(_) => (
            format!("({} + n * 60000)", minute(0).timestamp_millis()),
            format!(
                "(WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ROWS}) \
                 SELECT n FROM numbers) AS numbers"
            ),
        ),
        Home::Postgres { .. } => (
            format!("to_timestamp({} + n * 60)", minute(0).timestamp()),
            format!("generate_series(1, {ROWS}) AS numbers (n)"),
        ),
    };
    let (yes, no) = match home {
        Home::Sqlite(_) => ("1", "0"),
        Home::Postgres { .. } => ("TRUE", "FALSE"),
    };
    let mut sql = String::new();
    write!(
        sql,
        "INSERT INTO users (id, email, created_at) SELECT 'user-' || n, n || '@example.com', {at} FROM {numbers}; \
         INSERT INTO subscriptions (id, user_id, tenant_id, type, start_date, end_date, pass_id, pass_name, \
         purchase_price, currency, stripe_payment_id, stripe_session_id, is_active, is_upgrade, created_via, \
         created_at, updated_at) SELECT 'subscription-cs_' || n, 'user-' || n, 'tenant-studio', 'clipcard', {at}, {at}, \
         'p', 'P', 1, 'nok', 'pi_' || n, 'cs_' || n, {yes}, {no}, 'webhook', {at}, {at} FROM {numbers}; \
         INSERT INTO events (id, type, livemode, object_id, outcome, created_at, received_at, body) \
         SELECT 'evt_' || n, 'checkout.session.completed', {no}, 'cs_' || n, 'enqueued', {at}, {at}, NULL FROM {numbers}; \
         INSERT INTO lookback_open (customer, session, account, created_at) \
         SELECT 'user-' || n, 'cs_' || n, '', {at} FROM {numbers}; \
         INSERT INTO unmatched_payments (id, reference, account, session, payment, reason, detail, evidence, is_paid, \
         state, resolution, history, opened_at, updated_at) \
         SELECT 'case_' || n, 'R' || n, '', 'cs_lost_' || n, 'pi_lost_' || n, 'unresolved_pass', '', '{{}}', {yes}, \
         'closed', 'person', '', {at}, {at} FROM {numbers}; \
         INSERT INTO refunded_payments (account, payment, path_tenant, seen_at) \
         SELECT '', 'pi_lost_' || n, '', {at} FROM {numbers}; \
         INSERT INTO proved_emails (email, user_id, proved_at) \
         SELECT n || '@example.com', 'user-' || n, {at} FROM {numbers}; \
         INSERT INTO lookback_runs (id, key, from_at, to_at, via, phase, slice, cursor, pages, customers, unreadable, \
         found, created, skipped, failed, pending, began_at, updated_at) \
         SELECT 'run-' || n, 'key-' || n, {at}, {at}, 'lookback', 'done', 0, '', 0, 0, 0, 0, 0, 0, 0, 0, {at}, {at} \
         FROM {numbers}; \
         INSERT INTO lookback_sessions (run, session, customer, state) \
         SELECT 'run-1', 'cs_' || n, 'user-' || n, 'existing' FROM {numbers}; \
         INSERT INTO audit (id, actor, action, target, began_at, ended_at, outcome) \
         SELECT 'audit-' || n, 'kari', 'retry', '', {at}, {at}, 'done' FROM {numbers}; \
         INSERT INTO tenants (id, slug, name, time_zone, webhook_secrets) \
         SELECT 't-' || n, 's-' || n, 'S', 'UTC', '[]' FROM {numbers} WHERE n <= {ROWS} / 20; \
         INSERT INTO passes (tenant_id, id, name, type, price, currency, stripe_price_ids, is_active) \
         SELECT 't-' || (1 + n % ({ROWS} / 20)), 'p-' || n, 'P', 'single', 1, 'nok', '[]', {yes} FROM {numbers}; ANALYZE;"
    )
    .unwrap();
    home.run(&sql).await;
    LookbackRun::new(
        "run",
        "key",
        CreatedVia::Lookback,
        minute(ROWS - 60),
        minute(ROWS),
        minute(ROWS),
    )
}

#[tokio::test]
async fn no_query_reads_a_whole_table_or_tenant_of_a_full_postgres() {
    let home = Home::postgres(Arc::new(Cluster::start())).await;
    let run = filled(&home).await;
    let read = async || {
        home.number(
            "SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint FROM pg_stat_user_tables \
             WHERE relname IN ('subscriptions', 'users', 'events', 'lookback_open', 'lookback_sessions', \
             'unmatched_payments', 'refunded_payments', 'proved_emails', 'passes')",
        )
        .await
    };
    let calls = "SELECT idx_scan FROM pg_stat_user_tables WHERE relname = 'subscriptions'";
    let (rows, scans) = (read().await, home.number(calls).await);
    let store = home.open().await;
    ask(&store, &run).await;
    ask_of_people(&store).await;
    store.close().await;
    // The server counts when a connection ends, a moment after it was closed here.
    while home.number(calls).await < scans + 10 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let rows = read().await - rows;
    assert!(rows < ROWS / 10, "{rows} rows were read");
}
