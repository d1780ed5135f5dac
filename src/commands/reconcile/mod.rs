//! `surepass reconcile`

mod page;

use std::collections::HashSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::fulfil::{job_id, session_of};
use surepass::lookback::reconciliation::{Balance, Options, Progress, reconcile};
use surepass::queue::JobState;
use surepass::queue::inspector::JobDetails;
use surepass::queue::{Queue, Redis, RedisOptions, TokenBucket};
use surepass::store::Store;
use surepass::stripe::api::{self, Client, Pace, Unpaced};
use surepass::verdict::LONGEST_WAIT;

use super::jobs::inspector;
use super::terminal::{print_json, safe};
use super::{block_on, misuse, open_for_reading, tenant};
use crate::Failure;

/// How long the command waits for Redis, which its verdict does not need.
const REDIS: Duration = Duration::from_secs(3);
/// Of how many missing purchases the job is looked up.
const MOST_JOBS: usize = 100;
/// How many of the newest dead letters are looked at.
const MOST_LETTERS: usize = 5_000;
/// Steps of the progress bar.
const STEPS: u64 = 1_000;

/// Compare the paid sessions in Stripe with the subscriptions in the store
///
/// Reads the Checkout Sessions of all accounts (the key's own and each tenant's `stripeAccount`) and their subscriptions.
/// It changes nothing, and relies on neither queue nor logs. Exit 0 only if nothing is missing, nothing is doubled, no
/// paid purchase waits for a person (`surepass unmatched list`), and everything could be read.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// How many days to look back, by when the session was created
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// Only purchases of this tenant (id or slug), in the account that it sells on
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Purchases paid less than so many minutes ago are in flight, not missing
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1440))]
    grace: u16,
    /// Print one JSON document, with the ids of all findings (up to 10,000 of a kind)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    block_on(async {
        let client = client(settings).await?;
        let store = open_for_reading(settings).await?;
        let tenant = match tenant::option(store.as_ref(), arguments.tenant.as_deref()).await? {
            Ok(tenant) => tenant.map(|tenant| tenant.slug),
            Err(message) => return Ok(misuse(&message)),
        };
        let now = Clock::system().now();
        let to = DateTime::<Utc>::from_timestamp(now.timestamp(), 0).unwrap_or(now);
        let options = Options {
            from: to - TimeDelta::days(arguments.days.into()),
            to,
            grace: Duration::from_mins(arguments.grace.into()),
            tenant,
            livemode: settings.stripe.livemode(),
            client_reference: settings.fulfil.client_reference_id,
            unmatched: settings.fulfil.unmatched,
        };
        let bar = bar()?;
        let drawn = reconcile(&client, store.as_ref(), options, |progress| show(&bar, progress)).await;
        bar.finish_and_clear();
        let mut balance = drawn?;
        look_up_jobs(settings, store.as_ref(), &mut balance).await;
        let dead = dead_sessions(settings).await;
        balance.dead_are_missing(|session| dead.contains(session));
        if arguments.json {
            print_json(&balance)?;
        } else {
            page::print(&balance, arguments.days);
        }
        if balance.ok {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("surepass: {}", page::verdict(&balance));
        Ok(ExitCode::FAILURE)
    })
}

/// Calls share one rate limit with all processes. While Redis is away they go one after the other, which is slow enough.
async fn client(settings: &Settings) -> Result<Client, Failure> {
    let options = settings.stripe_options().ok_or(
        "STRIPE_SECRET_KEY is not set, so Stripe cannot be asked. A restricted key with read access is enough (rk_live_…, \
         rk_test_…)",
    )?;
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())?;
    let bucket = TokenBucket::new(&redis, settings.stripe_rate_limit())?;
    let answer = tokio::time::timeout(REDIS, bucket.take(None)).await;
    let pace: Arc<dyn Pace> = if matches!(answer, Ok(Ok(_))) {
        Arc::new(bucket)
    } else {
        eprintln!(
            "surepass: Redis is not responding, so calls to Stripe are not counted together with those of other processes"
        );
        Arc::new(Unpaced)
    };
    Ok(Client::new(api::http()?, options, pace))
}

/// Drawn on a terminal only, on stderr.
fn bar() -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")?;
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
    Ok(bar.with_style(style.progress_chars("━╸─")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "from 0 to the number of steps"
)]
fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_position((progress.share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    let account = safe(progress.account.unwrap_or("the key's own account"));
    bar.set_message(format!("{account}: {} sessions", progress.sessions));
}

/// Adds the state of their jobs to the missing purchases: a hint for the operator, no part of the verdict. Left out while
/// Redis is away.
async fn look_up_jobs(settings: &Settings, store: &Store, balance: &mut Balance) {
    let Ok(inspector) = inspector(settings) else {
        return;
    };
    let late = balance.missing.items.iter_mut().take(MOST_JOBS);
    let late = late.chain(balance.in_flight.items.iter_mut().take(MOST_JOBS));
    let looking = async {
        let tenants = store.catalog().known().await.unwrap_or_default();
        for finding in late {
            let tenant = tenants
                .iter()
                .find(|one| finding.tenant.as_ref() == Some(&one.id));
            let own = tenant.map(|tenant| job_id(&finding.session, Some(&tenant.slug)));
            for id in [Some(job_id(&finding.session, None)), own].into_iter().flatten() {
                match inspector.job(&id, false).await {
                    Ok(Some(life)) => finding.job = Some(state(&life)),
                    Ok(None) => {}
                    Err(_) => return,
                }
            }
        }
    };
    let _ = tokio::time::timeout(REDIS, looking).await;
}

/// Sessions of the newest dead letters: a purchase that is dead does not arrive by itself, however recent. Empty while
/// Redis is away.
async fn dead_sessions(settings: &Settings) -> HashSet<String> {
    let queue = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())
        .and_then(|redis| Queue::new(&redis, settings.queue_config()));
    let Ok(queue) = queue else {
        return HashSet::new();
    };
    let letters = tokio::time::timeout(REDIS, queue.overdue(LONGEST_WAIT, MOST_LETTERS)).await;
    let letters = match letters {
        Ok(Ok(overdue)) => overdue.dead_letters,
        _ => Vec::new(),
    };
    letters
        .iter()
        .filter_map(|(job, _)| session_of(job).map(str::to_owned))
        .collect()
}

/// `waiting`, or `dead: unresolved_pass`.
fn state(life: &JobDetails) -> String {
    match (life.job.state, &life.job.reason) {
        (JobState::Dead, Some(reason)) => format!("dead: {reason}"),
        (state, _) => state.as_str().to_owned(),
    }
}
