//! `fulfil`: turns a purchase into its subscription, by `src/fulfil/mod.rs`.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use surepass::fulfil::{Fulfilled, Fulfiller, Purchase};
use surepass::queue::{JobError, Origin};
use surepass::telemetry::{self, TraceParent};
use tracing::{Instrument, Span};

use crate::purchase_log::{Line, PurchaseLog};

/// How long a purchase keeps its slot during a store outage.
const OUTAGE_HOLD: Duration = Duration::from_secs(1);

// No async fn, which would store the purchase three times in each of hundreds of jobs.
#[expect(clippy::needless_pass_by_value, reason = "apalis hands its arguments over")]
pub(crate) fn run(
    purchase: Purchase,
    fulfiller: Data<Arc<Fulfiller>>,
    attempt: Attempt,
    origin: Data<Origin>,
    log: Data<Arc<PurchaseLog>>,
) -> impl Future<Output = Result<(), JobError>> + Send {
    let trace: Option<TraceParent> = origin.trace.as_deref().and_then(|trace| trace.parse().ok());
    let span = tracing::info_span!(
        "fulfil",
        job = purchase.job_key(),
        event = purchase.event_id,
        session = purchase.session_id,
        attempt = attempt.current(),
        trace = trace.map(|trace| tracing::field::display(trace.trace_id()))
    );
    if let Some(trace) = trace {
        trace.follow(&span);
    }
    async move {
        match fulfiller.fulfil(&purchase).await {
            Ok(Fulfilled::Created {
                subscription_id,
                tenant,
            }) => {
                tracing::debug!(subscription = subscription_id, "created");
                log.write(|| Line {
                    tenant,
                    session: purchase.session_id.clone(),
                    layer: purchase.created_via.as_str(),
                    enqueued: origin.enqueued,
                });
                Ok(())
            }
            Ok(Fulfilled::Existing { subscription_id }) => {
                tracing::debug!(subscription = subscription_id, "the subscription already exists");
                Ok(())
            }
            Ok(Fulfilled::Unmatched { reason, reference }) => {
                tracing::warn!(reason, reference, "unmatched payment: see `surepass unmatched list`");
                Ok(())
            }
            Ok(Fulfilled::Ignored(why)) => {
                tracing::info!(why, "ignored: not a purchase of a pass");
                Ok(())
            }
            Err(error) if error.put_off().is_some() => {
                tracing::info!(code = error.code(), %error, "put off: Stripe's rate limit");
                let after = error.put_off().unwrap_or_default();
                Err(JobError::put_off(error.code(), error, after))
            }
            Err(error) if error.is_outage() => {
                // During an outage a backlog must not cycle through Redis at full speed.
                Box::pin(tokio::time::sleep(OUTAGE_HOLD)).await;
                tracing::debug!(code = error.code(), %error, "put off: the store is not available");
                Err(JobError::put_off(error.code(), error, fulfiller.store_pause()))
            }
            Err(error) if error.is_transient() => {
                telemetry::failed(&Span::current(), error.code());
                tracing::warn!(code = error.code(), %error, "failed; it will be retried");
                Err(match error.retry_after() {
                    Some(after) => JobError::retry_after(error.code(), error, after),
                    None => JobError::retry(error.code(), error),
                })
            }
            Err(error) => {
                telemetry::failed(&Span::current(), error.code());
                tracing::error!(code = error.code(), %error, "dead letter: see `surepass jobs list --state dead`");
                Err(JobError::fail(error.code(), error))
            }
        }
    }
    .instrument(span)
}
