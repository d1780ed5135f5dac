//! What the lookback keeps.

use surepass::store::{
    CreatedVia, FoundSession, FulfilledPurchase, LoggedEvent, LookbackRun, RunCounts, RunPhase, RunStep,
    SessionState, WebhookSecrets,
};

use crate::store::create;
use support::home::Home;
use support::purchases::{minute, purchase, tenant};

contract!(
    sessions_and_payments_that_have_made_a_subscription_are_told_in_one_call,
    a_run_is_begun_once_and_found_by_its_key_until_it_is_over,
    the_last_sweep_of_an_account_is_told_if_it_failed,
    a_step_is_taken_once_with_what_it_has_found_and_by_the_slice_that_may,
    what_was_found_is_listed_counted_and_dropped_when_the_run_ends,
    recent_buyers_and_logged_sessions_are_those_of_the_account_that_the_run_has_not_found,
);

pub(crate) fn run(id: &str) -> LookbackRun {
    LookbackRun {
        phase: RunPhase::Listing,
        ..LookbackRun::new(
            id,
            "sync:*:user_1",
            CreatedVia::Lookback,
            minute(0),
            minute(100),
            minute(10),
        )
    }
}

fn found(session: &str, customer: &str, state: SessionState) -> FoundSession {
    FoundSession {
        session: session.to_owned(),
        customer: customer.to_owned(),
        purchase: Some("{}".to_owned()),
        state,
        error: None,
    }
}

pub(crate) fn step(phase: RunPhase, cursor: &str) -> RunStep {
    RunStep {
        phase,
        cursor: cursor.to_owned(),
        pages: 1,
        ..RunStep::at(minute(11))
    }
}

