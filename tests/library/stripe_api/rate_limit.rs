//! The limit of calls that all processes share, in a real Redis and by its clock.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::ExposeSecret;
use surepass::queue::{Redis, RedisOptions, Reservation, Taken, TokenBucket};
use surepass::stripe::api::{Client, Pace, http};
use surepass::stripe_rate_limit;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::stripe_api::world::{SetClock, World, bucket, now};
use support::stripe_faults::{Fake, PATIENCE, ok, options, status_with};

const CHILD: &str = "SUREPASS_TEST_CALLS_BY_THE_BUCKET";
const CHARGE: &str = r#"{"id":"ch_1","amount":7}"#;

async fn place(bucket: &TokenBucket, held: Option<&Reservation>) -> (Reservation, Duration) {
    match bucket.take(held).await.unwrap() {
        Taken::Reserved(place, wait) => (place, wait),
        Taken::TooLong(wait) => panic!("no place for {wait:?}"),
    }
}

/// How long after `from` the place is, in µs; negative: before.
fn after(place: &Reservation, from: u64) -> i64 {
    i64::try_from(place.due).unwrap() - i64::try_from(from).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_calls_no_stretch_of_time_sees_more_than_the_burst_and_the_rate() {
    const RATE: u32 = 100;
    const BURST: u32 = 10;
    let world = World::new().await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let bucket = world.bucket(RATE, BURST);
        callers.spawn(async move {
            let mut granted = Vec::new();
            for _ in 0..25 {
                granted.push(bucket.wait().await.unwrap().unwrap());
            }
            granted
        });
    }
    let mut granted: Vec<u64> = callers.join_all().await.into_iter().flatten().collect();
    granted.sort_unstable();
    assert_eq!(granted.len(), 200);
    let gap = u64::from(1_000_000 / RATE);
    for (i, first) in granted.iter().enumerate() {
        for (count, last) in (1_u64..).zip(&granted[i..]) {
            let most = u64::from(BURST) + (last - first) / gap;
            assert!(count <= most, "{count} calls within {} µs", last - first);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_never_call_faster_than_the_rate_that_they_share() {
    const RATE: u32 = 40;
    const BURST: u32 = 4;
    const CALLS: usize = 50;
    let world = World::new().await;
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let fake = {
        let clock = Mutex::new(world.connection());
        let arrivals = Arc::clone(&arrivals);
        Fake::start(move |request, _| {
            let who = request.header("stripe-account").unwrap().to_owned();
            arrivals
                .lock()
                .unwrap()
                .push((now(&mut clock.lock().unwrap()), who));
            ok(CHARGE)
        })
        .await
    };
    let begin = world.now();
    let children = ["acct_1", "acct_2"].map(|account| {
        let told = format!(
            "{} {} {account} {RATE} {BURST} {CALLS}",
            world.server.url().expose_secret(),
            fake.base
        );
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "stripe_api::rate_limit::child_that_calls_by_the_bucket",
                "--nocapture",
            ])
            .env(CHILD, told)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        tokio::time::timeout(PATIENCE, child)
    });
    for output in futures::future::join_all(children).await {
        let output = output.expect("it ends").unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    for account in ["acct_1", "acct_2"] {
        assert_eq!(arrivals.iter().filter(|(_, who)| who == account).count(), CALLS);
    }
    // What is under way may bunch up, but never more can have come than were let go.
    for (count, (at, _)) in (1_u64..).zip(&arrivals) {
        let most = u64::from(BURST) + (at - begin) * u64::from(RATE) / 1_000_000;
        assert!(
            count <= most,
            "{count} calls {} µs after the beginning",
            at - begin
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_calls_by_the_bucket() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let told: Vec<&str> = told.split(' ').collect();
    let [url, base, account, rate, burst, calls] = told[..] else {
        panic!("{told:?}")
    };
    let pace: Arc<dyn Pace> = Arc::new(bucket(url, rate.parse().unwrap(), burst.parse().unwrap()));
    let client = Client::new(http().unwrap(), options(&base.parse().unwrap()), pace);
    let mut callers = JoinSet::new();
    for _ in 0..calls.parse::<usize>().unwrap() {
        let account = client.account(Some(account));
        callers.spawn(async move { account.charge("ch_1").await.unwrap().unwrap() });
    }
    callers.join_all().await;
}

#[tokio::test]
async fn places_are_one_gap_apart_and_nobody_overtakes() {
    let world = World::new().await;
    let mut clock = SetClock::new(&world);
    let begin = clock.now;
    let places: Vec<_> = (0..10).map(|_| clock.place(10, 2, None).0).collect();
    let gaps = places.iter().map(|place| (place.due - begin) / 100_000);
    assert_eq!(
        gaps.collect::<Vec<_>>(),
        [0, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        "two at once, and eight gaps"
    );
    assert_eq!(places[9].due - begin, 800_000);
    clock.now += 300_000;
    let (held, wait) = clock.place(10, 2, Some(&places[9]));
    assert_eq!(
        (held, wait),
        (places[9].clone(), 500_000),
        "who asks after a place keeps it"
    );
}

#[tokio::test]
async fn a_line_that_is_too_long_is_told_at_once_and_takes_no_place() {
    let world = World::new().await;
    let bucket = world.bucket(1, 1);
    // Places for ten seconds, and the one that is free now.
    for _ in 0..10 {
        place(&bucket, None).await;
    }
    let begin = world.now();
    let mut waits = Vec::new();
    while world.now() - begin < 20_000_000 {
        if let Taken::TooLong(wait) = bucket.take(None).await.unwrap() {
            waits.push(wait);
            if waits.len() == 3 {
                break;
            }
        }
    }
    assert!(
        waits.is_sorted_by(|a, b| a > b),
        "the line got no longer: {waits:?}"
    );
    let error = bucket.turn().await.unwrap_err();
    assert!(
        error.is_transient() && error.retry_after() > Some(Duration::from_secs(5)),
        "{error}"
    );
    assert_eq!(error.reason(), "stripe_busy");
}

#[tokio::test]
async fn after_a_429_nobody_calls_and_those_in_line_stand_in_it_anew() {
    let world = World::new().await;
    let mut clock = SetClock::new(&world);
    clock.place(10, 1, None);
    let (waiting, wait) = clock.place(10, 1, None);
    assert_eq!(wait, 100_000);
    clock.pause(3);
    let (anew, wait) = clock.place(10, 1, Some(&waiting));
    assert_eq!((anew.due - clock.now, wait), (3_000_000, 3_000_000));
    assert_ne!(anew, waiting);
    let behind = clock.place(10, 1, None).0;
    assert_eq!(behind.due - anew.due, 200_000, "from there on at half the rate");
    // Those who were refused at the same time are one reason to slow down, not many; a shorter pause changes nothing.
    clock.pause(1);
    assert_eq!(clock.place(10, 1, Some(&anew)).0, anew);
    clock.pause(4);
    let first = clock.place(10, 1, Some(&anew)).0;
    let second = clock.place(10, 1, None).0;
    assert_eq!(second.due - first.due, 200_000, "still at half the rate");
}

#[tokio::test]
async fn the_rate_is_halved_by_each_429_down_to_an_eighth_and_comes_back_within_a_minute() {
    let world = World::new().await;
    let mut clock = SetClock::new(&world);
    let gap = |clock: &mut SetClock| {
        let first = clock.place(10, 1, None).0;
        clock.place(10, 1, None).0.due - first.due
    };
    for (seconds_later, expected) in [
        (0, 200_000),
        (4, 375_000),
        (4, 666_667),
        (4, 800_000),
        (4, 800_000),
    ] {
        clock.now += seconds_later * 1_000_000;
        clock.pause(2);
        let gap = gap(&mut clock);
        assert!(
            gap.abs_diff(expected) <= expected / 20,
            "{gap} instead of {expected} µs"
        );
    }
    // It ends two seconds from now, at an eighth.
    for (seconds_later, at_least, at_most) in [(32, 145_000, 160_000), (30, 100_000, 100_000)] {
        clock.now += seconds_later * 1_000_000;
        let gap = gap(&mut clock);
        assert!(
            (at_least..=at_most).contains(&gap),
            "{seconds_later} s later: {gap} µs"
        );
    }
}

#[tokio::test]
async fn one_429_slows_the_others_down() {
    let world = World::new().await;
    let refused = status_with(429, &[("Retry-After", "1")], r#"{"error":{"code":"rate_limit"}}"#);
    let fake = Fake::in_order(vec![refused, ok(CHARGE)]).await;
    let pace: Arc<dyn Pace> = Arc::new(world.bucket(10, 1));
    let client = Client::new(http().unwrap(), options(&fake.base), pace);
    client.account(None).charge("ch_1").await.unwrap();
    let other = world.bucket(10, 1);
    let first = place(&other, None).await.0;
    let second = place(&other, None).await.0;
    assert!(after(&second, first.due) > 110_000, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_pause_is_a_minute_at_most_whatever_stripe_asks_for() {
    let world = World::new().await;
    let bucket = world.bucket(10, 1);
    bucket.pause(Duration::MAX).await.unwrap();
    let Taken::TooLong(wait) = bucket.take(None).await.unwrap() else {
        panic!("nobody calls now")
    };
    assert!(
        wait <= Duration::from_mins(1) && wait > Duration::from_secs(10),
        "{wait:?}"
    );
}

#[tokio::test]
async fn a_clock_that_was_put_back_stops_nobody() {
    let world = World::new().await;
    let bucket = world.bucket(10, 1);
    place(&bucket, None).await;
    let hour = 3_600_000_000;
    world.set("next", world.now() + hour);
    assert_eq!(place(&bucket, None).await.1, Duration::ZERO);
    bucket.pause(Duration::from_secs(1)).await.unwrap();
    world.set("slow", world.now() + hour);
    bucket.pause(Duration::from_secs(2)).await.unwrap();
    let slow: u64 = world.field("slow").unwrap().parse().unwrap();
    assert!(slow < world.now() + hour / 2, "a pause counts again");
}

#[tokio::test]
async fn a_bucket_that_nobody_uses_is_forgotten() {
    let world = World::new().await;
    let bucket = world.bucket(10, 5);
    let left = || -> i64 {
        redis::Cmd::pttl("{surepass:stripe}:bucket")
            .query(&mut world.connection())
            .unwrap()
    };
    place(&bucket, None).await;
    assert!((500..=3_000).contains(&left()), "{} ms", left());
    bucket.pause(Duration::from_secs(1)).await.unwrap();
    assert!((60_000..=63_000).contains(&left()), "{} ms", left());
}

#[tokio::test]
async fn without_redis_no_call_is_made_and_the_error_is_a_passing_one_and_it_comes_back() {
    let mut world = World::new().await;
    let fake = Fake::always(ok(CHARGE)).await;
    let pace: Arc<dyn Pace> = Arc::new(world.bucket(10, 1));
    let client = Client::new(http().unwrap(), options(&fake.base), Arc::clone(&pace)).account(None);
    client.charge("ch_1").await.unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    world.server.wait().await.unwrap();
    let error = client.charge("ch_1").await.unwrap_err();
    assert!(
        error.is_transient() && error.to_string().contains("Redis"),
        "{error}"
    );
    assert_eq!((error.reason(), fake.asked().len()), ("stripe_pace", 1));
    pace.slow_down(Duration::from_secs(1)).await;
    world.server.restart().await.unwrap();
    let back = async { while client.charge("ch_1").await.is_err() {} };
    tokio::time::timeout(PATIENCE, back)
        .await
        .expect("it comes back by itself");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_redis_that_is_silent_is_as_one_that_is_away() {
    let world = World::new().await;
    let patience = RedisOptions {
        response_timeout: Duration::from_millis(300),
        ..RedisOptions::default()
    };
    let redis = Redis::open(&world.server.url(), patience).unwrap();
    let bucket = TokenBucket::new(&redis, stripe_rate_limit::options("surepass", 10)).unwrap();
    bucket.turn().await.unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(world.server.pid().unwrap()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    let turn = tokio::time::timeout(PATIENCE, bucket.turn()).await;
    let error = turn.expect("it does not wait for ever").unwrap_err();
    assert!(error.is_transient() && error.reason() == "stripe_pace", "{error}");
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    let back = async { while bucket.turn().await.is_err() {} };
    tokio::time::timeout(PATIENCE, back)
        .await
        .expect("it comes back by itself");
}
