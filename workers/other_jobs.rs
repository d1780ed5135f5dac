//! A purchase may have several jobs: one for each endpoint that received it, and the lookback's. If one
//! succeeds, no other may stay a dead letter.

use std::sync::Arc;

use apalis::prelude::*;
use futures::FutureExt;
use surepass::fulfil::{Fulfiller, Purchase};
use surepass::queue::{JobError, Origin, Queue};

use crate::fulfil;
use crate::purchase_log::PurchaseLog;

/// [`fulfil::run`], and then the purchase's other jobs, if there may be any.
pub(crate) fn run(
    purchase: Purchase,
    fulfiller: Data<Arc<Fulfiller>>,
    queue: Data<Queue>,
    attempt: Attempt,
    origin: Data<Origin>,
    log: Data<Arc<PurchaseLog>>,
) -> impl Future<Output = Result<(), JobError>> + Send {
    if !Fulfiller::may_have_others(&purchase) {
        return fulfil::run(purchase, fulfiller, attempt, origin, log).left_future();
    }
    let twin = purchase.clone();
    let running = fulfil::run(purchase, fulfiller.clone(), attempt, origin, log);
    // Boxed, since few jobs need it and hundreds run at a time.
    let both = async move {
        running.await?;
        rerun_others(&fulfiller, &queue, &twin).await;
        Ok(())
    };
    both.boxed().right_future()
}

/// Runs the purchase's other jobs again that are dead letters: its pass exists, so they need no person. An
/// error here does not fail the purchase.
async fn rerun_others(fulfiller: &Fulfiller, queue: &Queue, purchase: &Purchase) {
    match fulfiller.other_jobs(purchase).await {
        Ok(others) => {
            if let Err(error) = queue.retry(&others).await {
                tracing::warn!(%error, "a dead letter of this fulfilled purchase may be left: retry it");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a dead letter of this fulfilled purchase may be left: retry it");
        }
    }
}
