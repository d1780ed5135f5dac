//! Ids, payloads and keys that nobody sane would use: no script stops half-way because of them.

use std::time::Duration;

use redis::Value;
use surepass::queue::{DecodeError, Enqueued, Item, Job};

use crate::scripts::{self, call, claim_by_hand};
use crate::world::{Size, World, act, ended, hang, hire, ok, quick, short_lease, work, works};
use support::proxy::Proxy;

/// Ids that a session id or a hand could bring.
pub(crate) fn hostile_ids() -> Vec<String> {
    vec![
        " ".to_owned(),
        "with spaces 1 2 3".to_owned(),
        "{tag}".to_owned(),
        "}{".to_owned(),
        "line\nbreak 0 0\n".to_owned(),
        "zero\0byte".to_owned(),
        "-1".to_owned(),
        "wait".to_owned(),
        "%d %s %1".to_owned(),
        "quote\"'\\".to_owned(),
        "\r\n$3\r\nfoo\r\n".to_owned(),
        "ключ-🎟".to_owned(),
        "long-".repeat(100),
    ]
}

/// A job whose payload is whatever it is.
struct Raw {
    id: String,
    payload: Vec<u8>,
}

impl Job for Raw {
    fn kind(&self) -> &'static str {
        "raw"
    }

    fn key(&self) -> Option<String> {
        Some(self.id.clone())
    }

    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(self.payload.clone())
    }

    fn decode(_: &str, _: u32, _: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError::Header)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_ids_go_the_whole_way_enqueue_claim_crash_fail_retry_and_done() {
    let mut config = short_lease();
    config.retry.max_attempts = 2;
    let world = World::new(config).await;
    let ids = hostile_ids();
    let items: Vec<Item> = ids
        .iter()
        .map(|id| work(id).dedupe(format!("event:{id}"), Duration::from_mins(1)))
        .collect();
    assert!(
        world
            .queue
            .enqueue(&items)
            .await
            .unwrap()
            .iter()
            .all(|answer| *answer == Enqueued::New)
    );
    assert!(
        world
            .queue
            .enqueue(&items)
            .await
            .unwrap()
            .iter()
            .all(|answer| *answer == Enqueued::Seen)
    );
    for id in &ids {
        assert_eq!(world.enqueue(work(id)).await, Enqueued::Live, "{id:?}");
    }
    let mut dying = world.hire("dying", Size::of(100, 0), hang());
    for _ in &ids {
        dying.next().await;
    }
    dying.crash().await;
    let fail = crate::world::act(|job, _| async move { Err(format!("no: {}", job.0).into()) });
    let mut failing = world.hire("failing", Size::of(4, 4), fail);
    failing.until_ended(ids.len()).await;
    world.until_counts([0, 0, 0, ids.len()]).await;
    failing.stop().await;
    for id in &ids {
        assert_eq!(
            world.queue.death(id).await.unwrap().as_deref(),
            Some("error"),
            "{id:?}"
        );
        assert_eq!(world.queue.errors(id).await.unwrap().len(), 2, "{id:?}");
    }
    assert!(
        world
            .queue
            .retry(&ids)
            .await
            .unwrap()
            .into_iter()
            .all(|waits| waits)
    );
    let mut worker = world.hire("w", Size::of(1, 0), ok());
    let told = worker.until_ended(ids.len()).await;
    for id in &ids {
        assert!(told.contains(&ended(id, 1)), "{id:?}");
    }
    world.until_counts([0, 0, 0, 0]).await;
    worker.stop().await;
    // What is kept of them can be trimmed.
    let script = scripts::trim();
    let mut trim = call(&script, &world.queue, &["done", "dead", "stats"]);
    let trimmed: usize = trim
        .arg(0)
        .arg(0)
        .invoke_async(&mut world.redis().await)
        .await
        .unwrap();
    assert_eq!(trimmed, ids.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_payloads_come_back_byte_for_byte() {
    let world = World::new(quick()).await;
    let payloads: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\n".to_vec(),
        b"raw 1 2 3\n".to_vec(),
        (0..=255).collect(),
        vec![0; 1_000],
        vec![b'x'; 1_000_000],
    ];
    for (n, payload) in payloads.iter().enumerate() {
        let item = Item::job(&Raw {
            id: n.to_string(),
            payload: payload.clone(),
        })
        .unwrap();
        assert_eq!(world.enqueue(item).await, Enqueued::New);
    }
    let mut connection = world.redis().await;
    let jobs = claim_by_hand(&world.queue, &mut connection, "hand", 100, 1)
        .await
        .unwrap();
    let bodies: Vec<Vec<u8>> = jobs
        .into_iter()
        .map(|(_, data)| data.splitn(2, |byte| *byte == b'\n').nth(1).unwrap().to_vec())
        .collect();
    assert_eq!(bodies, payloads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_durations_stop_no_call_half_way() {
    let mut config = quick();
    config.keep_done = Duration::MAX;
    config.keep_dead = Duration::MAX;
    config.retry.max_attempts = 2;
    let world = World::new(config).await;
    // The one in the middle must not cost the others around it their place.
    let items = [
        work("a"),
        work("b").dedupe("event:never-kept".to_owned(), Duration::ZERO),
        work("c").dedupe("event:kept-for-ever".to_owned(), Duration::MAX),
        work("d").after(Duration::MAX),
        work("e"),
    ];
    let answers = world.queue.enqueue(&items).await.unwrap();
    assert_eq!(answers, [Enqueued::New; 5]);
    world.until_counts([4, 1, 0, 0]).await;
    // Their settlements get through as well: a second attempt gives its errors a life.
    let once_bad =
        crate::world::act(|_, attempt| async move { if attempt == 1 { Err("no".into()) } else { Ok(()) } });
    let mut worker = world.hire("w", Size::of(4, 0), once_bad);
    worker.until_ended(8).await;
    world.until_counts([0, 1, 0, 0]).await;
    assert_eq!(world.queue.trim().await.unwrap(), 0);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_under_corrupt_headers_are_never_lost_whoever_dies_with_them() {
    let world = World::new(quick()).await;
    let mut connection = world.redis().await;
    let headers = [
        "",
        "\n",
        "no line",
        "raw\n",
        "raw x y z\n",
        "raw 1 1e999 -5\n",
        "raw 1 99999999999999999999 0\n",
    ];
    for (n, data) in headers.iter().enumerate() {
        let _: () = world
            .ask(&["SET", &world.queue.key(&format!("data:{n}")), data])
            .await;
        let _: () = world
            .ask(&["RPUSH", &world.queue.key("wait"), &n.to_string()])
            .await;
    }
    let ids: Vec<String> = (0..headers.len()).map(|n| n.to_string()).collect();
    // Their worker dies before it has buried them: they wait again, or lie dead where their counts say so.
    assert_eq!(
        claim_by_hand(&world.queue, &mut connection, "dying", 100, 1)
            .await
            .unwrap()
            .len(),
        ids.len()
    );
    let _: () = world
        .ask(&["ZADD", &world.queue.key("lease"), "1", "dying"])
        .await;
    claim_by_hand(&world.queue, &mut connection, "heir", 0, 1)
        .await
        .unwrap();
    let counts = world.queue.counts().await.unwrap();
    assert_eq!((counts.waiting + counts.dead, counts.running), (ids.len(), 0));
    // The next worker buries the rest, and a person's retry brings each of them back.
    let worker = world.hire("w", Size::of(1, 0), ok());
    world.until_counts([0, 0, 0, ids.len()]).await;
    worker.stop().await;
    assert!(
        world
            .queue
            .retry(&ids)
            .await
            .unwrap()
            .into_iter()
            .all(|waits| waits)
    );
    world.until_counts([ids.len(), 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_by_hand_among_the_done_jobs_do_not_stop_the_trimming() {
    let world = World::new(quick()).await;
    let done = world.queue.key("done");
    let _: () = world
        .ask(&[
            "RPUSH",
            &done,
            "",
            "nonsense",
            "id 5 1",
            "id 99999999999999999999999 1",
        ])
        .await;
    let script = scripts::trim();
    let mut trim = call(&script, &world.queue, &["done", "dead", "stats"]);
    let answer: Value = trim
        .arg(0)
        .arg(0)
        .invoke_async(&mut world.redis().await)
        .await
        .unwrap();
    assert_eq!(answer, Value::Int(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_takes_nothing_half_and_its_workers_empty_it() {
    let world = World::new(short_lease()).await;
    world.queue.enqueue(&crate::world::works(0..100)).await.unwrap();
    let _: () = world.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = world.everything().await;
    assert!(world.queue.enqueue(&[work("refused")]).await.is_err());
    assert_eq!(world.everything().await, before);
    // Each fails once, and takes longer than the lease then: claims, settlements and renewals get through.
    let slow = crate::world::act(|_, attempt| async move {
        if attempt == 1 {
            return Err("no".into());
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok(())
    });
    let mut worker = world.hire("w", Size::of(100, 0), slow);
    let told = worker.until_ended(200).await;
    assert!(told.contains(&ended("job-0", 2)));
    world.until_counts([0, 0, 0, 0]).await;
    let _: () = world.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(world.enqueue(work("refused")).await, Enqueued::New);
    worker.until_ended(2).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_not_utf_8_is_buried_and_the_jobs_around_it_run() {
    let world = World::new(quick()).await;
    let mut connection = world.redis().await;
    let id = b"\xff\xfe";
    let key = [world.queue.key("data:").as_bytes(), id].concat();
    redis::pipe()
        .set(key, "work 1 0 0\n\"odd\"")
        .rpush(world.queue.key("wait"), id)
        .exec_async(&mut connection)
        .await
        .unwrap();
    world.enqueue(work("good")).await;
    let mut worker = world.hire("w", Size::of(2, 0), ok());
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 1]).await;
    let dead: Vec<Vec<u8>> = world.ask(&["ZRANGE", &world.queue.key("dead"), "0", "-1"]).await;
    assert_eq!(dead, [id]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_cannot_be_buried_at_once_keeps_no_other_job_of_its_claim_from_running() {
    let world = World::new(quick()).await;
    let proxy = Proxy::start(&world.server, world.folder());
    let id = b"\xff\xfe";
    let key = [world.queue.key("data:").as_bytes(), id].concat();
    redis::pipe()
        .set(key, "work 1 0 0\n\"odd\"")
        .rpush(world.queue.key("wait"), id)
        .exec_async(&mut world.redis().await)
        .await
        .unwrap();
    world.enqueue(work("good")).await;
    proxy.swallow_answer_to(scripts::settle().get_hash());
    let mut worker = hire(&proxy.queue(&world.queue), "w", Size::of(2, 0), ok());
    proxy.swallowed().await;
    worker.until_ended(1).await;
    world.until_counts([0, 0, 0, 1]).await;
    let dead: Vec<Vec<u8>> = world.ask(&["ZRANGE", &world.queue.key("dead"), "0", "-1"]).await;
    assert_eq!(dead, [id]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_keys_are_broken_does_not_keep_the_others_from_being_acknowledged() {
    let world = World::new(quick()).await;
    let _: () = world
        .ask(&["SET", &world.queue.key("errors:bad"), "no list"])
        .await;
    let moody = act(|job, _| async move { if job.0 == "bad" { Err("no".into()) } else { Ok(()) } });
    let worker = world.hire("w", Size::of(8, 0), moody);
    world.enqueue(work("bad")).await;
    world.queue.enqueue(&works(0..20)).await.unwrap();
    let others = async {
        while world.queue.counts().await.unwrap().done < 20 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::world::PATIENCE, others)
        .await
        .expect("the others are not acknowledged");
    worker.crash().await;
}
