//! Looking costs the same whatever waits.

use surepass::queue::JobState;
use surepass::queue::inspector::{Filter, PageOptions};

use crate::inspector::fixture::{Fixture, ids, of};
use crate::world::works;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_100_000_waiting_jobs_asks_redis_no_more_than_a_page_of_1_000() {
    let office = Fixture::open().await;
    let waiting = of(JobState::Waiting);
    let mut costs = Vec::new();
    for (from, to) in [(0, 1_000), (1_000, 100_000)] {
        office.world.queue.enqueue(&works(from..to)).await.unwrap();
        // Now rather than in what is counted, the scripts are loaded.
        office.inspector.job("job-700", false).await.unwrap();
        office.inspector.queues().await.unwrap();
        let first = office.page(&waiting, 50, None).await;
        let before = total(&office).await;
        let second = office.page(&waiting, 50, first.next).await;
        office.inspector.queues().await.unwrap();
        office.inspector.job("job-700", false).await.unwrap().unwrap();
        costs.push(total(&office).await - before);
        assert_eq!(ids(&second).len(), 50);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] < 250, "{costs:?}");
}

/// How many commands Redis has run, but for this question and the keeping of connections.
async fn total(office: &Fixture) -> u64 {
    let calls = office.world.command_calls().await;
    let own = [
        "info",
        "client|setinfo",
        "client|setname",
        "hello",
        "ping",
        "select",
    ];
    calls
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(_, count)| count)
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_fits_nothing_looks_at_a_bounded_number_and_tells_where_to_go_on() {
    let office = Fixture::open().await;
    office.world.queue.enqueue(&works(0..12_000)).await.unwrap();
    let nothing = Filter {
        kind: Some("sync".to_owned()),
        ..of(JobState::Waiting)
    };
    let mut cursor = None;
    let mut looks = Vec::new();
    loop {
        let options = PageOptions {
            cursor,
            ..PageOptions::default()
        };
        let page = office.inspector.list(&nothing, &options).await.unwrap();
        assert_eq!(ids(&page).len(), 0);
        looks.push(page.scanned);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(looks, [5_000, 5_000, 2_000]);
}
