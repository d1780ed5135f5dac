//! 100,000 sessions under 100 MB.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use surepass::clock::Clock;
use surepass::fulfil::Fulfiller;

use crate::reconcile::fixture::{Fixture, listed, purchase};
use support::program::SUREPASS;

/// `SUREPASS_LEDGER_SESSIONS=100000` for the whole of it; a few minutes in a debug build.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_flat_however_many_sessions_there_are() {
    let sessions: i64 = match std::env::var("SUREPASS_LEDGER_SESSIONS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 3_000,
    };
    let fixture = Fixture::open().await;
    let (stripe, fulfiller) = (
        &fixture.stripe,
        &Fulfiller::new(fixture.store.clone(), Some(false), Clock::system()),
    );
    let create = async |number: i64| {
        let mut session = Fixture::sold(&format!("M{number:07}"), 1);
        session.created -= TimeDelta::seconds(number * 20);
        stripe.add("", listed(&session));
        if number % 100 != 0 {
            fulfiller.fulfil(&purchase(&session)).await.unwrap();
        }
    };
    stream::iter(0..sessions)
        .map(create)
        .buffer_unordered(256)
        .collect::<Vec<()>>()
        .await;

    let begun = Instant::now();
    let program = fixture.shop.launch(&SUREPASS, &["reconcile", "--json"]);
    let status = format!("/proc/{}/status", program.pid());
    let mut peak = 0;
    // The document is printed at the very end.
    while !program.said().contains("\"accounts\"") {
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kilobytes) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            peak = peak.max(kilobytes.trim().parse::<u64>().unwrap());
        }
        assert!(begun.elapsed() < Duration::from_mins(15), "{}", program.said());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!(
        "{sessions} sessions: {peak} kB at most, {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    assert!(peak > 0 && peak < 100_000, "{peak} kB");
    let said = program.says("\"paid\"").await;
    assert!(said.contains(&sessions.to_string()), "{said}");
}
