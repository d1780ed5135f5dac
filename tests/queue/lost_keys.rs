//! Redis loses some keys and keeps others, as `allkeys-lru` does: every job whose data is still there comes to its end.

use surepass::operator::Operator;
use surepass::queue::inspector::{Act, Inspector, Outcome};
use surepass::queue::{Enqueued, Item};
use surepass::store::{self, Options};

use crate::world::{PATIENCE, Size, World, act, began, ended, hang, ok, short_lease, work, works};

/// Waits until no job is there but dead ones.
async fn until_all_ended(world: &World) {
    let mut last = Vec::new();
    let ending = async {
        loop {
            let data: Vec<String> = world
                .ask(&["KEYS", &format!("{}data:*", world.queue.prefix())])
                .await;
            let dead: Vec<String> = world.ask(&["ZRANGE", &world.queue.key("dead"), "0", "-1"]).await;
            last = data;
            last.retain(|key| !dead.iter().any(|id| key.ends_with(id.as_str())));
            if last.is_empty() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ending).await;
    assert!(
        ended.is_ok(),
        "{} jobs do not end: {:?}",
        last.len(),
        &last[..last.len().min(5)]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_keys_are_lost_in_the_middle_of_work_every_job_whose_data_survives_ends() {
    let world = World::new(short_lease()).await;
    let moody = || {
        act(|job, attempt| async move {
            tokio::task::yield_now().await;
            match (job.0.len() + attempt) % 5 {
                0 => Err("not now".into()),
                1 if attempt > 1 => Err(surepass::queue::JobError::fail("no", "never").into()),
                _ => Ok(()),
            }
        })
    };
    let workers = ["a", "b"].map(|name| world.hire(name, Size::of(16, 16), moody()));
    for round in 0..60 {
        let items: Vec<Item> = (0..50)
            .map(|n| work(&format!("job-{round}-{n}-{}", "x".repeat(n % 7))).group(["a", "b", "c"][n % 3]))
            .collect();
        world.queue.enqueue(&items).await.unwrap();
        for _ in 0..4 {
            let lost: Option<String> = world.ask(&["RANDOMKEY"]).await;
            if let Some(lost) = lost {
                let _: i64 = world.ask(&["DEL", &lost]).await;
            }
        }
        for name in ["lease", "turn", "sched", "wait:a", "dead", "steer"] {
            if round % 10 == name.len() {
                let _: i64 = world.ask(&["DEL", &world.queue.key(name)]).await;
            }
        }
    }
    until_all_ended(&world).await;
    assert_eq!(world.queue.stranded().await.unwrap(), 0);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_lease_lost_alone_costs_no_living_worker_its_jobs_and_no_dead_one_keeps_them() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&works(0..2)).await.unwrap();
    let (wait, gate) = crate::world::gated();
    let mut living = world.hire("living", Size::of(1, 0), wait);
    living.next().await;
    let mut dead = world.hire("dead", Size::of(1, 0), hang());
    dead.next().await;
    dead.crash().await;
    let _: i64 = world.ask(&["DEL", &world.queue.key("lease")]).await;
    let mut other = world.hire("other", Size::of(1, 0), ok());
    other.until_ended(1).await;
    gate.add_permits(1);
    assert_eq!(living.until_ended(1).await, [ended("job-0", 1)]);
    until_all_ended(&world).await;
    assert_eq!(world.queue.counts().await.unwrap().done, 2);
    living.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_in_no_list_is_counted_and_heals_when_it_is_enqueued_or_retried() {
    let world = World::new(short_lease()).await;
    world.enqueue(work("a")).await;
    world.enqueue(work("b").group("shop")).await;
    for key in ["wait", "wait:shop", "turn"] {
        let _: i64 = world.ask(&["DEL", &world.queue.key(key)]).await;
    }
    assert_eq!(world.queue.stranded().await.unwrap(), 2);
    assert_eq!(world.enqueue(work("a")).await, Enqueued::Live);
    assert_eq!(world.queue.stranded().await.unwrap(), 1);
    let address = format!("sqlite://{}", world.folder().join("audit.db").display());
    let store = store::open(&address.into(), &Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    let operator = Operator {
        inspector: &Inspector::new(vec![world.queue.clone()]),
        store: &store,
        who: "kari".to_owned(),
        why: None,
    };
    assert_eq!(
        operator.act(Act::Retry, &["b".to_owned()]).await.unwrap(),
        [Outcome::Retried]
    );
    assert_eq!(world.queue.stranded().await.unwrap(), 0);
    // Twice in one call is still once.
    let twice = world.queue.enqueue(&[work("c"), work("c")]).await.unwrap();
    assert_eq!(twice, [Enqueued::New, Enqueued::Live]);
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    let told = worker.until_ended(3).await;
    for id in ["a", "b", "c"] {
        assert!(
            told.contains(&began(id, 1)) && told.contains(&ended(id, 1)),
            "{told:?}"
        );
    }
    world.until_counts([0, 0, 0, 0]).await;
    assert_eq!(worker.stop().await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_whose_list_is_lost_are_dead_letters_again() {
    let world = World::new(short_lease()).await;
    let fail = act(|_, _| async { Err(surepass::queue::JobError::fail("no_pass", "no").into()) });
    let worker = world.hire("w", Size::of(1, 0), fail);
    world.enqueue(work("a")).await;
    world.until_counts([0, 0, 0, 1]).await;
    let _: i64 = world.ask(&["DEL", &world.queue.key("dead")]).await;
    world.until_counts([0, 0, 0, 1]).await;
    assert_eq!(world.queue.death("a").await.unwrap().as_deref(), Some("no_pass"));
    worker.stop().await;
}
