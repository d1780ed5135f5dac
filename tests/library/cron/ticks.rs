//! Which ticks fire, and what they enqueue.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use surepass::clock::Clock;
use surepass::lookback::cron::{Cron, status};
use surepass::store::RunPhase;
use tokio_util::sync::CancellationToken;

use crate::cron::world::{World, at, covers, settings};

const RECENT_ONLY: &str = "nightly = \"\"\nspread_seconds = 0";
const NIGHT_IN_OSLO: &str =
    "nightly = \"30 2 * * *\"\nnightly_days = 1\nrecent = \"\"\ntime_zone = \"Europe/Oslo\"";

#[tokio::test]
async fn two_crons_on_two_workers_over_20_ticks_enqueue_each_account_once_per_tick() {
    let world = World::new("2026-11-23T12:00:00Z", &[None, Some("acct_a"), Some("acct_b")]).await;
    let crons = [world.cron(RECENT_ONLY), world.cron(RECENT_ONLY)];
    for tick in 0..20 {
        let now = at("2026-11-23T12:00:00Z") + TimeDelta::minutes(10 * tick);
        world.clock.set(&now.to_rfc3339());
        let (one, other) = tokio::join!(crons[0].fire_due(), crons[1].fire_due());
        let fired: usize = [one, other]
            .into_iter()
            .flat_map(|fired| fired.unwrap())
            .map(|fired| fired.jobs)
            .sum();
        // The sweeps of three accounts; their undelivered events are one job each, which still waits from the first tick.
        assert_eq!(fired, if tick == 0 { 6 } else { 3 }, "tick {tick}");
        for cron in &crons {
            assert_eq!(cron.fire_due().await.unwrap(), [], "tick {tick} fires once");
        }
    }
    let sweeps = world.sweeps("recent").await;
    assert_eq!(sweeps.len(), 60);
    for (n, of_tick) in sweeps.chunks(3).enumerate() {
        let accounts: Vec<_> = of_tick.iter().map(|sweep| sweep.account.as_deref()).collect();
        assert_eq!(accounts, [None, Some("acct_a"), Some("acct_b")], "tick {n}");
    }
}

#[tokio::test]
async fn a_tick_looks_back_as_far_as_is_set_for_sessions_and_for_events() {
    let world = World::new("2026-11-23T03:00:07Z", &[]).await;
    world.cron("").fire_due().await.unwrap();
    let nightly: Vec<_> = world.sweeps("nightly").await.iter().map(covers).collect();
    assert_eq!(nightly, ["own 10-24 03:00..11-23 03:00"]);
    let recent: Vec<_> = world.sweeps("recent").await.iter().map(covers).collect();
    assert_eq!(recent, ["own 11-23 00:00..11-23 03:00"]);
    let events = world.undelivered().await;
    assert_eq!(events.len(), 1, "one listing of events serves both");
    assert_eq!(events[0].since, Some(at("2026-10-24T03:00:00Z")));
}

#[tokio::test]
async fn ticks_missed_while_all_were_down_are_caught_up_once() {
    let world = World::new("2026-11-23T12:00:00Z", &[]).await;
    world.cron("").fire_due().await.unwrap();
    world.done().await;
    // Three nights and 400 ticks later both workers start again.
    world.clock.set("2026-11-26T12:34:56Z");
    let (one, other) = (world.cron(""), world.cron(""));
    let (one, other) = tokio::join!(one.fire_due(), other.fire_due());
    let jobs = |fired: Result<Vec<surepass::lookback::cron::FiredTick>, _>| -> usize {
        fired.unwrap().iter().map(|fired| fired.jobs).sum()
    };
    assert_eq!(jobs(one) + jobs(other), 3);
    let nightly: Vec<_> = world.sweeps("nightly").await.iter().map(covers).collect();
    assert_eq!(
        nightly,
        ["own 10-25 03:00..11-26 12:34"],
        "from 30 days before the first night missed"
    );
    let recent: Vec<_> = world.sweeps("recent").await.iter().map(covers).collect();
    assert_eq!(recent, ["own 11-23 09:10..11-26 12:34"]);
}

#[tokio::test]
async fn a_first_start_leaves_no_gap_between_the_last_night_and_now() {
    let world = World::new("2026-11-23T12:34:56.789Z", &[]).await;
    world.cron("").fire_due().await.unwrap();
    let sweeps = world.sweeps("nightly").await;
    assert_eq!(
        (sweeps[0].from, sweeps[0].to),
        (at("2026-10-24T03:00:00Z"), at("2026-11-23T12:34:56Z"))
    );
}

