//! `/readyz` and the first page: what they need, and what they leave behind.

use support::program::eventually;
use support::shop::Shop;

/// Waits until `/readyz` of the server has this status: an answer is up to a second old.
async fn until_ready_is(shop: &Shop, status: u16) {
    eventually("the status of /readyz", async || {
        shop.get(0, "/readyz").await == status
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

/// What `/readyz` and the first page of the server say, and the gauges of the unserved.
async fn told(shop: &Shop) -> (String, String, String) {
    let text = async |address: std::net::SocketAddr, path: &str| {
        let url = format!("http://{address}{path}");
        let client = surepass::http_client::http().build().unwrap();
        client.get(url).send().await.unwrap().text().await.unwrap()
    };
    let ready = text(shop.servers[0].address, "/readyz").await;
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    let page = text(shop.servers[0].address, "/").await;
    let metrics = Shop::metrics_of(&shop.servers[0].program).await;
    let metrics = text(metrics.parse().unwrap(), "/metrics").await;
    let gauges = metrics
        .lines()
        .filter(|line| line.starts_with("surepass_purchases_unserved{"));
    (
        ready["verdict"].as_str().unwrap().to_owned(),
        page.split("<h1>")
            .nth(1)
            .unwrap()
            .split("</h1>")
            .next()
            .unwrap()
            .to_owned(),
        gauges
            .map(|line| line.rsplit(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[tokio::test]
async fn readyz_the_first_page_and_the_metrics_tell_who_paid_and_has_no_pass_or_waits() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    let until = async |verdict: &str, page: &str, gauges: &str| {
        let expected = (verdict.to_owned(), page.to_owned(), gauges.to_owned());
        eventually("the verdict", async || told(&shop).await == expected).await;
    };
    until("ok", "Surepass is running", "0 0").await;
    shop.buy(&shop.session()).await;
    shop.enqueued_earlier(2).await;
    let waits = "A customer has waited for over a minute: run surepass doctor";
    until("waiting_too_long", waits, "0 1").await;

    let session = shop.session().with("passId", Some("no-such-pass"));
    shop.buy(&session.with("passName", None)).await;
    let worker = shop.launch_worker(&[]);
    shop.worked_off().await;
    drop(worker);
    let none = "A customer has paid and has no pass: run surepass doctor";
    until("paid_without_pass", none, "1 0").await;
    assert_eq!(shop.get(0, "/readyz").await, 200, "traffic may come all the same");
}
