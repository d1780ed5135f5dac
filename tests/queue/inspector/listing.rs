//! Lists: states, filters, and pages that are stable while the queue moves.

use std::collections::BTreeSet;
use std::time::Duration;

use surepass::queue::JobState;
use surepass::queue::inspector::{Filter, InspectError, Order, PageOptions};

use crate::inspector::fixture::{Fixture, ids, names, of};
use crate::world::{Size, ok, work, works};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_listed_in_the_state_in_which_it_is_with_what_is_known_of_it() {
    let (office, worker, gate) = Fixture::with_each_state().await;
    for state in JobState::ALL {
        assert_eq!(office.list(&of(state)).await, [state.as_str()], "{state:?}");
    }
    let page = office.page(&Filter::default(), 50, None).await;
    assert_eq!(ids(&page), ["running", "dead", "scheduled", "waiting", "done"]);
    let [running, dead, scheduled, waiting, done] = &page.jobs[..] else {
        panic!("{page:?}");
    };
    assert_eq!(
        (running.kind.as_deref(), running.tenant.as_deref()),
        (Some("work"), Some("studio"))
    );
    assert_eq!(
        (running.worker.as_deref(), running.attempts),
        (Some("holder:1"), Some(1))
    );
    assert!(running.claimed.unwrap() >= running.enqueued.unwrap() && running.claimed.unwrap() <= page.now);
    assert_eq!(
        (
            dead.reason.as_deref(),
            dead.code.as_deref(),
            dead.error.as_deref()
        ),
        (Some("no_pass"), Some("no_pass"), Some("no pass for dead"))
    );
    assert!(dead.ended.unwrap() <= page.now);
    assert!(scheduled.due.unwrap() > page.now + 3_500_000);
    assert_eq!(
        (waiting.tenant.as_deref(), waiting.attempts),
        (Some("other"), Some(0))
    );
    assert_eq!((done.attempts, done.kind.as_deref()), (Some(1), None));
    gate.add_permits(2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_filter_narrows_the_list_and_several_together() {
    let (office, worker, gate) = Fixture::with_each_state().await;
    let every = Filter::default;
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (
            Filter {
                tenant: text("studio"),
                ..every()
            },
            vec!["running", "dead"],
        ),
        (
            Filter {
                tenant: text("nobody"),
                ..every()
            },
            vec![],
        ),
        (
            Filter {
                kind: text("work"),
                ..every()
            },
            vec!["running", "dead", "scheduled", "waiting"],
        ),
        (
            Filter {
                kind: text("sync"),
                ..every()
            },
            vec![],
        ),
        (
            Filter {
                error: text("NO PASS for"),
                ..every()
            },
            vec!["dead"],
        ),
        (
            Filter {
                error: text("no_pass"),
                ..every()
            },
            vec!["dead"],
        ),
        (
            Filter {
                error: text("other words"),
                ..every()
            },
            vec![],
        ),
        (
            Filter {
                queue: text("fulfil"),
                state: Some(JobState::Dead),
                ..every()
            },
            vec!["dead"],
        ),
        (
            Filter {
                older_than: Some(Duration::from_hours(1)),
                ..every()
            },
            vec![],
        ),
        (
            Filter {
                younger_than: Some(Duration::from_hours(1)),
                ..every()
            },
            vec!["running", "dead", "scheduled", "waiting", "done"],
        ),
        (
            Filter {
                tenant: text("other"),
                state: Some(JobState::Waiting),
                ..every()
            },
            vec!["waiting"],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(office.list(&filter).await, names(&expected), "{filter:?}");
    }
    gate.add_permits(2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_for_what_is_not_there_is_refused_with_words() {
    let office = Fixture::open().await;
    let every = Filter::default;
    let text = |text: &str| Some(text.to_owned());
    let list = async |filter: Filter| office.inspector.list(&filter, &PageOptions::default()).await;
    let unknown = list(Filter {
        queue: text("nothing"),
        ..every()
    })
    .await;
    assert!(
        matches!(unknown, Err(InspectError::UnknownQueue(..))),
        "{unknown:?}"
    );
    let forgotten = list(Filter {
        state: Some(JobState::Done),
        tenant: text("studio"),
        ..every()
    })
    .await;
    assert!(matches!(forgotten, Err(InspectError::Filter(_))), "{forgotten:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ages_count_from_the_end_of_a_dead_job_and_stop_the_list_where_nothing_can_follow() {
    let office = Fixture::open().await;
    office.kill(works(0..20)).await;
    let key = office.world.queue.key("dead");
    let now = office.page(&of(JobState::Dead), 1, None).await.now;
    for n in 0..20_u64 {
        let hours_ago = (now - n * 3_600_000).to_string();
        let _: i64 = office
            .world
            .ask(&["ZADD", &key, &hours_ago, &format!("job-{n}")])
            .await;
    }
    let hours = |n: u64| Some(Duration::from_mins(n * 60 + 30));
    let filter = Filter {
        younger_than: hours(6),
        older_than: hours(2),
        ..of(JobState::Dead)
    };
    let page = office.page(&filter, 50, None).await;
    assert_eq!(ids(&page), ["job-3", "job-4", "job-5", "job-6"]);
    assert_eq!(
        page.scanned, 7,
        "what is too old ends a list that begins with the newest"
    );
    let options = PageOptions {
        order: Some(Order::Oldest),
        ..PageOptions::default()
    };
    let page = office.inspector.list(&filter, &options).await.unwrap();
    assert_eq!(ids(&page), ["job-6", "job-5", "job-4", "job-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_waiting_jobs_are_stable_while_jobs_are_added_and_claimed() {
    let office = Fixture::open().await;
    office.world.queue.enqueue(&works(0..300)).await.unwrap();
    let waiting = of(JobState::Waiting);
    let first = office.page(&waiting, 50, None).await;
    assert_eq!(
        ids(&first),
        (0..50).map(|n| format!("job-{n}")).collect::<Vec<_>>()
    );
    // A worker takes thirty that were seen; others come.
    let _worker = office
        .world
        .hire("hoarder", Size::of(30, 0), crate::world::hang());
    office.world.until_counts([270, 0, 30, 0]).await;
    office.world.queue.enqueue(&works(300..350)).await.unwrap();
    let second = office.page(&waiting, 50, first.next).await;
    assert_eq!(
        ids(&second),
        (50..100).map(|n| format!("job-{n}")).collect::<Vec<_>>()
    );
    // Another takes all that was seen, and more: the list goes on with what is left.
    let _greedy = office
        .world
        .hire("greedy", Size::of(120, 0), crate::world::hang());
    office.world.until_counts([200, 0, 150, 0]).await;
    let mut rest = Vec::new();
    let mut cursor = second.next;
    while let Some(next) = cursor {
        let page = office.page(&waiting, 50, Some(next)).await;
        rest.extend(ids(&page));
        cursor = page.next;
    }
    assert_eq!(rest, (150..350).map(|n| format!("job-{n}")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_dead_jobs_are_stable_though_all_died_in_one_moment_and_the_last_one_seen_is_gone() {
    let office = Fixture::open().await;
    office.kill(works(0..200)).await;
    let key = office.world.queue.key("dead");
    for n in 0..200 {
        let _: i64 = office
            .world
            .ask(&["ZADD", &key, "1700000000000", &format!("job-{n}")])
            .await;
    }
    for order in [Order::Newest, Order::Oldest] {
        let mut cursor = None;
        let mut seen = Vec::new();
        loop {
            let options = PageOptions {
                limit: 7,
                cursor,
                order: Some(order),
                ..PageOptions::default()
            };
            let page = office
                .inspector
                .list(&of(JobState::Dead), &options)
                .await
                .unwrap();
            seen.extend(ids(&page));
            // The one that the cursor names leaves, and comes back after the next page.
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
            let last = seen.last().unwrap();
            let _: i64 = office.world.ask(&["ZREM", &key, last]).await;
        }
        let once: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), once.len()), (200, 200), "{order:?}");
        for id in &seen {
            let _: i64 = office.world.ask(&["ZADD", &key, "1700000000000", id]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_done_jobs_are_listed_or_the_oldest_up_to_the_limit() {
    let office = Fixture::open().await;
    office.world.queue.enqueue(&works(0..700)).await.unwrap();
    let mut worker = office.world.hire("w", Size::of(1, 0), ok());
    worker.until_ended(700).await;
    office.world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
    let done = of(JobState::Done);
    let newest = office.page(&done, 600, None).await;
    let expected: Vec<_> = (100..700).rev().map(|n| format!("job-{n}")).collect();
    assert_eq!((ids(&newest), newest.next), (expected, None));
    let options = PageOptions {
        limit: 3,
        order: Some(Order::Oldest),
        ..PageOptions::default()
    };
    let oldest = office.inspector.list(&done, &options).await.unwrap();
    assert_eq!(ids(&oldest), ["job-0", "job-1", "job-2"]);
    // Of a list of all states they are the end.
    office.world.queue.enqueue(&works(700..705)).await.unwrap();
    let mixed = office.page(&Filter::default(), 5, None).await;
    let last = office.page(&Filter::default(), 5, mixed.next).await;
    assert_eq!((ids(&last)[0].as_str(), last.next), ("job-699", None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tenants_line_is_listed_and_one_tenants_alone() {
    let office = Fixture::open().await;
    let mut items = Vec::new();
    for n in 0..40 {
        items.push(work(&format!("a-{n:02}")).group("a"));
        let mut item = work(&format!("b-{n:02}")).group("b b");
        if n % 4 == 0 {
            item = item.lane("lookback");
        }
        items.push(item);
        items.push(work(&format!("bb-{n:02}")).group("b b b"));
        items.push(work(&format!("c-{n:02}")));
    }
    office.world.queue.enqueue(&items).await.unwrap();
    let all = office.pages(&of(JobState::Waiting), 7).await;
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (160, 160));
    let one = Filter {
        tenant: Some("b b".to_owned()),
        ..of(JobState::Waiting)
    };
    let expected: BTreeSet<_> = (0..40).map(|n| format!("b-{n:02}")).collect();
    let found: BTreeSet<_> = office.pages(&one, 7).await.into_iter().collect();
    assert_eq!(
        found, expected,
        "a tenant's odd name is found, too, and who lines up beside it"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_another_list_is_refused_with_words() {
    let office = Fixture::open().await;
    office.world.queue.enqueue(&works(0..10)).await.unwrap();
    let next = office.page(&of(JobState::Waiting), 5, None).await.next.unwrap();
    for (filter, cursor) in [
        (of(JobState::Dead), next.clone()),
        (of(JobState::Waiting), "nonsense".to_owned()),
        (of(JobState::Waiting), format!("{next}A")),
    ] {
        let options = PageOptions {
            cursor: Some(cursor),
            ..PageOptions::default()
        };
        let refused = office.inspector.list(&filter, &options).await;
        assert!(matches!(refused, Err(InspectError::Cursor)), "{refused:?}");
    }
}