#[tokio::test]
async fn a_night_over_the_dst_change_fires_once_both_ways() {
    for (evening, expected) in [
        (
            "2026-03-27T20:00:00Z",
            ["03-28 01:30", "03-29 01:00", "03-30 00:30"],
        ),
        (
            "2026-10-23T20:00:00Z",
            ["10-24 00:30", "10-25 00:30", "10-26 01:30"],
        ),
    ] {
        let world = World::new(evening, &[]).await;
        let crons = [world.cron(NIGHT_IN_OSLO), world.cron(NIGHT_IN_OSLO)];
        crons[0].fire_due().await.unwrap();
        world.done().await;
        for minutes in (0..58 * 60).step_by(5) {
            let now = at(evening) + TimeDelta::minutes(minutes);
            world.clock.set(&now.to_rfc3339());
            for cron in &crons {
                cron.fire_due().await.unwrap();
            }
        }
        let nights: Vec<_> = world
            .sweeps("nightly")
            .await
            .iter()
            .map(|sweep| sweep.to.format("%m-%d %H:%M").to_string())
            .collect();
        assert_eq!(nights, expected);
    }
}

#[tokio::test]
async fn a_clock_jumping_back_repeats_no_tick() {
    let world = World::new("2026-11-23T12:00:30Z", &[]).await;
    let cron = world.cron(RECENT_ONLY);
    cron.fire_due().await.unwrap();
    world.done().await;
    world.clock.set("2026-11-23T11:57:00Z");
    assert_eq!(cron.fire_due().await.unwrap(), []);
    world.clock.set("2026-11-23T12:09:59Z");
    assert_eq!(cron.fire_due().await.unwrap(), []);
    world.clock.set("2026-11-23T12:10:00Z");
    let fired = cron.fire_due().await.unwrap();
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].due.tick, at("2026-11-23T12:10:00Z"));
}

