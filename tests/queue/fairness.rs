//! Per-tenant fairness: one busy shop cannot starve the rest.

use std::collections::BTreeMap;

use crate::scripts::claim_by_hand;
use crate::world::{Size, Told, World, gated, ok, quick, work};

async fn enqueue(world: &World, group: &str, jobs: u32) {
    let items: Vec<_> = (0..jobs)
        .map(|n| work(&format!("{group}:{n}")).group(group))
        .collect();
    world.queue.enqueue(&items).await.unwrap();
}

/// Claims by hand; answers how many of each group.
async fn claim(world: &World, wanted: usize, number: u64) -> BTreeMap<String, usize> {
    let jobs = claim_by_hand(&world.queue, &mut world.redis().await, "hand", wanted, number).await;
    let mut groups = BTreeMap::new();
    for (id, _) in jobs.unwrap() {
        let id = String::from_utf8(id).unwrap();
        let group = id.rsplit_once(':').unwrap().0.to_owned();
        *groups.entry(group).or_default() += 1;
    }
    groups
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_with_twenty_thousand_waiting_jobs_does_not_starve_one_that_has_a_single_purchase() {
    let world = World::new(quick()).await;
    enqueue(&world, "busy", 20_000).await;
    let (wait, gate) = gated();
    let mut worker = world.hire("w", Size::of(100, 50), wait);
    // Its prefetch is full of the busy shop's jobs when the other's comes.
    world.until_counts([19_850, 0, 150, 0]).await;
    enqueue(&world, "quiet", 1).await;
    gate.add_permits(2_000);
    let mut before = 0;
    loop {
        match worker.next().await {
            Told::Began(id, _) if id == "quiet:0" => break,
            Told::Began(..) => before += 1,
            _ => {}
        }
    }
    assert!(before < 400, "{before} jobs of the busy shop began first");
    worker.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_shops_each_gets_its_share_of_every_claim_however_busy_one_is() {
    let world = World::new(quick()).await;
    enqueue(&world, "busy", 20_000).await;
    for shop in 1..50 {
        enqueue(&world, &format!("shop-{shop}"), 15).await;
    }
    let first = claim(&world, 500, 1).await;
    assert_eq!(first.len(), 50);
    assert!(first.values().all(|jobs| *jobs == 10), "{first:?}");
    // What the others leave over is the busy one's.
    let second = claim(&world, 500, 2).await;
    assert_eq!(second["busy"], 500 - 49 * 5);
    let third = claim(&world, 500, 3).await;
    assert_eq!(third, BTreeMap::from([("busy".to_owned(), 500)]));
    assert_eq!(
        world.queue.counts().await.unwrap().waiting,
        20_000 + 49 * 15 - 1_500
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_a_single_job_take_shops_in_turn_and_a_new_one_waits_one_round_at_most() {
    let world = World::new(quick()).await;
    for shop in ["a", "b", "c"] {
        enqueue(&world, shop, 10).await;
    }
    let mut order = Vec::new();
    for number in 1..=4 {
        order.extend(claim(&world, 1, number).await.into_keys());
    }
    enqueue(&world, "new", 1).await;
    for number in 5..=8 {
        order.extend(claim(&world, 1, number).await.into_keys());
    }
    assert_eq!(order, ["a", "b", "c", "a", "b", "c", "a", "new"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_bounded_with_thousands_of_shops_and_each_has_its_turn() {
    let world = World::new(quick()).await;
    let items: Vec<_> = (0..3_000)
        .map(|shop| work(&format!("shop-{shop}:0")).group(&format!("shop-{shop}")))
        .collect();
    world.queue.enqueue(&items).await.unwrap();
    assert_eq!(world.queue.counts().await.unwrap().waiting, 3_000);
    assert_eq!(claim(&world, 500, 1).await.len(), 64);
    let calls = world.command_calls().await;
    assert_eq!(calls["lpop"], 64);
    // A worker that wants more than a claim brings does not sleep over it.
    let mut worker = world.hire("w", Size::of(500, 250), ok());
    worker.until_ended(3_000 - 64).await;
    world.until_counts([0, 0, 64, 0]).await;
    let turn: usize = world.ask(&["ZCARD", &world.queue.key("turn")]).await;
    assert_eq!(turn, 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_a_program_of_before_there_were_groups_adds_have_their_turn_too() {
    let world = World::new(quick()).await;
    enqueue(&world, "busy", 1_000).await;
    let data = world.queue.key("data:old:0");
    let _: () = world
        .ask(&["SET", &data, "work 1700000000000 0 0\n\"old:0\""])
        .await;
    let _: () = world.ask(&["RPUSH", &world.queue.key("wait"), "old:0"]).await;
    assert_eq!(world.queue.counts().await.unwrap().waiting, 1_001);
    let groups = claim(&world, 10, 1).await;
    assert_eq!(
        groups,
        BTreeMap::from([("busy".to_owned(), 9), ("old".to_owned(), 1)])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_waiting_job_is_found_whatever_its_group_and_none_where_nothing_waits() {
    let world = World::new(quick()).await;
    assert_eq!(world.queue.oldest_waiting().await.unwrap(), None);
    enqueue(&world, "busy", 1_000).await;
    let since = world.queue.oldest_waiting().await.unwrap().unwrap();
    assert!(since > 1_700_000_000_000);
    for (key, group) in [("wait:quiet", "quiet"), ("wait", "-")] {
        let at = if group == "-" { "4" } else { "5" };
        let data = world.queue.key(&format!("data:{group}"));
        let header = format!("work/1 {group} - {at} 0 0\n[]");
        let _: () = world.ask(&["SET", &data, &header]).await;
        let _: () = world.ask(&["RPUSH", &world.queue.key(key), group]).await;
        if group == "quiet" {
            let _: () = world.ask(&["ZADD", &world.queue.key("turn"), "9", group]).await;
        }
        let oldest = world.queue.oldest_waiting().await.unwrap();
        assert_eq!(oldest, at.parse().ok());
    }
}
