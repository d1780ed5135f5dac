//! What the programs' logs say to whoever is on call.

use serde_json::Value;

use support::program::{Program, awaited, eventually};
use support::shop::Shop;

/// The lines of a log in which a field has this value.
fn lines(program: &Program, field: &str, value: &str) -> Vec<Value> {
    let lines = program.said();
    let lines = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line[field] == value).collect()
}

#[tokio::test]
async fn each_pass_that_is_made_is_one_line_with_its_tenant_session_time_and_layer() {
    let mut shop = Shop::open().await;
    let sessions = [shop.session(), shop.session()];
    for session in &sessions {
        shop.buy(session).await;
        shop.buy(session).await;
    }
    shop.settled().await;
    let worker = shop.workers.pop().unwrap();
    let mut worker = worker;
    worker.signal(nix::sys::signal::Signal::SIGTERM);
    worker.ended().await;
    let made = lines(&worker, "message", "pass created");
    let mut found: Vec<_> = made
        .iter()
        .map(|line| line["session"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    assert_eq!(found, [sessions[0].session_id(), sessions[1].session_id()]);
    for line in &made {
        assert_eq!(
            (&line["level"], &line["tenant"], &line["layer"]),
            (&"INFO".into(), &"tenant-1".into(), &"webhook".into())
        );
        assert!(line["ms"].as_u64().unwrap() < 60_000, "{line}");
    }
    // A span's fields stand in a line once.
    let created = &lines(&worker, "message", "created")[0];
    assert_eq!(created["spans"].as_array().unwrap().len(), 1, "{created}");
    assert_eq!(created.get("span"), None);
    shop.bury(worker);
}

#[tokio::test]
async fn an_outage_of_redis_is_one_warning_and_one_line_when_it_is_over() {
    let mut shop = Shop::open().await;
    shop.kill_redis().await;
    let (server, worker) = (&shop.servers[0].program, &shop.workers[0]);
    for _ in 0..2 {
        assert_eq!(shop.buy(&shop.session()).await.status, 503);
    }
    eventually("ten failed calls of the worker", async || {
        lines(worker, "message", "Redis does not answer").len() >= 10
    })
    .await;
    let warnings = lines(worker, "level", "WARN");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(
        warnings[0]["message"],
        "no jobs from Redis; trying again until it answers"
    );

    let said = (worker.said().len(), server.said().len());
    assert!(said.0 > 0 && said.1 > 0);
    shop.restart_redis().await;
    let session = shop.session();
    let bought = async { while shop.buy(&session).await.status != 200 {} };
    awaited("the first webhook that is taken", bought).await;
    let (server, worker) = (&shop.servers[0].program, &shop.workers[0]);
    let back = worker.says("Redis is back: jobs are taken again").await;
    let back: Value = serde_json::from_str(&back).unwrap();
    assert!(
        back["level"] == "INFO" && back["away_ms"].as_u64().unwrap() > 0,
        "{back}"
    );
    let back = server.says("Redis is back: webhooks are accepted again").await;
    let back: Value = serde_json::from_str(&back).unwrap();
    assert!(back["refused"].as_u64().unwrap() >= 2, "{back}");
    assert_eq!(lines(worker, "level", "WARN").len(), 1);
}
