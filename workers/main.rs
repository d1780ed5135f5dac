//! `surepass-worker`: takes jobs from Redis and runs them. The library contains the jobs; this program
//! decodes payloads and decides between retry and failure.

mod cron;
mod endpoint;
mod fulfil;
mod inbox;
mod other_jobs;
mod purchase_log;
mod sync;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use clap::Parser;
use futures::FutureExt;
use purchase_log::PurchaseLog;
use secrecy::SecretString;
use surepass::clock::Clock;
use surepass::config::{QueueName, Settings, Within};
use surepass::dead_letters::DeadLetters;
use surepass::event_log::Drain;
use surepass::fulfil::{Fulfiller, Purchase};
use surepass::lookback::Lookback;
use surepass::lookback::endpoint_check::Findings;
use surepass::queue::{
    self, GiveBack, LogConsumer, ProcessGate, Queue, Redis, RedisBackend, RedisOptions, TokenBucket,
};
use surepass::shutdown::Shutdown;
use surepass::store::{self, Store};
use surepass::stripe::api;
use surepass::{telemetry, watched};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// The queues of this program.
const QUEUES: [QueueName; 2] = QueueName::ALL;

/// A customer's sync may list a whole account, so its time limit is this many times that of other jobs.
const SYNC_MAY_TAKE: u32 = 10;
/// How long a slice of an account sync works. Much less than the grace.
const SLICE: Duration = Duration::from_secs(2);

