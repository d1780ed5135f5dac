//! The faults for which our queue has a backend of its own, on stock `apalis_redis::RedisStorage` of the version that
//! `Cargo.lock` names. What each probe sees must be what `docs/decisions/queue.md` says: an upgrade that fixes one fails
//! here. `cargo test -p surepass-queue --test apalis_redis -- --nocapture` shows what was seen.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a probe that cannot go on has failed"
)]

mod delivery;
mod failures;
#[expect(unreachable_pub, reason = "it is the other test programs', too")]
#[path = "../../../../tests/support/ports.rs"]
mod ports;
mod table;
mod workers;
mod world;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};

use table::{Answer, Fault, PLACE, Seen};

/// No probe takes a fifth of it, unless neither answer comes.
const PATIENCE: Duration = Duration::from_secs(45);

type Probe = fn() -> LocalBoxFuture<'static, Seen>;

/// By the fault's number. Each has a Redis of its own.
const PROBES: [(usize, Probe); 14] = [
    (1, || Box::pin(delivery::many_due_jobs())),
    (2, || Box::pin(delivery::wake_up())),
    (3, || Box::pin(delivery::idempotency_key())),
    (4, || Box::pin(delivery::busy_worker())),
    (5, || Box::pin(workers::redis_error())),
    (6, || Box::pin(failures::attempt_after_a_crash())),
    (7, || Box::pin(failures::undecodable_payload())),
    (8, || Box::pin(failures::panic_and_timeout())),
    (9, || Box::pin(failures::retry_limits())),
    (10, || Box::pin(delivery::lock())),
    (11, || Box::pin(delivery::trimming())),
    (13, || Box::pin(workers::cluster())),
    (14, || Box::pin(workers::one_name())),
    (15, || Box::pin(workers::silent_end())),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_storage_has_the_faults_that_are_written_down() {
    let written = table::written();
    let numbers: Vec<_> = written.iter().map(|fault| fault.number).collect();
    assert_eq!(numbers, (1..=15).collect::<Vec<_>>(), "the faults in {PLACE}");

    let otherwise: Vec<_> = join_all(written.iter().map(compare))
        .await
        .into_iter()
        .flatten()
        .collect();
    let version = table::version();
    assert!(
        otherwise.is_empty(),
        "apalis-redis {version} is not as {PLACE} says. Update the table and the text there:\n  {}",
        otherwise.join("\n  ")
    );
    assert!(
        table::is_of(version),
        "{PLACE}: the table holds for apalis-redis {version}, too; its heading names another version"
    );
}

/// What differs from what is written of the fault.
async fn compare(fault: &Fault) -> Option<String> {
    let Fault {
        number,
        title,
        answer,
    } = fault;
    let Some((_, probe)) = PROBES.iter().find(|(probed, _)| probed == number) else {
        let unprobed = *answer == Answer::NotProbed;
        return (!unprobed).then(|| format!("{number}. {title}: written `{answer}`, but nothing probes it"));
    };
    let seen = tokio::time::timeout(PATIENCE, AssertUnwindSafe(probe()).catch_unwind()).await;
    let today = match seen {
        Ok(Ok(seen)) => {
            println!("{number:>2}. {title}: {}: {}", seen.answer, seen.what);
            if seen.answer == *answer {
                return None;
            }
            format!("today `{}`: {}", seen.answer, seen.what)
        }
        Ok(Err(_)) => "but the probe failed".to_owned(),
        Err(_) => format!("but neither answer came within {PATIENCE:?}"),
    };
    Some(format!("{number}. {title}: written `{answer}`, {today}"))
}
