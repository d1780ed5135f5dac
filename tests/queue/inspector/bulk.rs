//! Acts on many jobs at once.

use std::collections::BTreeSet;

use surepass::operator::OperatorError;
use surepass::queue::JobState;
use surepass::queue::inspector::{Act, Filter, InspectError, Tally};

use crate::inspector::fixture::{Fixture, of};
use crate::world::{Size, ok, work, works};

fn both(count: usize) -> Tally {
    Tally {
        matched: count,
        done: count,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_dead_jobs_are_retried_in_bounded_portions_and_counted() {
    let office = Fixture::open().await;
    office.kill(works(0..5_000)).await;
    let mut steps = vec![0];
    let tally = office
        .operator()
        .act_on_all(Act::Retry, &of(JobState::Dead), |tally| steps.push(tally.done))
        .await
        .unwrap();
    assert_eq!(tally, both(5_000));
    assert!(steps.windows(2).all(|pair| pair[1] - pair[0] <= 500), "{steps:?}");
    office.world.until_counts([5_000, 0, 0, 0]).await;
    let mut worker = office.world.hire("w", Size::of(64, 0), ok());
    let told = worker.until_ended(5_000).await;
    let once: BTreeSet<_> = told.iter().map(|one| format!("{one:?}")).collect();
    assert_eq!(once.len(), 10_000, "each began once and ended once");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_fits_is_retried_or_discarded() {
    let office = Fixture::open().await;
    let named = |n: u32| work(&format!("job-{n}")).group(if n.is_multiple_of(3) { "a" } else { "b" });
    office.kill((0..1_200).map(named).collect()).await;
    let a = Filter {
        tenant: Some("a".to_owned()),
        ..of(JobState::Dead)
    };
    assert_eq!(office.inspector.count(&a, 10_000).await.unwrap(), 400);
    assert_eq!(
        office
            .operator()
            .act_on_all(Act::Retry, &a, |_| {})
            .await
            .unwrap(),
        both(400)
    );
    office.world.until_counts([400, 0, 0, 800]).await;
    let nines = Filter {
        error: Some("job-99".to_owned()),
        ..of(JobState::Dead)
    };
    // job-99 has been retried, as every third.
    let expected = (990..1_000).filter(|n| n % 3 != 0).count();
    assert_eq!(
        office
            .operator()
            .act_on_all(Act::Discard, &nines, |_| {})
            .await
            .unwrap(),
        both(expected)
    );
    office.world.until_counts([400, 0, 0, 800 - expected]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_jobs_that_fit_are_all_discarded_and_the_others_keep_their_order() {
    let office = Fixture::open().await;
    let kinds = |n: u32| work(&format!("job-{n}")).group(if n.is_multiple_of(2) { "even" } else { "odd" });
    office
        .world
        .queue
        .enqueue(&(0..3_000).map(kinds).collect::<Vec<_>>())
        .await
        .unwrap();
    // Some of the even ones carry an error, as after an attempt that failed.
    for n in (0..3_000).step_by(6) {
        let key = office.world.queue.key(&format!("errors:job-{n}"));
        let error = r#"{"attempt":1,"worker":"w","ended":1,"code":"sixth","error":"x"}"#;
        let _: i64 = office.world.ask(&["RPUSH", &key, error]).await;
    }
    let sixth = Filter {
        error: Some("sixth".to_owned()),
        ..of(JobState::Waiting)
    };
    assert_eq!(
        office
            .operator()
            .act_on_all(Act::Discard, &sixth, |_| {})
            .await
            .unwrap(),
        both(500)
    );
    let left = office.pages(&of(JobState::Waiting), 400).await;
    let expected: Vec<_> = (0..3_000)
        .step_by(2)
        .filter(|n| n % 6 != 0)
        .chain((1..3_000).step_by(2))
        .map(|n| format!("job-{n}"))
        .collect();
    assert_eq!(left, expected);
    assert_eq!(
        office
            .operator()
            .act_on_all(Act::Discard, &of(JobState::Waiting), |_| {})
            .await
            .unwrap(),
        both(2_500)
    );
    office.world.until_counts([0, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_act_must_say_in_which_state_the_jobs_are() {
    let office = Fixture::open().await;
    for filter in [
        Filter::default(),
        of(JobState::Done),
        of(JobState::Waiting),
        of(JobState::Running),
    ] {
        let refused = office.operator().act_on_all(Act::Retry, &filter, |_| {}).await;
        assert!(
            matches!(refused, Err(OperatorError::Inspect(InspectError::Filter(_)))),
            "{filter:?}"
        );
    }
    for filter in [Filter::default(), of(JobState::Done)] {
        let refused = office.operator().act_on_all(Act::Discard, &filter, |_| {}).await;
        assert!(
            matches!(refused, Err(OperatorError::Inspect(InspectError::Filter(_)))),
            "{filter:?}"
        );
    }
    assert_eq!(office.audit().await, [], "what was refused was not begun");
}
