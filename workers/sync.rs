//! `sync`, `sweep`, `undelivered`: the lookback's jobs.

use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use surepass::lookback::{Lookback, LookbackError, LookbackJob};
use surepass::queue::{Job, JobError, Origin, RedisBackend};
use surepass::telemetry::{self, TraceParent};
use tracing::{Instrument, Span};

/// Works on the queue until `stop`.
pub(crate) async fn work(
    name: &str,
    backend: RedisBackend<LookbackJob>,
    slots: usize,
    may_take: Duration,
    lookback: Arc<Lookback>,
    stop: impl Future<Output = std::io::Result<()>> + Send + 'static,
) -> Result<(), WorkerError> {
    WorkerBuilder::new(name)
        .backend(backend)
        .data(lookback)
        .concurrency(slots)
        .timeout(may_take)
        .build(run)
        .run_until(stop)
        .await
}

async fn run(
    job: LookbackJob,
    lookback: Data<Arc<Lookback>>,
    attempt: Attempt,
    origin: Data<Origin>,
) -> Result<(), JobError> {
    let trace: Option<TraceParent> = origin.trace.as_deref().and_then(|trace| trace.parse().ok());
    let key = job.key().unwrap_or_default();
    let span = tracing::info_span!(
        "lookback",
        kind = job.kind(),
        job = key,
        attempt = attempt.current(),
        trace = trace.map(|trace| tracing::field::display(trace.trace_id()))
    );
    if let Some(trace) = trace {
        trace.follow(&span);
    }
    async move {
        let done = match &job {
            LookbackJob::Sync(request) => lookback.sync(request, &key, origin.enqueued).await,
            LookbackJob::AccountSync(request) => lookback.sync_account(request, attempt.current()).await,
            LookbackJob::FailedDeliveries(request) => lookback.enqueue_failed_deliveries(request).await,
        };
        done.map_err(|error| failed(&error))
    }
    .instrument(span)
    .await
}

fn failed(error: &LookbackError) -> JobError {
    let (code, told) = (error.code(), error.to_string());
    if error.put_off().is_none() {
        telemetry::failed(&Span::current(), code);
    }
    if !error.is_transient() {
        tracing::error!(
            code,
            error = told,
            "dead letter: see `surepass jobs list --state dead`"
        );
        return JobError::fail(code, told);
    }
    if let Some(after) = error.put_off() {
        let why = if error.is_outage() {
            "put off: the store is not available"
        } else {
            "put off: Stripe's rate limit"
        };
        tracing::info!(code, error = told, ?after, "{why}");
        return JobError::put_off(code, told, after);
    }
    tracing::warn!(code, error = told, "failed; it will be retried");
    match error.retry_after() {
        Some(after) => JobError::retry_after(code, told, after),
        None => JobError::retry(code, told),
    }
}
