//! A worker that dies in the middle of a job.

use std::time::Duration;

use serde_json::Value;
use surepass::up::sample::SampleSession;

use support::answer::Answer;
use support::program::PATIENCE;
use support::shop::Shop;

#[tokio::test]
async fn a_worker_killed_in_mid_job_loses_its_claim_and_another_runs_the_job_with_the_attempt_counted() {
    let mut shop = Shop::open_with("[queue]\nlease_seconds = 2").await;
    let lock = shop.lock_store().await;
    let sessions = [shop.session(), shop.session(), shop.session()];
    for session in &sessions {
        assert_eq!(shop.buy(session).await, Answer::accepted());
    }
    shop.running(3).await;
    let mut killed = shop.workers.remove(0);
    killed.killed().await;
    shop.bury(killed);
    lock.release().await;
    assert_eq!(shop.fulfilled().await, [""; 0]);

    shop.start_worker().await;
    shop.settled().await;
    assert_eq!(
        shop.fulfilled().await,
        sessions.clone().map(|session| session.session_id())
    );
    let queue = shop.queue();
    for session in &sessions {
        let job = format!("fulfil:{}", session.session_id());
        let errors = queue.errors(&job).await.unwrap();
        assert_eq!(errors.len(), 1, "{errors:?}");
        let error: Value = serde_json::from_str(&errors[0]).unwrap();
        assert_eq!(
            (&error["attempt"], &error["code"]),
            (&1.into(), &"worker_lost".into())
        );
        assert_eq!(shop.attempts(&job).await, 2);
    }
}

#[tokio::test]
async fn a_purchase_that_meets_a_locked_store_waits_uncounted_until_it_is_there() {
    let shop = Shop::open_with("[queue]\nmax_attempts = 1").await;
    let lock = shop.lock_store().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    // Longer than a writer waits.
    shop.workers[0].says("put off: the store is not available").await;
    lock.release().await;
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
    let job = format!("fulfil:{}", session.session_id());
    assert_eq!(shop.attempts(&job).await, 1);
}

#[tokio::test]
async fn workers_killed_again_and_again_while_the_store_is_locked_bury_no_purchase() {
    let mut shop = Shop::prepare("[queue]\nlease_seconds = 2").await;
    shop.start_server().await;
    let lock = shop.lock_store().await;
    let sessions: Vec<_> = (0..12).map(|_| shop.session()).collect();
    for session in &sessions {
        assert_eq!(shop.buy(session).await, Answer::accepted());
    }
    // Whoever charged each kill to all that the dead held would have buried every purchase by the third.
    let mut dead = Vec::new();
    for round in 0..3 {
        for _ in 0..3 {
            shop.start_worker().await;
        }
        lapsed(&shop, &dead).await;
        if round == 0 {
            shop.running(sessions.len()).await;
        }
        dead = holders(&shop).await;
        for mut worker in std::mem::take(&mut shop.workers) {
            worker.killed().await;
            shop.bury(worker);
        }
    }
    assert_eq!(shop.fulfilled().await, [""; 0]);
    lock.release().await;

    for _ in 0..3 {
        shop.start_worker().await;
    }
    shop.worked_off().await;
    let mut fulfilled = shop.fulfilled().await;
    fulfilled.sort();
    let mut bought: Vec<_> = sessions.iter().map(SampleSession::session_id).collect();
    bought.sort();
    assert_eq!(fulfilled, bought);
    assert_eq!(shop.counts().await.dead, 0);
    let cases = shop.json(&["unmatched", "list", "--json"]).await;
    assert_eq!(cases.as_array().map(Vec::len), Some(0), "{cases}");
}

/// The workers that hold jobs, or have died with them.
async fn holders(shop: &Shop) -> Vec<String> {
    let lease = shop.queue().key("lease");
    let all = shop.redis(&["ZRANGE", &lease, "0", "-1"]).await.unwrap();
    redis::from_redis_value(all).unwrap()
}

/// Waits until the jobs of these are free, and others hold some.
async fn lapsed(shop: &Shop, dead: &[String]) {
    let waiting = async {
        loop {
            let held = holders(shop).await;
            if !held.iter().any(|worker| dead.contains(worker)) && shop.counts().await.running > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the dead lose their claims");
}