/// Turns paid Checkout Sessions into subscriptions: takes jobs from Redis, retries what fails, exactly once in effect.
///
/// Start as many as you like against one Redis and one store; each takes what it can. Settings come from
/// config/*.toml and the environment (REDIS_URL, DATABASE_URL, …; config/default.toml lists them all).
/// SIGTERM lets running jobs finish; a second one hands them back at once.
#[derive(Parser, Debug)]
#[expect(clippy::doc_markdown, reason = "this text is what --help prints")]
#[command(name = "surepass-worker", version, long_version = surepass::LONG_VERSION)]
struct Arguments {
    /// Jobs to run at a time [default: worker.concurrency, 256]
    #[arg(long, value_name = "N")]
    concurrency: Option<Within<usize, 1, 10_000>>,
    /// The queues to take jobs from, separated by commas [default: all: fulfil, sync]
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = QUEUES.map(QueueName::as_str))]
    queues: Vec<String>,
    /// Leave schedules to other workers: no lookback begins here, and no check of the webhook endpoints
    #[arg(long)]
    no_cron: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Settings::load()
        .map_err(|error| error.to_string())
        .and_then(|mut settings| {
            if let Some(told) = surepass::up::fill_in(&mut settings) {
                eprintln!("surepass-worker: {told}");
            }
            run(arguments, settings)
        }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("surepass-worker: {}", surepass::terminal::safe_lines(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, mut settings: Settings) -> Result<(), String> {
    let _telemetry = telemetry::init("surepass-worker", &settings.log.filter, settings.log.format)
        .map_err(|error| error.to_string())?;
    if let Some(concurrency) = arguments.concurrency {
        settings.worker.concurrency = concurrency;
    }
    if !arguments.queues.is_empty() {
        settings.worker.queues = arguments.queues;
    }
    if let Some(unknown) = settings
        .worker
        .queues
        .iter()
        .find(|name| QUEUES.iter().all(|queue| queue.as_str() != name.as_str()))
    {
        return Err(format!(
            "worker.queues names `{unknown}`: the queues are {}",
            QUEUES.map(QueueName::as_str).join(", ")
        ));
    }
    // One thread: beside the store's own thread a job costs little, and passing it between threads would cost
    // as much again. Run more workers to use more cores.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let done = runtime.block_on(work(&settings, !arguments.no_cron));
    // Jobs that are still running, after a second signal or the grace, are dropped here.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

async fn work(settings: &Settings, with_cron: bool) -> Result<(), String> {
    let shutdown = Shutdown::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let clock = Clock::system();
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())
        .map_err(|error| error.to_string())?;
    let queue = Queue::new(&redis, settings.queue_config()).map_err(|error| error.to_string())?;
    let Some(store) = open_store(settings, &shutdown).await? else {
        return Ok(());
    };
    let lookback = lookback(settings, &redis, &queue, &store, &clock)?;
    let held = posts(settings, &redis, lookback.is_some())?;
    let queues = held.iter().map(|(_, _, own)| own);
    let findings = Findings::default();
    endpoint::serve(settings.worker.metrics_bind, &queue, queues, &store, &findings);

    let name = worker_name();
    tracing::info!(
        worker = name,
        concurrency = *settings.worker.concurrency,
        "starting"
    );

    let stop_drain = CancellationToken::new();
    let drain = drain(settings, &queue, &name, &store, &clock, &stop_drain);
    let stop_cron = CancellationToken::new();
    let mut schedules = match &lookback {
        Some(lookback) if with_cron => cron::start(settings, lookback, findings, &stop_cron)?,
        _ => JoinSet::new(),
    };

    inbox::start(settings, &redis, lookback.as_deref(), &clock, &stop_cron)?;

    let purchase_log = Arc::new(PurchaseLog::start(clock.clone()));
    let stripe = lookback.as_ref().and_then(|lookback| lookback.stripe.clone());
    let has_stripe = stripe.is_some();
    let fulfiller = Arc::new(fulfiller(settings, &store, stripe, &clock));
    let dead_letters = dead_letters(&queue, &store, &fulfiller, clock, has_stripe);
    let dead_letters = tokio::spawn(dead_letters.run(stop_drain.clone()));
    let gate = ProcessGate::new();
    let mut crew = Vec::new();
    let mut give_back = Vec::new();
    for (queue, slots, own) in held {
        // With few slots a prefetched job would keep another worker from it. With many it hides the round
        // trip to Redis.
        let prefetch = if slots < 64 { 0 } else { slots / 2 };
        tracing::info!(queue = queue.as_str(), slots, "working");
        let working = match queue {
            QueueName::Fulfil => {
                let backend = RedisBackend::<Purchase>::new(&own, &name, slots, prefetch).with_gate(&gate);
                give_back.push(backend.give_back());
                let stop = asked(&shutdown, backend.stop());
                let worker = WorkerBuilder::new(name.as_str())
                    .backend(backend)
                    .data(fulfiller.clone())
                    .data(purchase_log.clone())
                    .data(own.clone())
                    .concurrency(slots)
                    .timeout(*settings.worker.job_timeout)
                    .build(other_jobs::run);
                worker.run_until(stop).boxed()
            }
            QueueName::Sync => {
                let Some(lookback) = lookback.clone() else {
                    continue;
                };
                let may_take = *settings.worker.job_timeout * SYNC_MAY_TAKE;
                let backend = RedisBackend::new(&own, &name, slots, prefetch).with_gate(&gate);
                give_back.push(backend.give_back());
                let stop = asked(&shutdown, backend.stop());
                sync::work(&name, backend, slots, may_take, lookback, stop).boxed()
            }
        };
        let shutdown = &shutdown;
        crew.push(async move {
            match working.await {
                Err(error) => Err(format!("the worker of `{}` ended: {error}", queue.as_str())),
                Ok(()) if shutdown.was_asked() => Ok(()),
                Ok(()) => Err(format!("the worker of `{}` ended by itself", queue.as_str())),
            }
        });
    }
    let working = futures::future::try_join_all(crew);
    let (ended, in_time) = tokio::select! {
        ended = working => (ended.map(drop), true),
        why = too_long(settings, &shutdown, &stop_cron) => {
            tracing::warn!(why, "running jobs are returned to the queue");
            (Ok(()), false)
        }
        broken = cron::broken(&mut schedules) => (Err(broken), false),
    };
    // Returns jobs at once rather than when their leases expire.
    futures::future::join_all(give_back.iter().map(GiveBack::run)).await;
    stop_cron.cancel();
    schedules.shutdown().await;
    stop_drain.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(3), futures::future::join(drain, dead_letters)).await;
    if !shutdown.was_asked() {
        return ended;
    }
    // A store that blocked jobs would block its close, too.
    if in_time {
        let _ = tokio::time::timeout(Duration::from_secs(3), store.close()).await;
    }
    tracing::info!("stopped");
    ended
}

/// Keeps the store's cases up to date with the queue.
fn dead_letters(
    queue: &Queue,
    store: &Arc<Store>,
    fulfiller: &Arc<Fulfiller>,
    clock: Clock,
    has_stripe: bool,
) -> DeadLetters {
    DeadLetters {
        queue: queue.clone(),
        store: store.clone(),
        fulfiller: fulfiller.clone(),
        clock,
        has_stripe,
    }
}

/// Turns purchases into subscriptions. Without `stripe` it reads no line items.
fn fulfiller(
    settings: &Settings,
    store: &Arc<Store>,
    stripe: Option<api::Client>,
    clock: &Clock,
) -> Fulfiller {
    Fulfiller::new(store.clone(), settings.stripe.livemode(), clock.clone())
        .with_stripe(stripe)
        .with_policy(settings.fulfil.unmatched)
        .with_client_reference(settings.fulfil.client_reference_id)
}

/// Waits for a shutdown. Then the backend claims no more jobs, and the worker ends.
fn asked(
    shutdown: &Shutdown,
    stop: CancellationToken,
) -> impl Future<Output = std::io::Result<()>> + Send + use<> {
    let shutdown = shutdown.clone();
    async move {
        shutdown.asked().await;
        stop.cancel();
        Ok(())
    }
}

/// Waits until running jobs have had their grace. Returns why it ended.
async fn too_long(settings: &Settings, shutdown: &Shutdown, stop_cron: &CancellationToken) -> &'static str {
    shutdown.asked().await;
    stop_cron.cancel();
    tracing::info!("stopping: running jobs finish, no new ones are taken");
    tokio::select! {
        () = tokio::time::sleep(*settings.worker.grace) => "the grace period is over",
        () = shutdown.insisted() => "second signal received",
    }
}

