//! What dies or is away when a tick is due.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use surepass::lookback::cron::Cron;
use surepass::queue::{Item, Queue, Redis, RedisOptions};
use surepass::store::{self, Options, WebhookSecrets};
use tokio_util::sync::CancellationToken;

use crate::cron::world::{World, at, settings, tenant};
use support::proxy::Proxy;

const TWO_TICKS: &str = "spread_seconds = 0";

/// Polls a look so many times, and lets it fall. Answers whether it came to its end.
async fn look_until(cron: &Cron, steps: usize) -> bool {
    let mut look = Box::pin(cron.fire_due());
    for _ in 0..steps {
        let mut context = Context::from_waker(Waker::noop());
        match look.as_mut().poll(&mut context) {
            Poll::Ready(fired) => {
                fired.unwrap();
                return true;
            }
            Poll::Pending => {
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    }
    false
}

#[tokio::test]
async fn a_crash_between_deciding_and_enqueueing_loses_no_tick_and_doubles_none() {
    // More accounts than one call to Redis takes, so that a crash may leave a tick half enqueued.
    let accounts: Vec<String> = (0..260).map(|n| format!("acct_{n:03}")).collect();
    let accounts: Vec<_> = accounts.iter().map(|account| Some(account.as_str())).collect();
    let mut halves = 0;
    let world = World::new("2026-11-23T12:00:00Z", &accounts).await;
    for steps in 1.. {
        world.forget_all().await;
        let ended = look_until(&world.cron(TWO_TICKS), steps).await;
        let before = world.jobs().await.len();
        if !ended && before > 0 {
            halves += 1;
        }
        let fired = world.cron(TWO_TICKS).fire_due().await.unwrap();
        let jobs: usize = fired.iter().map(|fired| fired.jobs).sum();
        for name in ["nightly", "recent"] {
            let mut of_account: BTreeMap<_, u32> = BTreeMap::new();
            for sweep in world.sweeps(name).await {
                *of_account.entry(sweep.account).or_default() += 1;
            }
            assert_eq!(of_account.len(), 261, "{name} after {steps} steps");
            assert!(
                of_account.values().all(|times| *times == 1),
                "{name} after {steps} steps"
            );
        }
        let counts = world.queue.counts().await.unwrap();
        assert_eq!(
            counts.waiting,
            3 * 261,
            "after {steps} steps, {before} before and {jobs} after"
        );
        if ended {
            break;
        }
    }
    assert!(halves > 0, "some of the crashes left a tick half enqueued");
}

#[tokio::test]
async fn an_answer_that_never_came_doubles_no_tick() {
    let world = World::new("2026-11-23T12:00:00Z", &[Some("acct_a")]).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let redis = Redis::open(&proxy.url().into(), RedisOptions::default()).unwrap();
    let queue = Queue::new(&redis, world.queue.config().clone()).unwrap();
    let cron = Cron::new(
        queue,
        world.store.clone(),
        world.clock.clock(),
        settings(TWO_TICKS),
    );
    // Redis learns the script first: an unknown one runs at the second call only.
    world.queue.enqueue(&[Item::default()]).await.unwrap();
    // Two accounts, each with its sessions and its events; what has been done by then must not be there again.
    for (lost, jobs) in [("cron:nightly:", 4), ("cron:recent:", 4), ("ZADD", 0)] {
        proxy.swallow_answer_to(lost);
        cron.fire_due().await.unwrap_err();
        proxy.swallowed().await;
        assert_eq!(world.jobs().await.len(), jobs, "without the answer to {lost}");
        world.done().await;
    }
    assert_eq!(cron.fire_due().await.unwrap(), []);
    assert_eq!(world.jobs().await, []);
}

#[tokio::test]
async fn a_tick_that_comes_while_redis_is_away_fires_once_when_it_is_back() {
    let mut world = World::new("2026-11-23T12:00:00Z", &[]).await;
    let stop = CancellationToken::new();
    let crons: Vec<_> = (0..2).map(|_| Arc::new(world.cron("nightly = \"\""))).collect();
    crons[0].fire_due().await.unwrap();
    world.done().await;
    let redis = i32::try_from(world.server.pid().unwrap()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(redis),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    world.server.wait().await.unwrap();
    world.clock.set("2026-11-23T12:10:00Z");
    for cron in &crons {
        cron.fire_due().await.unwrap_err();
    }
    let running: Vec<_> = crons
        .iter()
        .map(|cron| {
            let (cron, stop) = (cron.clone(), stop.clone());
            tokio::spawn(async move { cron.run(stop).await })
        })
        .collect();
    world.server.restart().await.unwrap();
    let come = async {
        while world
            .queue
            .last_ticks()
            .await
            .ok()
            .and_then(|ticks| ticks.get("recent").copied())
            != Some(at("2026-11-23T12:10:00Z"))
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), come)
        .await
        .expect("the tick fires");
    stop.cancel();
    for cron in running {
        cron.await.unwrap();
    }
    assert_eq!(world.jobs().await.len(), 2, "a sweep, and the undelivered events");
}

#[tokio::test]
async fn a_tick_that_comes_while_the_store_is_away_fires_when_it_is_back() {
    let world = World::new("2026-11-23T12:00:00Z", &[]).await;
    let address = format!("sqlite://{}", world.folder().join("late.db").display());
    let late = store::open(&address.into(), &Options::default()).await.unwrap();
    let cron = Cron::new(
        world.queue.clone(),
        late.clone(),
        world.clock.clock(),
        settings("recent = \"\""),
    );
    cron.fire_due().await.unwrap_err();
    assert_eq!(world.jobs().await, [], "no account is left out for good");
    late.migrate().await.unwrap();
    late.catalog()
        .import(&[tenant(0, Some("acct_a"))], &WebhookSecrets::new())
        .await
        .unwrap();
    cron.fire_due().await.unwrap();
    assert_eq!(world.sweeps("nightly").await.len(), 2);
}
