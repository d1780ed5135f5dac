//! A worker that dies in the middle of a job.

use serde_json::Value;

use crate::answer::Answer;
use crate::shop::Shop;

#[tokio::test]
async fn a_worker_killed_in_mid_job_loses_its_claim_and_another_runs_the_job_with_the_attempt_counted() {
    let mut shop = Shop::open_with("[queue]\nlease_seconds = 1").await;
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
async fn a_purchase_that_meets_a_locked_store_is_retried_until_it_is_there() {
    let shop = Shop::open_with("[queue]\nbackoff_base_ms = 50").await;
    let lock = shop.lock_store().await;
    let session = shop.session();
    assert_eq!(shop.buy(&session).await, Answer::accepted());
    // Longer than a writer waits: the attempt fails for a passing cause.
    let job = format!("fulfil:{}", session.session_id());
    let queue = shop.queue();
    while queue.errors(&job).await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    lock.release().await;
    shop.settled().await;
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
    let error: Value = serde_json::from_str(&queue.errors(&job).await.unwrap()[0]).unwrap();
    assert_eq!(error["code"], "store_unavailable");
    assert!(shop.attempts(&job).await >= 2);
}
