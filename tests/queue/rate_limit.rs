//! Limits, and answers that processes share.

use std::time::Duration;
use support::program::eventually;

use futures::future::join_all;
use surepass::queue::{Caller, Lookup, RateLimit, RateLimiter, Redis, RedisOptions, SingleFlight};

use crate::world::{PATIENCE, World, quick};

fn redis(world: &World) -> Redis {
    Redis::open(&world.server.url(), RedisOptions::default()).unwrap()
}

const fn limit(name: &'static str, per_minute: u32) -> RateLimit {
    RateLimit { name, per_minute }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_minutes_calls_may_come_at_once_and_then_one_at_a_time_whoever_counts() {
    let world = World::new(quick()).await;
    let redis = redis(&world);
    let limiters = [(); 4].map(|()| RateLimiter::new(&redis, "p").unwrap());
    let (kari, ola) = (Caller::user("kari"), Caller::user("ola"));
    let calls = (0..40).map(|n| limiters[n % 4].take((limit("user", 20), &kari), None));
    let waits: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    // Ten at once; how long this machine takes may let one or two more through, at one in three seconds.
    let through = waits.iter().filter(|wait| wait.is_none()).count();
    assert!((10..20).contains(&through), "{waits:?}");
    let longest = waits.iter().flatten().max().unwrap();
    assert!(*longest <= Duration::from_secs(3), "{longest:?}");
    assert_eq!(
        limiters[0].take((limit("user", 20), &ola), None).await.unwrap(),
        None
    );
    assert_eq!(
        limiters[0].take((limit("other", 20), &kari), None).await.unwrap(),
        None
    );
    // What is told is true: after the wait there is a place.
    let next = async {
        while let Some(wait) = limiters[0].take((limit("user", 20), &kari), None).await.unwrap() {
            tokio::time::sleep(wait).await;
        }
    };
    tokio::time::timeout(PATIENCE, next).await.expect("a place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_two_limits_refuses_counts_for_neither_and_nothing_stays_behind() {
    let world = World::new(quick()).await;
    let limiter = RateLimiter::new(&redis(&world), "p").unwrap();
    let (user, address) = (
        Caller::user("kari"),
        Caller::address("192.0.2.1".parse().unwrap()),
    );
    let (narrow, wide) = (limit("user", 1), limit("address", 10));
    for n in 0..100 {
        let wait = limiter
            .take((narrow, &user), Some((wide, &address)))
            .await
            .unwrap();
        assert_eq!(wait.is_none(), n == 0);
    }
    let spent: f64 = world.ask(&["GET", "{p:limit}:address:192.0.2.1"]).await;
    let now: Vec<f64> = world.ask(&["TIME"]).await;
    // One call of 6 s, not a hundred.
    assert!(spent - now[0] * 1_000.0 < 7_100.0, "{spent} {now:?}");
    for key in world.ask::<Vec<String>>(&["KEYS", "{p:limit}:*"]).await {
        let left: i64 = world.ask(&["PTTL", &key]).await;
        assert!((1..=60_000).contains(&left), "{key} {left}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_locks_nobody_out() {
    let world = World::new(quick()).await;
    let limiter = RateLimiter::new(&redis(&world), "p").unwrap();
    let user = Caller::user("kari");
    limiter.take((limit("user", 60), &user), None).await.unwrap();
    let keys: Vec<String> = world.ask(&["KEYS", "{p:limit}:*"]).await;
    let _: String = world.ask(&["SET", &keys[0], "99999999999999"]).await;
    assert_eq!(
        limiter.take((limit("user", 60), &user), None).await.unwrap(),
        None
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_look_one_asks_and_the_others_get_its_answer_and_if_it_dies_the_next_one_asks() {
    let world = World::new(quick()).await;
    let flight = SingleFlight::new(&redis(&world), "p").unwrap();
    let lease = Duration::from_millis(300);
    let looks = join_all((0..50).map(|_| flight.lookup("a", lease))).await;
    let asks = looks
        .iter()
        .filter(|look| matches!(look, Ok(Lookup::Fetch)))
        .count();
    assert_eq!(asks, 1);
    // The one that was to ask says nothing.
    eventually("the lease ends", async || {
        flight.lookup("a", lease).await.unwrap() == Lookup::Fetch
    })
    .await;
    let answer = b"?\0=\xff".to_vec();
    flight
        .publish("a", &answer, Duration::from_mins(1))
        .await
        .unwrap();
    assert_eq!(flight.lookup("a", lease).await.unwrap(), Lookup::Known(answer));
    flight.forget("a").await.unwrap();
    assert_eq!(flight.lookup("a", lease).await.unwrap(), Lookup::Fetch);

    assert!(flight.is_first("b", Duration::from_mins(1)).await.unwrap());
    assert!(!flight.is_first("b", Duration::from_mins(1)).await.unwrap());
}
