//! The inbox: jobs that another program pushes with stock apalis-redis.

use apalis::prelude::TaskSink;
use apalis_redis::{Config, ConnectionManager, RedisStorage};
use serde_json::{Value, json};
use surepass::queue::{Queue, QueueConfig, Redis, RedisOptions};

use support::program::eventually;
use support::shop::Shop;

const NAMESPACE: &str = "another::program";

/// With an inbox, and a worker that hands over but does no lookback: so the jobs can be counted.
async fn open() -> Shop {
    let mut shop = Shop::prepare("").await;
    shop.set("SUREPASS_QUEUE_INBOX", NAMESPACE);
    let worker = shop.launch_worker(&["--queues", "fulfil"]);
    worker.says("taking jobs from the inbox").await;
    shop.workers.push(worker);
    shop
}

async fn stock(shop: &Shop) -> RedisStorage<Value, ConnectionManager> {
    let connection = apalis_redis::connect(shop.setting("REDIS_URL")).await.unwrap();
    RedisStorage::new(connection).with_config(Config::default().queue(NAMESPACE))
}

fn sync(shop: &Shop) -> Queue {
    let redis = Redis::open(&shop.setting("REDIS_URL").into(), RedisOptions::default()).unwrap();
    let config = QueueConfig {
        name: "sync".to_owned(),
        ..QueueConfig::default()
    };
    Queue::new(&redis, config).unwrap()
}

async fn waiting(queue: &Queue) -> usize {
    queue.counts().await.map_or(0, |counts| counts.waiting)
}

async fn until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    eventually(what, async || reached().await).await;
}

#[tokio::test]
async fn each_of_20_000_pushed_jobs_is_handed_over_once_though_redis_dies_midway() {
    const JOBS: usize = 20_000;
    let mut shop = open().await;
    let mut storage = stock(&shop).await;
    let jobs = |from: usize, to: usize| {
        (from..to)
            .map(|n| json!({"job": "sync", "tenant": "studio", "user": format!("user_{n}")}))
            .collect::<Vec<_>>()
    };
    // What RedisStorage writes in one go.
    for from in (0..JOBS).step_by(500) {
        storage.push_bulk(jobs(from, from + 500)).await.unwrap();
    }
    let sync = sync(&shop);
    until("the first jobs are handed over", async || {
        waiting(&sync).await > 0
    })
    .await;
    shop.kill_redis().await;
    shop.restart_redis().await;
    until("all are handed over", async || waiting(&sync).await >= JOBS).await;
    // The same again: they wait already.
    stock(&shop).await.push_bulk(jobs(0, 500)).await.unwrap();
    let left = ["ZCARD", "another::program:scheduled"];
    until("the inbox is empty", async || {
        let left = shop.redis(&left).await;
        left.is_ok_and(|left| redis::from_redis_value::<usize>(left).unwrap() == 0)
    })
    .await;
    assert_eq!(waiting(&sync).await, JOBS);
    let data = shop.redis(&["EXISTS", "another::program:data"]).await.unwrap();
    assert_eq!(
        redis::from_redis_value::<usize>(data).unwrap(),
        0,
        "nothing is left behind"
    );
}

#[tokio::test]
async fn a_job_that_is_no_request_becomes_a_dead_one_of_its_own_program_with_the_reason() {
    let shop = open().await;
    let mut storage = stock(&shop).await;
    storage
        .push(json!({"job": "refund", "session": "cs_1"}))
        .await
        .unwrap();
    storage
        .push(json!({"job": "fulfil", "session": "cs_test_1"}))
        .await
        .unwrap();
    // Nothing that RedisStorage writes, but no reason to stop.
    let client = redis::Client::open(shop.setting("REDIS_URL")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("ZADD")
        .arg("another::program:scheduled")
        .arg(1)
        .arg(&b"bad\xff\xfeid"[..])
        .query_async::<()>(&mut connection)
        .await
        .unwrap();
    let sync = sync(&shop);
    until("the good one is handed over", async || waiting(&sync).await == 1).await;
    // Each may have come in a batch of its own.
    until("the bad ones are refused", async || {
        let dead = shop.redis(&["SCARD", "another::program:dead"]).await.unwrap();
        redis::from_redis_value::<usize>(dead).unwrap() == 2
    })
    .await;
    let dead = shop.redis(&["SMEMBERS", "another::program:dead"]).await.unwrap();
    let dead: Vec<Vec<u8>> = redis::from_redis_value(dead).unwrap();
    assert_eq!(dead.len(), 2);
    let dead: Vec<String> = dead
        .into_iter()
        .filter_map(|id| String::from_utf8(id).ok())
        .collect();
    let meta = format!("another::program:meta:{}", dead[0]);
    let why = shop.redis(&["HGET", &meta, "result"]).await.unwrap();
    let why: String = redis::from_redis_value(why).unwrap();
    assert!(why.contains("unknown variant `refund`"), "{why}");
}

#[tokio::test]
async fn surepass_own_keys_are_no_inbox() {
    let mut shop = Shop::prepare("").await;
    shop.set("SUREPASS_QUEUE_INBOX", "{surepass:fulfil}");
    let mut worker = shop.launch_worker(&[]);
    assert_eq!(worker.ended().await.code(), Some(1));
    let said = worker.said();
    assert!(said.contains("which are our own keys"), "{said}");
    shop.bury(worker);
}
