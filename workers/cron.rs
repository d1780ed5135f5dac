//! Runs the schedules: lookbacks and endpoint checks. Each tick once, by whichever worker is first; see
//! `surepass::lookback::cron`.

use surepass::config::Settings;
use surepass::lookback::Lookback;
use surepass::lookback::cron::Cron;
use surepass::lookback::endpoint_check::{EndpointCheckScheduler, EndpointChecker, Findings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Runs the schedules until `stop`.
pub(crate) fn start(
    settings: &Settings,
    lookback: &Lookback,
    findings: Findings,
    stop: &CancellationToken,
) -> Result<JoinSet<()>, String> {
    let mut running = JoinSet::new();
    let Some(client) = lookback.stripe.clone() else {
        return Ok(running);
    };
    let (store, clock, settings_of) = (&lookback.store, &lookback.clock, &settings.lookback);
    // A connection of its own, so that waiting here delays no job.
    let queue = lookback.sync.reconnected().map_err(|error| error.to_string())?;
    let livemode = client.livemode();
    let checker = EndpointChecker {
        client,
        clock: clock.clone(),
        public_url: settings.server.public_url.clone(),
    };
    let endpoint_checks = EndpointCheckScheduler {
        queue: queue.clone(),
        store: store.clone(),
        checker,
        settings: settings_of.clone(),
        findings,
    };
    let cron = Cron::new(queue, store.clone(), clock.clone(), settings_of.clone()).with_livemode(livemode);
    let own = stop.clone();
    running.spawn(async move { cron.run(own).await });
    let own = stop.clone();
    running.spawn(async move { endpoint_checks.run(own).await });
    Ok(running)
}

/// Waits until a schedule fails, and returns why. A worker without schedules must not look healthy.
pub(crate) async fn broken(schedules: &mut JoinSet<()>) -> String {
    while let Some(ended) = schedules.join_next().await {
        if let Err(error) = ended {
            return format!("the schedules broke off: {error}");
        }
    }
    std::future::pending().await
}