async fn sessions_and_payments_that_have_made_a_subscription_are_told_in_one_call(home: Home) {
    let store = home.ready().await;
    for name in ["a", "b", "c"] {
        create(&store, purchase(name)).await;
    }
    let mut free = purchase("free");
    free.subscription.stripe_payment_id = None;
    free.subscription.created_via = CreatedVia::Support;
    create(&store, free).await;
    let held = async |sessions: &[&str], payments: &[&str]| {
        let mut held = store.subscriptions().fulfilled(sessions, payments).await.unwrap();
        held.sort_by(|a, b| a.session.cmp(&b.session));
        held
    };
    let one = |name: &str| FulfilledPurchase {
        session: format!("cs_{name}"),
        payment: Some(format!("pi_{name}")),
        via: CreatedVia::Webhook,
    };
    assert_eq!(
        held(&["cs_a", "cs_x"], &["pi_a", "pi_c", "pi_x"]).await,
        [one("a"), one("c")]
    );
    let free = FulfilledPurchase {
        session: "cs_free".to_owned(),
        payment: None,
        via: CreatedVia::Support,
    };
    assert_eq!(held(&["cs_free"], &[]).await, [free]);
    assert_eq!(held(&[], &[]).await, []);
    let many: Vec<String> = (0..500).map(|n| format!("cs_none{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(["cs_b"]).collect();
    assert_eq!(held(&many, &[]).await, [one("b")]);
}

async fn a_run_is_begun_once_and_found_by_its_key_until_it_is_over(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    assert!(records.begin_run(&run("1")).await.unwrap());
    let mut other = run("1");
    other.phase = RunPhase::Settling;
    assert!(!records.begin_run(&other).await.unwrap());
    assert_eq!(records.run("1").await.unwrap(), Some(run("1")));
    assert_eq!(records.run("2").await.unwrap(), None);

    let mut newer = run("2");
    newer.began_at = minute(20);
    newer.phase = RunPhase::Waiting;
    records.begin_run(&newer).await.unwrap();
    let live = async || records.live_run("sync:*:user_1").await.unwrap().map(|run| run.id);
    assert_eq!(live().await.as_deref(), Some("2"));
    assert_eq!(records.live_run("sync:*:user_2").await.unwrap(), None);
    // One that somebody has begun is not forgotten.
    records.delete_run("1").await.unwrap();
    records.delete_run("2").await.unwrap();
    assert_eq!(live().await.as_deref(), Some("1"));

    let counts = RunCounts {
        found: 3,
        created: 1,
        skipped: 1,
        failed: 1,
        pending: 0,
    };
    records
        .end_run("1", RunPhase::Failed, counts, Some("why"), minute(30))
        .await
        .unwrap();
    records
        .end_run("1", RunPhase::Done, RunCounts::default(), None, minute(31))
        .await
        .unwrap();
    assert_eq!(live().await, None);
    let ended = records.run("1").await.unwrap().unwrap();
    assert_eq!(
        (
            ended.phase,
            ended.counts,
            ended.error.as_deref(),
            ended.updated_at
        ),
        (RunPhase::Failed, counts, Some("why"), minute(30)),
        "the first word counts"
    );
    assert_eq!(records.runs(10).await.unwrap(), [ended]);
}

async fn the_last_sweep_of_an_account_is_told_if_it_failed(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let ended = async |id: &str, account: Option<&str>, via, began: i64, phase: RunPhase| {
        let mut one = run(id);
        (one.account, one.via, one.began_at) = (account.map(str::to_owned), via, minute(began));
        records.begin_run(&one).await.unwrap();
        let counts = RunCounts::default();
        records
            .end_run(id, phase, counts, None, minute(began + 1))
            .await
            .unwrap();
    };
    let (lookback, support) = (CreatedVia::Lookback, CreatedVia::Support);
    ended("1", None, lookback, 10, RunPhase::Failed).await;
    ended("2", Some("acct_a"), lookback, 10, RunPhase::Failed).await;
    ended("3", Some("acct_a"), lookback, 20, RunPhase::Done).await;
    ended("4", Some("acct_b"), lookback, 10, RunPhase::Done).await;
    ended("5", Some("acct_b"), lookback, 20, RunPhase::Failed).await;
    ended("6", Some("acct_c"), support, 20, RunPhase::Failed).await;
    ended("7", None, support, 20, RunPhase::Done).await;
    let mut live = run("8");
    (live.account, live.began_at) = (Some("acct_b".to_owned()), minute(30));
    records.begin_run(&live).await.unwrap();
    let failed = async |since| -> Vec<String> {
        let failed = records.failed_account_syncs(minute(since)).await.unwrap();
        let mut ids: Vec<_> = failed.into_iter().map(|run| run.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(failed(0).await, ["1", "5"]);
    assert_eq!(failed(15).await, ["5"]);
}

async fn a_step_is_taken_once_with_what_it_has_found_and_by_the_slice_that_may(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    records.begin_run(&run("1")).await.unwrap();
    let first: Vec<_> = (0..100)
        .map(|n| found(&format!("cs_{n:03}"), "user_1", SessionState::Staged))
        .collect();
    assert!(
        records
            .save_step(&run("1"), &step(RunPhase::Listing, "cs_099"), &first)
            .await
            .unwrap()
    );
    // Again, by one who knows only how it stood before: not even what it found is written.
    let late = [found("cs_late", "user_1", SessionState::Staged)];
    assert!(
        !records
            .save_step(&run("1"), &step(RunPhase::Listing, "cs_late"), &late)
            .await
            .unwrap()
    );
    let stands = records.run("1").await.unwrap().unwrap();
    assert_eq!(
        (stands.cursor.as_str(), stands.pages, stands.updated_at),
        ("cs_099", 1, minute(11))
    );
    assert_eq!(records.count_sessions("1").await.unwrap().found, 100);

    // Handed on once; then the old slice may no more.
    assert!(records.advance_slice("1", 0).await.unwrap());
    assert!(!records.advance_slice("1", 0).await.unwrap());
    assert!(
        !records
            .save_step(&stands, &step(RunPhase::Gathering, ""), &late)
            .await
            .unwrap()
    );
    let handed_on = records.run("1").await.unwrap().unwrap();
    assert_eq!(handed_on.slice, 1);
    // A session that comes twice keeps what became of it.
    records
        .save_sessions("1", &[found("cs_000", "user_1", SessionState::Enqueued)])
        .await
        .unwrap();
    let mut last = step(RunPhase::Gathering, "");
    last.error = Some("why".to_owned());
    let again = [found("cs_000", "user_1", SessionState::Staged)];
    assert!(records.save_step(&handed_on, &last, &again).await.unwrap());
    let after = records.run("1").await.unwrap().unwrap();
    assert_eq!(
        (after.phase, after.pages, after.error.as_deref()),
        (RunPhase::Gathering, 2, Some("why"))
    );
    let enqueued = records
        .found_sessions("1", None, &[SessionState::Enqueued], "", 10)
        .await
        .unwrap();
    assert_eq!(enqueued.len(), 1);
}

async fn what_was_found_is_listed_counted_and_dropped_when_the_run_ends(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    for id in ["1", "2"] {
        records.begin_run(&run(id)).await.unwrap();
    }
    let all = [
        found("cs_a", "user_2", SessionState::Staged),
        found("cs_b", "user_1", SessionState::Enqueued),
        found("cs_c", "user_1", SessionState::Existing),
        found("cs_d", "user_3", SessionState::Created),
        found("cs_e", "user_1", SessionState::Ignored),
        found("cs_f", "user_1", SessionState::Dead),
        found("cs_g", "user_1", SessionState::Failed),
    ];
    records.save_sessions("1", &all).await.unwrap();
    records.save_sessions("2", &all[..1]).await.unwrap();

    let customers = async |after: &str, limit| records.found_customers("1", after, limit).await.unwrap();
    assert_eq!(customers("", 2).await, ["user_1", "user_2"]);
    assert_eq!(customers("user_2", 2).await, ["user_3"]);

    let sessions = async |customer: Option<&str>, states: &[SessionState], after: &str, limit| {
        let rows = records.found_sessions("1", customer, states, after, limit).await;
        let rows = rows.unwrap().into_iter();
        rows.map(|row| row.session).collect::<Vec<_>>()
    };
    let states = [SessionState::Staged, SessionState::Enqueued, SessionState::Dead];
    assert_eq!(sessions(None, &states, "", 10).await, ["cs_a", "cs_b", "cs_f"]);
    assert_eq!(sessions(None, &states, "cs_a", 1).await, ["cs_b"]);
    assert_eq!(sessions(Some("user_1"), &states, "", 10).await, ["cs_b", "cs_f"]);

    let counts = records.count_sessions("1").await.unwrap();
    let expected = RunCounts {
        found: 7,
        created: 1,
        skipped: 2,
        failed: 2,
        pending: 2,
    };
    assert_eq!(counts, expected);
    let mut noted = all[5].clone();
    noted.purchase = None;
    noted.error = Some("unresolved_pass".to_owned());
    records
        .save_sessions("1", std::slice::from_ref(&noted))
        .await
        .unwrap();
    let dead = records
        .found_sessions("1", None, &[SessionState::Dead], "", 10)
        .await;
    assert_eq!(dead.unwrap(), [noted]);

    records
        .end_run("1", RunPhase::Done, counts, None, minute(30))
        .await
        .unwrap();
    assert_eq!(
        sessions(None, &SessionState::ALL, "", 10).await,
        ["cs_d", "cs_f", "cs_g"]
    );
    assert_eq!(
        records.count_sessions("2").await.unwrap().found,
        1,
        "another run's stay"
    );

    assert_eq!(records.delete_runs(minute(10), 10).await.unwrap(), 0);
    assert_eq!(records.delete_runs(minute(11), 1).await.unwrap(), 1);
    assert_eq!(records.delete_runs(minute(11), 10).await.unwrap(), 1);
    assert!(records.runs(10).await.unwrap().is_empty());
    assert_eq!(home.number("SELECT count(*) FROM lookback_sessions").await, 0);
}

async fn recent_buyers_and_logged_sessions_are_those_of_the_account_that_the_run_has_not_found(home: Home) {
    let store = home.ready().await;
    let records = store.lookback();
    let mut connected = tenant("connected");
    connected.stripe_account = Some("acct_1".to_owned());
    store
        .catalog()
        .import(&[connected], &WebhookSecrets::new())
        .await
        .unwrap();
    let buy = async |name: &str, tenant: &str, at: i64| {
        let mut new = purchase(name);
        new.subscription.tenant = tenant.to_owned();
        new.subscription.created_at = minute(at);
        create(&store, new).await;
    };
    buy("old", "tenant-studio", -1).await;
    buy("a", "tenant-studio", 0).await;
    buy("b", "tenant-other", 50).await;
    buy("c", "tenant-studio", 60).await;
    buy("late", "tenant-studio", 100).await;
    buy("away", "tenant-connected", 50).await;
    let mut events = Vec::new();
    for (name, at, account, outcome) in [
        ("a", 5, None, "enqueued"),
        ("x", 5, None, "enqueued"),
        ("y", 6, None, "enqueued: already a dead letter"),
        ("ignored", 6, None, "ignored: awaiting_payment"),
        ("before", -5, None, "enqueued"),
        ("away_x", 5, Some("acct_1"), "enqueued"),
        ("listed", 5, None, "enqueued"),
    ] {
        events.push(LoggedEvent {
            id: format!("evt_{name}"),
            kind: "checkout.session.completed".to_owned(),
            account: account.map(str::to_owned),
            livemode: false,
            tenant_slug: None,
            object_id: Some(format!("cs_{name}")),
            outcome: outcome.to_owned(),
            created_at: minute(at),
            received_at: minute(at),
            body: None,
        });
    }
    store.events().append(&events).await.unwrap();

    let own = run("1");
    records.begin_run(&own).await.unwrap();
    let listed = [
        found("cs_c", "user_c", SessionState::Existing),
        found("cs_listed", "user_1", SessionState::Staged),
    ];
    records.save_sessions("1", &listed).await.unwrap();
    let mut connected = run("2");
    connected.account = Some("acct_1".to_owned());

    let buyers = async |run: &LookbackRun, after: &str, limit| {
        let buyers = records.recent_buyers(run, after, limit).await.unwrap();
        buyers.into_iter().map(|buyer| buyer.key).collect::<Vec<_>>()
    };
    assert_eq!(buyers(&own, "", 10).await, ["other user_b", "studio user_a"]);
    assert_eq!(buyers(&own, "other user_b", 1).await, ["studio user_a"]);
    assert_eq!(buyers(&connected, "", 10).await, ["connected user_away"]);
    let logged = async |run: &LookbackRun, after: &str, limit| {
        records.logged_sessions(run, after, limit).await.unwrap()
    };
    assert_eq!(logged(&own, "", 10).await, ["cs_x", "cs_y"]);
    assert_eq!(logged(&own, "cs_x", 1).await, ["cs_y"]);
    assert_eq!(logged(&connected, "", 10).await, ["cs_away_x"]);
}