/// The lookback; `None` if it is off.
fn lookback(
    settings: &Settings,
    redis: &Redis,
    fulfil: &Queue,
    store: &Arc<Store>,
    clock: &Clock,
) -> Result<Option<Arc<Lookback>>, String> {
    let Some(options) = settings.stripe_options() else {
        if settings.worker.queues.iter().any(|name| name == "sync") {
            return Err("the queue `sync` needs a Stripe API key: set STRIPE_SECRET_KEY".to_owned());
        }
        tracing::warn!(
            "the lookback is off: purchases whose webhooks are lost are not found; set STRIPE_SECRET_KEY"
        );
        return Ok(None);
    };
    let pace = TokenBucket::new(redis, settings.stripe_rate_limit()).map_err(|error| error.to_string())?;
    let http = api::http().map_err(|error| error.to_string())?;
    let sync =
        Queue::new(redis, settings.queue_config_of(QueueName::Sync)).map_err(|error| error.to_string())?;
    let stripe = api::Client::new(http, options, Arc::new(pace));
    let lookback = Lookback::new(settings, store.clone(), fulfil.clone(), sync, clock.clone());
    Ok(Some(Arc::new(lookback.with_stripe(stripe, SLICE))))
}

/// The queues to work on, with the slots of each.
fn posts(
    settings: &Settings,
    redis: &Redis,
    looks_back: bool,
) -> Result<Vec<(QueueName, usize, Queue)>, String> {
    let asked = &settings.worker.queues;
    let queues: Vec<_> = QUEUES
        .into_iter()
        .filter(|queue| looks_back || *queue != QueueName::Sync)
        .filter(|queue| asked.is_empty() || asked.iter().any(|name| name == queue.as_str()))
        .collect();
    let weights: Vec<_> = queues
        .iter()
        .map(|queue| *settings.queue.of(*queue).weight)
        .collect();
    let slots = queue::slots(*settings.worker.concurrency, &weights);
    let posts = queues.into_iter().zip(slots).map(|(name, slots)| {
        let own = Queue::new(redis, settings.queue_config_of(name)).map_err(|error| error.to_string())?;
        Ok((name, slots, own))
    });
    posts.collect()
}

/// Moves the event log from Redis into the store, until `stop`.
fn drain(
    settings: &Settings,
    queue: &Queue,
    name: &str,
    store: &Arc<Store>,
    clock: &Clock,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (queue, name, store, clock) = (queue.clone(), name.to_owned(), store.clone(), clock.clone());
    let (log, keep_audit, livemode, stop) = (
        settings.event_log.clone(),
        *settings.database.keep_audit,
        settings.stripe.livemode(),
        stop.clone(),
    );
    tokio::spawn(async move {
        watched::keep_running("the event log's way into the store", &stop, || {
            let drain = Drain {
                consumer: LogConsumer::new(&queue, name.clone(), Duration::from_secs(5)),
                store: store.clone(),
                clock: clock.clone(),
                livemode,
                batch: *log.drain_batch,
                interval: *log.drain_interval,
                keep_body: *log.keep_body,
                keep_events: *log.keep,
                keep_audit,
            };
            drain.run(stop.clone())
        })
        .await;
    })
}

/// Opens the store and checks its tables, waiting for the database. `None`: shutdown.
async fn open_store(settings: &Settings, shutdown: &Shutdown) -> Result<Option<Arc<Store>>, String> {
    let url: SecretString = settings.database.url_or_default();
    let store = store::open(&url, &settings.store_options())
        .await
        .map_err(|error| format!("DATABASE_URL: {error}"))?;
    tokio::select! {
        done = store::make_tables_when_it_answers(store.as_ref(), settings.database.migrate_on_start) => match done {
            Ok(()) => Ok(Some(store)),
            Err(error) => Err(format!("DATABASE_URL: {error}")),
        },
        () = shutdown.asked() => Ok(None),
    }
}

/// Unique among all workers ever: two with one name would take each other's jobs for their own.
fn worker_name() -> String {
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    format!("{host}-{}-{}", std::process::id(), ulid::Ulid::generate())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_help_of_every_command_is_as_it_was_reviewed() {
        support::help::check(super::Arguments::command());
    }
}
