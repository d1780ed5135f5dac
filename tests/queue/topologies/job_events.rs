//! Who waits for a job hears of it, wherever the queue has moved to.

use std::time::Duration;

use surepass::queue::{JobEvents, JobStatus};

use support::program::{awaited, eventually};
use support::shop::Shop;

/// Somebody buys, and who waits for that purchase's job hears that it is done.
pub(crate) async fn heard(events: &JobEvents, shop: &Shop) {
    let session = shop.session();
    let jobs = [format!("fulfil:{}", session.session_id())];
    let mut watch = events.watch(&jobs[0]).unwrap();
    eventually("a purchase that is accepted", async || {
        shop.buy(&session).await.status == 200
    })
    .await;
    let queue = shop.queue();
    loop {
        awaited("news of a purchase", watch.changed()).await.unwrap();
        // Redis may be on its way to another home.
        let statuses = loop {
            match queue.job_statuses(&jobs).await {
                Ok(statuses) => break statuses,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        if statuses == [JobStatus::Gone] {
            return;
        }
    }
}
