//! What becomes of a sync's run: cut off, dead, gone, asked for twice.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use surepass::clock::Clock;
use surepass::lookback::{Customer, LookbackJob, RunId, SyncRequest};
use surepass::store::{CreatedVia, FoundSession, RunPhase, SessionState};

use crate::sync::world::{World, ids, sweep};
use support::program::{eventually, stderr};
use support::shop::now;

#[tokio::test]
async fn a_sync_whose_job_died_goes_on_when_a_person_retries_it() {
    let world = World::open().await;
    world.import_yoga().await;
    let at_studio = world.shop.session().with("userId", Some("user_kari"));
    let mut at_yoga = world.shop.session().with("userId", Some("user_kari"));
    at_yoga = at_yoga.with("tenantId", Some("tenant-2"));
    at_yoga.account = Some("acct_yoga".to_owned());
    world.stripe.sell(&at_studio);
    world.stripe.sell(&at_yoga);
    world.stripe.close("acct_yoga");
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(!is_content, "{report}");
    assert_eq!(report["created"], json!([at_studio.session_id()]));

    world.stripe.open("acct_yoga");
    world.retry_dead().await;
    let run = RunId::from(report["runs"][0].as_str().unwrap().to_owned());
    let report = world.report(&run).await;
    assert_eq!(
        (report.phase, report.error, report.created_count),
        (RunPhase::Done, None, 2)
    );
    assert_eq!(world.shop.fulfilled().await, ids(&[at_studio, at_yoga]));
}

#[tokio::test]
async fn a_sync_that_is_cut_off_has_brought_what_it_has_seen_and_goes_on_from_there() {
    let mut world = World::open().await;
    let mut own = Vec::new();
    for n in 0..350 {
        let mut session = world.shop.session().with("userId", Some("user_kari"));
        session.created = now() - TimeDelta::minutes(60 + n);
        world.stripe.sell(&session);
        own.push(session);
    }
    world.stripe.hold(Some(3));
    let (asked, _) = world.sync(&["--user", "user_kari", "--no-wait"]).await;
    let run = RunId::from(asked["runs"][0].as_str().unwrap().to_owned());
    eventually("what is on the first two pages", async || {
        !(world.shop.fulfilled().await.len() < 200 || world.stripe.lists() < 3)
    })
    .await;
    let mut worker = world.shop.workers.remove(0);
    worker.killed().await;
    world.shop.bury(worker);
    world.stripe.hold(None);
    world.shop.start_worker().await;

    let report = world.report(&run).await;
    assert_eq!((report.created_count, report.pages), (350, 4));
    assert_eq!(world.shop.fulfilled().await, ids(&own));
    assert_eq!(
        world.stripe.lists(),
        5,
        "only the page that was under way is asked for again"
    );
}

#[tokio::test]
async fn a_session_that_cannot_be_read_is_counted_and_is_no_success() {
    let world = World::open().await;
    let session = world.sold();
    let strange = json!({"id": "strange_1", "object": "checkout.session", "created": now().timestamp() - 60});
    world.stripe.add(None, strange);
    let user = format!("user_{}", session.unique);
    for arguments in [&["--user", &user][..], &["--all"]] {
        let (report, is_content) = world.sync(arguments).await;
        assert!(!is_content, "{report}");
        assert_eq!(
            (
                &report["unreadableCount"],
                &report["errorCount"],
                &report["totalSessionsFound"]
            ),
            (&json!(1), &json!(0), &json!(1)),
            "{report}"
        );
    }
}

#[tokio::test]
async fn a_run_whose_job_was_discarded_ends_in_words_instead_of_being_waited_for() {
    let world = World::prepare().await;
    let (asked, _) = world.sync(&["--user", "user_kari", "--no-wait"]).await;
    let run = RunId::from(asked["runs"][0].as_str().unwrap().to_owned());
    let mut lookback = world.lookback().await;
    let discarded = world
        .shop
        .surepass(&["jobs", "discard", "sync:*:user_kari"])
        .await;
    assert!(discarded.status.success(), "{}", stderr(&discarded));
    // It may be that it is only just being asked for.
    lookback.update(&run).await.unwrap();
    assert!(!lookback.report(&run).await.unwrap().unwrap().done);
    lookback.clock = Clock::new(|| now() + TimeDelta::minutes(1));
    lookback.update(&run).await.unwrap();
    let report = lookback.report(&run).await.unwrap().unwrap();
    assert_eq!((report.done, report.phase), (true, RunPhase::Failed));
    assert!(report.error.unwrap().starts_with("job_gone"));
}

#[tokio::test]
async fn an_operators_larger_look_is_made_after_the_customers_smaller_one_that_is_under_way() {
    let world = World::open().await;
    let mut old = world.shop.session().with("userId", Some("user_kari"));
    old.created = now() - TimeDelta::days(200);
    world.stripe.sell(&old);
    let jobs = async |arguments: &[&str]| {
        let done = world.shop.surepass(&[&["jobs"], arguments].concat()).await;
        assert!(done.status.success(), "{}", stderr(&done));
    };
    jobs(&["pause", "sync"]).await;
    let visit = SyncRequest {
        tenant: Some("studio".to_owned()),
        customer: Customer::User {
            id: "user_kari".to_owned(),
            verified_email: None,
        },
        days: 30,
        via: CreatedVia::Lookback,
        run: None,
    };
    let lookback = world.lookback().await;
    lookback
        .request_sync(&visit, ulid::Ulid::generate())
        .await
        .unwrap();
    let larger = ["--user", "user_kari", "--tenant", "studio", "--days", "365"];
    let refused = world
        .shop
        .surepass(&[&["sync", "--no-wait"], &larger[..]].concat())
        .await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("a narrower sync of this customer is running"),
        "{}",
        stderr(&refused)
    );

    let store = world.shop.store().await;
    let resume = async {
        while store.audit().list(10).await.unwrap().len() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        jobs(&["resume", "sync"]).await;
    };
    let ((report, is_content), ()) = tokio::join!(world.sync(&larger), resume);
    assert!(is_content, "{report}");
    assert_eq!(report["created"], json!([old.session_id()]), "{report}");
}

#[tokio::test]
async fn what_failed_of_a_customer_whom_a_sweep_found_is_brought_when_a_person_retries_their_job() {
    let world = World::open().await;
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    world.report(&asked.run).await;
    // As the sweep leaves it where the customer's job has died.
    let session = world.sold();
    let failed = FoundSession {
        session: session.session_id(),
        customer: "user_kari".to_owned(),
        purchase: None,
        state: SessionState::Failed,
        error: Some("stripe_forbidden: its job is a dead letter".to_owned()),
    };
    let store = world.shop.store().await;
    let noted = store
        .lookback()
        .save_sessions(asked.run.as_str(), &[failed])
        .await;
    noted.unwrap();
    let job = LookbackJob::Sync(SyncRequest {
        tenant: None,
        customer: Customer::Listed("user_kari".to_owned()),
        days: 1,
        via: CreatedVia::Lookback,
        run: Some(asked.run),
    });
    world.enqueue(job).await;
    world.idle().await;
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
}
