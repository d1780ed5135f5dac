//! `/readyz` and the first page: what they need, and what they leave behind.

use std::time::Duration;

use crate::program::awaited;
use crate::shop::Shop;

/// Waits until `/readyz` of the server has this status: an answer is up to a second old.
async fn until_ready_is(shop: &Shop, status: u16) {
    awaited("the status of /readyz", async {
        while shop.get(0, "/readyz").await != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_is_ready_without_its_store_and_not_without_a_redis_that_takes_writes() {
    let mut shop = Shop::empty("").await;
    shop.set("DATABASE_URL", "postgres://127.0.0.1:9/none");
    shop.start_server().await;
    until_ready_is(&shop, 200).await;
    for (spoil, mend) in [
        (
            ["CONFIG", "SET", "maxmemory", "100kb"].as_slice(),
            ["CONFIG", "SET", "maxmemory", "0"].as_slice(),
        ),
        (
            &["REPLICAOF", "no-such-host", "6379"],
            &["REPLICAOF", "NO", "ONE"],
        ),
    ] {
        shop.redis(spoil).await.unwrap();
        until_ready_is(&shop, 503).await;
        shop.redis(mend).await.unwrap();
        until_ready_is(&shop, 200).await;
    }
}

#[tokio::test]
async fn a_stranger_who_looks_at_the_first_page_or_readyz_makes_no_write() {
    let shop = Shop::open().await;
    shop.redis(&["CONFIG", "RESETSTAT"]).await.unwrap();
    for _ in 0..20 {
        assert_eq!(shop.get(0, "/").await, 200);
        assert_eq!(shop.get(0, "/readyz").await, 200);
    }
    let stats = shop.redis(&["INFO", "commandstats"]).await.unwrap();
    let stats: String = redis::from_redis_value(stats).unwrap();
    // One look a second, of which each is one `SET … XX` that finds no key.
    let keys = shop.redis(&["EXISTS", &shop.queue().key("never")]).await.unwrap();
    assert_eq!(keys, redis::Value::Int(0), "{stats}");
    let sets = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    let sets: u32 = sets.unwrap().split(',').next().unwrap().parse().unwrap();
    assert!(sets < 20, "{sets} looks for 40 requests");
}
