//! The sweep of an account.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use surepass::lookback::{AccountSyncRequest, LookbackJob, RunId};
use surepass::store::{CreatedVia, RunPhase};

use crate::sync::world::{World, ids, sweep};
use support::answer::Answer;
use support::program::{awaited, eventually, stderr};
use support::shop::now;

fn customers_jobs(done: &[String], run: &RunId) -> Vec<String> {
    let prefix = format!("sync:{run}:");
    done.iter()
        .filter_map(|id| id.strip_prefix(&prefix))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_nights_lookback_brings_what_is_missing_at_one_list_call_for_100_sessions() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let sold = world.sold_many(350);
    // Some came by webhook.
    for session in &sold[..40] {
        assert_eq!(world.shop.buy(session).await, Answer::accepted());
    }
    world.shop.settled().await;

    let request = sweep("nightly", 30);
    let asked = world.request_account_sync(&request).await;
    let report = world.report(&asked.run).await;
    assert_eq!(
        (
            report.total_sessions_found,
            report.created_count,
            report.skipped_count
        ),
        (350, 310, 40)
    );
    assert_eq!(
        (report.pages, report.customers, world.stripe.lists()),
        (4, 350, 4)
    );
    assert_eq!(
        world.stripe.calls().len(),
        4,
        "the customers' jobs share the listing"
    );
    assert_eq!(world.shop.fulfilled().await, ids(&sold));

    let mark = world.mark("sessions").await.unwrap();
    assert_eq!(mark.from, request.from);
    assert!(
        mark.to > now() - TimeDelta::minutes(5) && mark.to <= now(),
        "{mark:?}"
    );
    // Of what is in order nothing is kept.
    let store = world.shop.store().await;
    let kept = store
        .lookback()
        .found_sessions(
            asked.run.as_str(),
            None,
            &[surepass::store::SessionState::Existing],
            "",
            10,
        )
        .await;
    assert!(kept.unwrap().is_empty());
}

#[tokio::test]
async fn each_customer_is_enqueued_once_a_tick_however_many_ask_and_work() {
    let mut world = World::open().await;
    world.shop.start_worker().await;
    let sold = world.sold_many(230);
    // One customer with many purchases is one.
    for n in 0..20 {
        let mut session = world.shop.session().with("userId", Some("user_kari"));
        session.created = now() - TimeDelta::minutes(90 + n);
        world.stripe.sell(&session);
    }
    let request = sweep("nightly", 30);
    let lookback = world.lookback().await;
    let (one, other) = tokio::join!(
        lookback.request_account_sync(&request),
        lookback.request_account_sync(&request)
    );
    assert_eq!(one.unwrap().run, other.unwrap().run);
    let run = request.run();
    let report = world.report(&run).await;
    assert_eq!((report.created_count, report.customers), (250, 231));
    world.idle().await;
    // A third comes late.
    world.enqueue(LookbackJob::AccountSync(request)).await;
    world.idle().await;
    let jobs = customers_jobs(&world.done().await, &run);
    let distinct: BTreeSet<_> = jobs.iter().collect();
    assert_eq!((jobs.len(), distinct.len()), (231, 231));
    assert_eq!(world.stripe.lists(), 3);
    assert_eq!(world.shop.fulfilled().await.len(), sold.len() + 20);
}

