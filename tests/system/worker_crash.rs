//! A worker that dies in the middle of a job.

use serde_json::Value;

use crate::answer::Answer;
use crate::shop::Shop;

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
