//! What comes by schedule: lookbacks are enqueued, our webhook endpoints are audited. Each tick once, whichever worker is
//! first; the rules are in `surepass::lookback::cron`.

use std::sync::Arc;

use surepass::clock::Clock;
use surepass::config::{QueueName, Settings};
use surepass::lookback::audit::{Auditor, Findings, Rounds};
use surepass::lookback::cron::Cron;
use surepass::queue::{Bucket, Queue, QueueError, Redis};
use surepass::store::Store;
use surepass::stripe::api::{self, Client, StripeError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the schedules cannot be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CronError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
}

/// Follows the schedules until `stop`. Without a key for Stripe there is nothing to follow.
pub(crate) fn start(
    settings: &Settings,
    redis: &Redis,
    store: &Arc<dyn Store>,
    clock: &Clock,
    findings: Findings,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, CronError> {
    let mut running = JoinSet::new();
    let Some(options) = settings.stripe_options() else {
        tracing::warn!(
            "STRIPE_SECRET_KEY is not set: no lookback finds the purchases whose webhooks were lost"
        );
        return Ok(running);
    };
    // Connections of its own: what waits for Stripe's bucket or for a slow answer is in no job's way.
    let queue = Queue::new(redis, settings.queue_config_of(QueueName::Sync))?;
    let http = api::http()?;
    let pace = Arc::new(Bucket::new(redis, settings.stripe_bucket())?);
    let auditor = Auditor {
        client: Client::new(http.clone(), options, pace),
        http,
        purchases: Queue::new(redis, settings.queue_config())?,
        clock: clock.clone(),
        public_url: settings.server.public_url.clone(),
        secrets: settings.stripe.webhook_secrets.clone(),
        livemode: settings.stripe.livemode().unwrap_or(false),
    };
    let rounds = Rounds {
        queue: queue.clone(),
        store: store.clone(),
        auditor,
        settings: settings.lookback.clone(),
        findings,
    };
    let cron = Cron::new(queue, store.clone(), clock.clone(), settings.lookback.clone());
    let own = stop.clone();
    running.spawn(async move { cron.run(own).await });
    let own = stop.clone();
    running.spawn(async move { rounds.run(own).await });
    Ok(running)
}