#[tokio::test]
async fn a_clock_that_was_a_year_ahead_stops_no_tick_once_it_is_right() {
    let world = World::new("2027-11-23T12:00:00Z", &[]).await;
    let cron = world.cron(RECENT_ONLY);
    cron.fire_due().await.unwrap();
    world.done().await;
    world.clock.set("2026-11-23T12:05:00Z");
    let fired = cron.fire_due().await.unwrap();
    assert_eq!(fired[0].due.tick, at("2026-11-23T12:00:00Z"));
    assert_eq!(cron.fire_due().await.unwrap(), []);
    world.clock.set("2026-11-23T12:10:00Z");
    assert_eq!(cron.fire_due().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_running_cron_fires_a_tick_as_it_comes_and_ends_when_it_is_told() {
    let world = World::new("2026-11-23T12:00:00Z", &[]).await;
    world.cron(RECENT_ONLY).fire_due().await.unwrap();
    // A clock that goes, from two seconds before the next tick.
    let (began, start) = (Instant::now(), at("2026-11-23T12:09:58Z"));
    let clock = Clock::new(move || start + began.elapsed());
    let cron = Cron::new(
        world.queue.clone(),
        world.store.clone(),
        clock,
        settings(RECENT_ONLY),
    );
    let stop = CancellationToken::new();
    let own = stop.clone();
    let running = tokio::spawn(async move { cron.run(own).await });
    let fired = async {
        while world.queue.last_ticks().await.unwrap()["recent"] != at("2026-11-23T12:10:00Z") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), fired)
        .await
        .expect("the tick fires long before the longest pause is over");
    assert_eq!(world.sweeps("recent").await.len(), 2);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_worker_that_notes_an_old_tick_late_turns_nothing_back() {
    let world = World::new("2026-11-23T12:10:00Z", &[]).await;
    let cron = world.cron(RECENT_ONLY);
    cron.fire_due().await.unwrap();
    world.done().await;
    world
        .queue
        .record_tick("recent", at("2026-11-23T12:00:00Z"))
        .await
        .unwrap();
    assert_eq!(cron.fire_due().await.unwrap(), []);
}

#[tokio::test]
async fn the_work_of_a_tick_is_spread_over_time_and_below_half_the_way_to_the_next() {
    let accounts: Vec<_> = ["acct_1", "acct_2", "acct_3"].map(Some).to_vec();
    let world = World::new("2026-11-23T03:00:00Z", &accounts).await;
    let cron: Cron = world.cron("spread_seconds = 3600");
    cron.fire_due().await.unwrap();
    let waits = |name: &'static str| {
        let world = &world;
        async move {
            let sweeps = world.sweeps(name).await;
            sweeps[0].spread_seconds
        }
    };
    assert_eq!((waits("nightly").await, waits("recent").await), (3600, 300));
    let counts = world.queue.counts().await.unwrap();
    assert_eq!(
        (counts.waiting, counts.scheduled),
        (3, 9),
        "the first account's begin at once, those of the others one after the other"
    );
}

#[tokio::test]
async fn a_schedule_tells_its_last_tick_and_its_next_and_whether_one_is_overdue() {
    let world = World::new("2026-11-23T12:00:00Z", &[]).await;
    let told = |now: &str| {
        let (queue, now) = (world.queue.clone(), at(now));
        async move {
            let all = status(&queue, &settings("audit = \"\""), now).await.unwrap();
            let all = all.into_iter();
            all.map(|one| (one.name, one.last, one.overdue, one.next))
                .collect::<Vec<_>>()
        }
    };
    let overdue = told("2026-11-23T12:00:00Z").await;
    assert_eq!(
        (overdue[0].1, overdue[0].2),
        (None, Some(at("2026-11-23T03:00:00Z")))
    );
    world.cron("").fire_due().await.unwrap();
    let nightly = (
        "nightly",
        Some(at("2026-11-23T03:00:00Z")),
        None,
        Some(at("2026-11-24T03:00:00Z")),
    );
    let recent = (
        "recent",
        Some(at("2026-11-23T12:00:00Z")),
        None,
        Some(at("2026-11-23T12:10:00Z")),
    );
    assert_eq!(told("2026-11-23T12:09:00Z").await, [nightly, recent]);
}

#[tokio::test]
async fn a_gap_that_dead_sweeps_have_left_is_closed_by_the_next_tick_with_one_sweep_at_a_time() {
    let world = World::new("2026-11-24T09:00:00Z", &[Some("acct_a")]).await;
    let cron = world.cron(RECENT_ONLY);
    // Stripe was away from 22:00 on. The other account was read all the time.
    world
        .proven(None, "2026-10-24T03:00:00Z", "2026-11-23T21:59:00Z")
        .await;
    let of_a = ("2026-10-24T03:00:00Z", "2026-11-24T08:49:00Z");
    world.proven(Some("acct_a"), of_a.0, of_a.1).await;
    let swept = async || -> Vec<_> { world.sweeps("recent").await.iter().map(covers).collect() };
    cron.fire_due().await.unwrap();
    assert_eq!(
        swept().await,
        ["own 11-23 21:59..11-24 09:00", "acct_a 11-24 06:00..11-24 09:00"]
    );
    // While it lives no second one begins; the other account's goes on.
    world.clock.set("2026-11-24T09:10:00Z");
    cron.fire_due().await.unwrap();
    assert_eq!(swept().await[2..], ["acct_a 11-24 06:10..11-24 09:10"]);
    // It has died in its third slice: it goes on there.
    let gap = world.sweeps("recent").await.remove(0);
    world.begun(&gap, 2).await;
    world.done().await;
    world.clock.set("2026-11-24T09:20:00Z");
    cron.fire_due().await.unwrap();
    let again = world.sweeps("recent").await.remove(0);
    assert_eq!((again.run(), again.slice), (gap.run(), 2));
    assert_eq!(covers(&again), "own 11-23 21:59..11-24 09:00");
    // One that looked at everything and proved nothing is not repeated every ten minutes.
    world.ended(&gap, RunPhase::Done).await;
    world.done().await;
    world.clock.set("2026-11-24T09:30:00Z");
    cron.fire_due().await.unwrap();
    assert_eq!(swept().await[0], "own 11-24 06:30..11-24 09:30");
}

#[tokio::test]
async fn a_gap_is_swept_as_far_back_as_a_night_goes_and_a_mark_of_a_wrong_clock_makes_none() {
    let world = World::new("2026-11-24T09:00:00Z", &[Some("acct_a")]).await;
    world
        .proven(None, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
        .await;
    let ahead = ("2026-01-01T00:00:00Z", "2027-11-24T08:59:00Z");
    world.proven(Some("acct_a"), ahead.0, ahead.1).await;
    world.cron(RECENT_ONLY).fire_due().await.unwrap();
    let swept: Vec<_> = world.sweeps("recent").await.iter().map(covers).collect();
    assert_eq!(
        swept,
        ["own 10-25 09:00..11-24 09:00", "acct_a 11-24 06:00..11-24 09:00"]
    );
}

#[tokio::test]
async fn a_tick_runs_the_look_for_events_again_whatever_it_died_of() {
    let world = World::new("2026-11-24T09:00:00Z", &[]).await;
    let cron = world.cron(RECENT_ONLY);
    cron.fire_due().await.unwrap();
    world.died("undelivered:own", "stripe_unauthorized").await;
    assert_eq!(world.queue.counts().await.unwrap().dead, 1);
    world.clock.set("2026-11-24T09:10:00Z");
    cron.fire_due().await.unwrap();
    let counts = world.queue.counts().await.unwrap();
    assert_eq!((counts.dead, counts.waiting), (0, 3));
}