#[tokio::test]
async fn a_sweep_resumes_where_it_stopped_after_a_crash() {
    let mut world = World::open().await;
    let sold = world.sold_many(450);
    world.stripe.hold(Some(4));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    let store = world.shop.store().await;
    let third_is_staged = async {
        loop {
            let run = store.lookback().run(asked.run.as_str()).await.unwrap().unwrap();
            if run.pages == 3 && world.stripe.lists() == 4 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    awaited("the third page", third_is_staged).await;
    let mut worker = world.shop.workers.remove(0);
    worker.killed().await;
    world.shop.bury(worker);
    world.stripe.hold(None);
    world.shop.start_worker().await;

    let report = world.report(&asked.run).await;
    assert_eq!((report.created_count, report.pages), (450, 5));
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    let cursors: Vec<_> = world
        .stripe
        .calls()
        .into_iter()
        .map(|call| call.query.into_iter().find(|(name, _)| name == "starting_after"))
        .collect();
    assert_eq!(
        cursors.len(),
        6,
        "only the page that was under way is asked for again"
    );
    assert_eq!(cursors[3], cursors[4]);
    assert_eq!(cursors.iter().filter(|cursor| cursor.is_none()).count(), 1);
}

#[tokio::test]
async fn a_sweep_comes_to_its_end_although_calls_fail_and_workers_are_killed_all_the_while() {
    let mut world = World::open().await;
    world.shop.start_worker().await;
    let sold = world.sold_many(1_500);
    world.stripe.delay(Duration::from_millis(150));
    for (list, status) in [(2, 500), (5, 429), (6, 503), (11, 500), (17, 429)] {
        world.stripe.fail(list, status);
    }
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    let run = asked.run.clone();
    let lookback = world.lookback().await;
    let mut killed = 0;
    loop {
        // A worker gets some way, so that a slow machine kills no one place three times.
        let listed = world.stripe.lists();
        let getting_on = async {
            loop {
                let done = lookback.report(&run).await.unwrap().unwrap().done;
                if done || world.stripe.lists() >= listed + 4 {
                    return done;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if awaited("more of the list is read", getting_on).await {
            break;
        }
        let mut worker = world.shop.workers.remove(0);
        worker.killed().await;
        world.shop.bury(worker);
        world.shop.start_worker().await;
        killed += 1;
    }
    assert!(killed > 2, "only {killed} were killed");
    let report = world.report(&run).await;
    assert_eq!(
        (
            report.phase,
            report.total_sessions_found,
            report.error_count,
            report.pending_count
        ),
        (RunPhase::Done, 1_500, 0, 0)
    );
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    assert!(world.mark("sessions").await.is_some());
}

#[tokio::test]
async fn a_sweep_that_kills_its_worker_at_one_place_is_poison_at_last() {
    let mut world = World::open().await;
    world.sold();
    world.stripe.hold(Some(1));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    let mut killed = 0;
    while world.queue("sync").counts().await.unwrap().dead == 0 {
        eventually("the next attempt", async || {
            !(world.stripe.lists() == killed && world.queue("sync").counts().await.unwrap().dead == 0)
        })
        .await;
        if world.stripe.lists() > killed {
            let mut worker = world.shop.workers.remove(0);
            worker.killed().await;
            world.shop.bury(worker);
            world.shop.start_worker().await;
            killed += 1;
        }
    }
    assert_eq!(killed, 5);
    let report = world.report(&asked.run).await;
    assert_eq!(report.phase, RunPhase::Failed);
    assert!(report.error.unwrap().starts_with("poison"));
}

#[tokio::test]
async fn recent_customers_are_found_from_the_store_and_the_event_log_too() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let long_ago = || {
        let mut session = world.shop.session();
        session.created = now() - TimeDelta::days(40);
        world.stripe.sell(&session);
        session
    };
    // Both sessions are older than the window, and were paid for in it: the first has its subscription, the second lost its
    // job after the event was logged.
    let (bought, lost) = (long_ago(), long_ago());
    assert_eq!(world.shop.buy(&bought).await, Answer::accepted());
    world.shop.settled().await;
    let paused = world.shop.surepass(&["jobs", "pause", "fulfil"]).await;
    assert!(paused.status.success(), "{}", stderr(&paused));
    assert_eq!(world.shop.buy(&lost).await, Answer::accepted());
    eventually("the event in the store", async || {
        world.shop.counts().await.log == 0
    })
    .await;
    for arguments in [["discard", &lost.session_id()], ["resume", "fulfil"]] {
        let done = world.shop.surepass(&[&["jobs"], &arguments[..]].concat()).await;
        assert!(done.status.success(), "{}", stderr(&done));
    }

    let mut request = sweep("nightly", 30);
    request.to = now() + TimeDelta::minutes(1);
    let asked = world.request_account_sync(&request).await;
    let report = world.report(&asked.run).await;
    assert_eq!((report.created, report.customers), (vec![lost.session_id()], 2));
    world.idle().await;
    let mut customers = customers_jobs(&world.done().await, &asked.run);
    customers.sort();
    assert_eq!(
        customers,
        [lost.session_id()],
        "the other buyer is asked after at Stripe"
    );
}

#[tokio::test]
async fn customers_are_spread_over_the_time_that_they_are_given() {
    let world = World::open().await;
    world.sold_many(60);
    let mut request = sweep("nightly", 30);
    request.spread_seconds = 3_600;
    let asked = world.request_account_sync(&request).await;
    let store = world.shop.store().await;
    eventually("the customers' jobs", async || {
        store
            .lookback()
            .run(asked.run.as_str())
            .await
            .unwrap()
            .unwrap()
            .phase
            == RunPhase::Settling
    })
    .await;
    let key = world.queue("sync").key("sched");
    let due = world
        .shop
        .redis(&["ZRANGE", &key, "0", "-1", "WITHSCORES"])
        .await
        .unwrap();
    let due: Vec<(String, u64)> = redis::from_redis_value(due).unwrap();
    let begin = u64::try_from(now().timestamp_millis()).unwrap();
    let minutes: BTreeSet<u64> = due
        .iter()
        .map(|(_, at)| at.saturating_sub(begin) / 60_000)
        .collect();
    assert!(
        minutes.len() > 25 && minutes.iter().all(|minute| *minute <= 60),
        "{minutes:?}"
    );
}

#[tokio::test]
async fn a_sweep_that_may_not_read_fails_in_words_and_proves_nothing() {
    let world = World::open().await;
    world.stripe.close("");
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    let report = world.report(&asked.run).await;
    assert_eq!(report.phase, RunPhase::Failed);
    assert!(report.error.unwrap().starts_with("stripe_forbidden"));
    assert_eq!(world.mark("sessions").await, None);
    // The next tick asks again: it is no dead letter. An operator's own is one.
    world.idle().await;
    assert_eq!(world.queue("sync").counts().await.unwrap().dead, 0);
    let (report, is_content) = world.sync(&["--all"]).await;
    assert!(!is_content, "{report}");
    let failure = report["failures"][0].as_str().unwrap();
    assert!(failure.starts_with("stripe_forbidden"), "{report}");
    world.idle().await;
    assert_eq!(world.queue("sync").counts().await.unwrap().dead, 1);
}

#[tokio::test]
async fn a_sweep_whose_job_died_goes_on_where_it_stood_when_a_person_retries_it() {
    let world = World::open().await;
    let sold = world.sold_many(250);
    world.stripe.fail(2, 403);
    // An operator's: the next tick of a schedule asks again by itself.
    let request = AccountSyncRequest {
        via: CreatedVia::Support,
        ..sweep("support", 30)
    };
    let asked = world.request_account_sync(&request).await;
    let report = world.report(&asked.run).await;
    assert_eq!((report.phase, report.pages), (RunPhase::Failed, 1));
    let error = report.error.unwrap();
    let told = [
        "stripe_forbidden: ",
        "give it the right to read it",
        "surepass jobs retry",
    ];
    assert!(told.iter().all(|words| error.contains(words)), "{error}");

    world.retry_dead().await;
    let report = world.report(&asked.run).await;
    assert_eq!(
        (report.phase, report.error, report.created_count, report.pages),
        (RunPhase::Done, None, 250, 3)
    );
    assert_eq!(world.stripe.lists(), 4);
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    assert!(world.mark("sessions").await.is_some());
}

#[tokio::test]
async fn a_session_without_a_type_whose_job_vanished_proves_nothing_and_one_that_is_none_of_ours_is_in_order()
{
    let world = World::open().await;
    let typeless = || world.shop.session().with("type", None);
    let ours = typeless();
    let ignoring = world.shop.file(
        "ignoring.toml",
        "[[tenants]]\nid = \"tenant-1\"\nslug = \"studio\"\nname = \"Studio\"\nunmatched = \"ignore\"\n",
    );
    let imported = world
        .shop
        .surepass(&["catalog", "import", ignoring.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let other = typeless().with("passId", None).with("passName", None);
    world.stripe.sell(&ours);
    world.stripe.sell(&other);
    let paused = world.shop.surepass(&["jobs", "pause", "fulfil"]).await;
    assert!(paused.status.success(), "{}", stderr(&paused));
    let asked = world.request_account_sync(&sweep("nightly", 30)).await;
    eventually("the jobs", async || world.shop.counts().await.waiting >= 2).await;
    for arguments in [["discard", &ours.session_id()], ["resume", "fulfil"]] {
        let done = world.shop.surepass(&[&["jobs"], &arguments[..]].concat()).await;
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let report = world.report(&asked.run).await;
    let errors: Vec<_> = report.errors.iter().map(|one| one.session.clone()).collect();
    assert_eq!((errors, report.skipped_count), (vec![ours.session_id()], 1));
    assert!(report.errors[0].error.starts_with("job_gone"), "{report:?}");
    assert_eq!(world.mark("sessions").await, None);
}
