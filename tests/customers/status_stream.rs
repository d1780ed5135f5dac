//! A purchase is followed as it changes, whatever stops or restarts meanwhile.

use chrono::TimeDelta;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::fixture::{Fixture, of, upgrade_from};
use support::program::awaited;
use support::shop::now;

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_purchase_that_becomes_active_is_pushed_as_the_post_answers_and_the_stream_ends() {
    let mut studio = Fixture::open_with("").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let token = studio.sign_in.token("kari").await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    let header = |name: &str| {
        let value = listening.response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").unwrap(), "text/event-stream");
    assert_eq!(header("cache-control").unwrap(), "no-store, no-transform");
    assert_eq!(header("x-accel-buffering").unwrap(), "no");
    // Nothing on the way may gather it to compress it.
    assert_eq!(header("content-encoding").unwrap(), "identity");

    let queued = listening.expect("queued").await;
    assert_eq!(queued.data, studio.told(&token, &session.session_id()).await);
    assert_eq!(listening.retries, [2_000]);
    studio.shop.start_worker().await;
    let active = listening.expect("active").await;
    assert_eq!(active.data, studio.told(&token, &session.session_id()).await);
    assert_eq!(active.data["subscription"]["passName"], "10 classes");
    assert!(!active.id.is_empty() && active.id != queued.id);
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_settles_is_pushed_and_not_only_looked_for() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    // By its looks alone, one in a dozen seconds, this would take minutes: told apart by the patience, not by a clock.
    let rounds = async {
        for _ in 0..20 {
            let session = of(studio.shop.session(), "kari");
            let mut listening = studio.follow(&token, &session.session_id()).await;
            listening.expect("unknown").await;
            studio.shop.buy(&session).await;
            listening.until("active").await;
            listening.expect_end().await;
        }
    };
    awaited("twenty purchases", rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retrying_purchase_is_pushed_with_its_attempt_and_when_the_next_comes() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let old = of(studio.shop.session(), "kari");
    let session = upgrade_from(&old, of(studio.shop.session(), "kari"));
    let mut listening = studio.follow(&token, &session.session_id()).await;
    studio.shop.buy(&session).await;
    let mut attempts = Vec::new();
    while attempts.len() < 3 {
        let retrying = listening.until("retrying").await;
        let next = retrying.data["nextAttemptAt"].clone();
        let next = chrono::DateTime::parse_from_rfc3339(next.as_str().unwrap()).unwrap();
        assert!((next.to_utc() - now()).abs() < TimeDelta::minutes(2), "{next}");
        attempts.push(retrying.data["attempt"].as_u64().unwrap());
    }
    assert_eq!(attempts, [1, 2, 3], "each attempt is told as it fails");
    studio.shop.buy(&old).await;
    listening.until("active").await;
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_purchase_is_pushed_as_failed_with_the_sync_enqueued_once() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari")
        .with("passId", None)
        .with("passName", None);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(studio.follow(&token, &session.session_id()).await);
    }
    studio.shop.buy(&session).await;
    for listening in &mut all {
        let failed = listening.until("failed").await;
        assert_eq!(
            (&failed.data["found"], &failed.data["webhookError"]),
            (&json!(false), &json!(true))
        );
        listening.expect_end().await;
    }
    let store = studio.shop.store().await;
    let runs = store.lookback().runs(10).await.unwrap();
    let keys: Vec<_> = runs.iter().map(|run| run.key.as_str()).collect();
    assert_eq!(keys, ["sync:studio:kari"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_stripe_knows_is_asked_for_and_then_pushed() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let paid = studio.stripe.session("kari", "paid").await;
    let mut listening = studio.follow(&token, &paid).await;
    listening.until("active").await;
    listening.expect_end().await;
    for (outcome, state) in [("failed", "declined"), ("expired", "expired")] {
        let session = studio.stripe.session("kari", outcome).await;
        let mut listening = studio.follow(&token, &session).await;
        listening.expect(state).await;
        listening.expect_end().await;
    }
    // Nobody publishes that a customer has paid at last: who follows looks by himself.
    let open = studio.stripe.session("kari", "open").await;
    let mut listening = studio.follow(&token, &open).await;
    listening.expect("unpaid").await;
    studio.stripe.pay(&open).await;
    listening.until("active").await;
    assert!(listening.comments > 0, "a heartbeat stands before each such look");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_session_stays_unknown_for_ever_also_while_it_is_fulfilled() {
    let mut studio = Fixture::open_with("").await;
    let (kari, ola) = (
        studio.sign_in.token("kari").await,
        studio.sign_in.token("ola").await,
    );
    let session = of(studio.shop.session(), "kari");
    let id = session.session_id();
    let mut theirs = studio.follow(&ola, &id).await;
    let mut nobodys = studio.follow(&ola, "cs_test_nobodyknowsthisone").await;
    let unknown = theirs.expect("unknown").await;
    assert_eq!(unknown.data, nobodys.expect("unknown").await.data);
    studio.shop.buy(&session).await;
    let mut own = studio.follow(&kari, &id).await;
    own.expect("queued").await;
    studio.shop.start_worker().await;
    own.expect("active").await;
    // Opened when all is done: the same.
    let mut late = studio.follow(&ola, &id).await;
    assert_eq!(late.expect("unknown").await.data, unknown.data);
    // A heartbeat: they have looked again, too.
    while theirs.comments == 0 {
        let block = awaited("a heartbeat", theirs.block()).await.unwrap();
        assert_eq!(theirs.read(&block), None, "{block}");
    }
    studio.shop.servers[0].program.signal(Signal::SIGTERM);
    for listening in [&mut theirs, &mut late, &mut nobodys] {
        assert_eq!(listening.rest().await, [], "nothing else was ever told");
    }
    // Nor did it set anything going.
    let store = studio.shop.store().await;
    assert!(store.lookback().runs(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_and_a_server_that_hears_nothing_meanwhile_lose_nothing() {
    let mut studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    listening.expect("queued").await;
    studio.shop.kill_redis().await;
    studio.shop.servers[0].program.signal(Signal::SIGSTOP);
    studio.shop.restart_redis().await;
    studio.shop.start_worker().await;
    studio.shop.worked_off().await;
    studio.shop.servers[0].program.signal(Signal::SIGCONT);
    let active = listening.until("active").await;
    assert_eq!(active.data["found"], true);
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_while_a_purchase_is_followed_ends_no_stream() {
    let mut studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    listening.expect("queued").await;
    studio.shop.kill_redis().await;
    // It looks, in vain, and goes on.
    while listening.comments == 0 {
        let block = awaited("a heartbeat", listening.block()).await.unwrap();
        assert_eq!(listening.read(&block), None, "{block}");
    }
    studio.shop.restart_redis().await;
    studio.shop.start_worker().await;
    listening.until("active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_ends_its_streams_at_once_and_another_takes_them_on_without_telling_twice() {
    let mut studio = Fixture::open_with("").await;
    studio.shop.start_server().await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    let id = session.session_id();
    studio.shop.buy(&session).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut listening = studio.follow(&token, &id).await;
        listening.expect("queued").await;
        all.push(listening);
    }
    studio.shop.servers[0].program.signal(Signal::SIGTERM);
    for listening in &mut all {
        // Had it been held open to the end of the server's patience, it would break off.
        assert_eq!(listening.next().await, None);
        let again = listening.retries.last().unwrap();
        assert!((1..=4_000).contains(again), "{:?}", listening.retries);
    }
    assert!(studio.shop.servers[0].program.ended().await.success());

    let resumed = studio
        .stream(1, Some(&token), &id)
        .header("Last-Event-ID", &all[0].last_id);
    let mut resumed = studio.listen(resumed).await;
    studio.shop.start_worker().await;
    let active = resumed.expect("active").await;
    resumed.expect_end().await;
    // Who knows even that, and comes again, is told to stay away: 204 is what a browser takes for it.
    let known = studio
        .stream(1, Some(&token), &id)
        .header("Last-Event-ID", &active.id);
    assert_eq!(studio.send(known).await.status, 204);
    // Whatever else a client claims to know is nothing to us.
    for odd in ["", "0", &"f".repeat(4_000), "\u{e6}"] {
        let asked = studio.stream(1, Some(&token), &id).header("Last-Event-ID", odd);
        let mut listening = studio.listen(asked).await;
        assert_eq!(listening.expect("active").await, active);
    }
}
