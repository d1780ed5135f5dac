//! `surepass sync`

mod outcome;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use surepass::clock::Clock;
use surepass::config::{QueueName, Settings};
use surepass::lookback::{AccountSyncRequest, Customer, Lookback, RunId, SyncRequest, accounts};
use surepass::queue::inspector::Inspector;
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::store::{AuditRecord, CreatedVia, KnownTenant, Store};
use tokio::time::Instant;

use super::jobs::{inspector, who};
use super::tenant::named;
use super::terminal::{print_json, safe};
use super::{block_on, misuse, open_store};
use crate::Failure;
use outcome::Outcome;

/// How often the run is asked after.
const PAUSE: Duration = Duration::from_millis(300);
/// How long to wait for a worker: one that has just started is heard of after a third of its lease.
const WITHOUT_WORKER: Duration = Duration::from_secs(20);
/// How long to wait for a queue that is paused.
const PAUSED: Duration = Duration::from_secs(10);
/// How long to wait where the number of pages and purchases does not change.
const STANDSTILL: Duration = Duration::from_mins(10);
/// A clock that is behind Stripe's must not leave the newest sessions out.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    whom: Whom,
    /// Only in the Stripe account of this tenant, by its id or slug [default: all, each in its own]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// How far to look back, by when the session was created
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Do not wait for the outcome
    #[arg(long)]
    no_wait: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// One JSON document
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Whoever has paid with this email: you answer for it that it is theirs
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// This user, by the id that checkout puts into the session
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// This Stripe customer
    #[arg(long, value_name = "cus_…")]
    customer: Option<String>,
    /// This Checkout Session alone, however old
    #[arg(long, value_name = "cs_…")]
    session: Option<String>,
    /// Everybody
    #[arg(long)]
    all: bool,
}

impl Whom {
    /// `None`: everybody.
    fn customer(&self) -> Result<Option<Customer>, String> {
        let begins = |id: &str, prefix: &str| {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            if id.starts_with(prefix) && id.len() <= 255 && id.bytes().all(is_safe) {
                Ok(id.to_owned())
            } else {
                Err(format!("`{}` is no id of the form {prefix}…", safe(id)))
            }
        };
        Ok(Some(
            match (&self.email, &self.user, &self.customer, &self.session) {
                (Some(email), ..) if email.contains('@') => Customer::Email(email.clone()),
                (Some(email), ..) => return Err(format!("`{}` is no email", safe(email))),
                (_, Some(id), ..) if id.trim().is_empty() => return Err("the user's id is empty".to_owned()),
                (_, Some(id), ..) => Customer::User {
                    id: id.clone(),
                    verified_email: None,
                },
                (_, _, Some(id), _) => Customer::StripeCustomer(begins(id, "cus_")?),
                (.., Some(id)) => Customer::Session(begins(id, "cs_")?),
                _ => return Ok(None),
            },
        ))
    }
}

pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let customer = match arguments.whom.customer() {
        Ok(customer) => customer,
        Err(words) => return Ok(misuse(&words)),
    };
    if settings.stripe.secret_key.is_none() {
        return Err("the lookback is off, for there is no key for Stripe's API: set STRIPE_SECRET_KEY (a restricted key that may read is enough), here and where the workers run".into());
    }
    block_on(async {
        let store = open_store(settings).await?;
        let tenants = store.known_tenants().await?;
        let tenant = match arguments
            .tenant
            .as_deref()
            .map(|typed| named(&tenants, typed))
            .transpose()
        {
            Ok(tenant) => tenant,
            Err(words) => return Ok(misuse(&words)),
        };
        let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())?;
        let queue = |name| Queue::new(&redis, settings.queue_config_of(name));
        let (fulfil, sync) = (queue(QueueName::Fulfil)?, queue(QueueName::Sync)?);
        let lookback = Lookback::new(settings, store.clone(), fulfil, sync, Clock::system());
        let inspector = inspector(settings)?;
        let audit = begin(store.as_ref(), &lookback.clock, arguments, customer.as_ref()).await?;
        let asked = match customer {
            Some(customer) => ask(&lookback, &inspector, arguments, tenant, customer).await,
            None => ask_all(&lookback, arguments, tenant, &tenants).await,
        };
        let told = match &asked {
            Ok(runs) => runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", "),
            Err(error) => format!("failed: {error}"),
        };
        let now = lookback.clock.now();
        if let Err(error) = store.end_audit(&audit, now, &told).await {
            eprintln!("surepass: it is done, but its end is not in the audit log: {error}");
        }
        let runs = asked?;
        if arguments.no_wait {
            return enqueued(&runs, arguments.json);
        }
        let outcome = wait(&lookback, &inspector, &runs).await?;
        if arguments.json {
            print_json(&outcome)?;
        } else {
            outcome.print();
        }
        Ok(if outcome.is_fine() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

fn enqueued(runs: &[RunId], json: bool) -> Result<ExitCode, Failure> {
    let runs: Vec<&str> = runs.iter().map(RunId::as_str).collect();
    if json {
        print_json(&json!({ "runs": runs, "done": false }))?;
    } else {
        println!("Enqueued: {}.", runs.join(", "));
    }
    Ok(ExitCode::SUCCESS)
}

/// Written before the act. What cannot be written down is not done.
async fn begin(
    store: &dyn Store,
    clock: &Clock,
    arguments: &Arguments,
    customer: Option<&Customer>,
) -> Result<String, Failure> {
    let customer = customer.map_or("all".to_owned(), Customer::key);
    let target = json!({ "customer": customer, "tenant": arguments.tenant, "days": arguments.days });
    let id = ulid::Ulid::generate().to_string();
    let record = AuditRecord {
        id: id.clone(),
        actor: who(),
        action: "sync".to_owned(),
        target: target.to_string(),
        reason: arguments.why.clone(),
        began_at: clock.now(),
        ended_at: None,
        outcome: None,
    };
    store.begin_audit(&record).await.map_err(|error| {
        format!("nothing was done, for it could not be written to the audit log: {error}")
    })?;
    Ok(id)
}

/// There is one look for a customer at a time. One that somebody else has asked for may be too small: the customer's own page
/// asks for less than an operator does.
async fn ask(
    lookback: &Lookback,
    inspector: &Inspector,
    arguments: &Arguments,
    tenant: Option<&KnownTenant>,
    customer: Customer,
) -> Result<Vec<RunId>, Failure> {
    let request = SyncRequest {
        tenant: tenant.map(|tenant| tenant.slug.clone()),
        customer,
        days: arguments.days,
        via: CreatedVia::Support,
        run: None,
    };
    loop {
        let asked = lookback.request_sync(&request, ulid::Ulid::generate()).await?;
        if !asked.narrower {
            if asked.joined {
                eprintln!("surepass: the same is under way already: waiting for that one");
            }
            return Ok(vec![asked.run]);
        }
        if arguments.no_wait {
            let run = asked.run;
            return Err(format!(
                "a smaller look for the same customer is under way ({run}), and there is one at a time: ask again when it is over"
            )
            .into());
        }
        eprintln!("surepass: a smaller look for the same customer is under way: this one begins after it");
        wait(lookback, inspector, &[asked.run]).await?;
    }
}

async fn ask_all(
    lookback: &Lookback,
    arguments: &Arguments,
    tenant: Option<&KnownTenant>,
    tenants: &[KnownTenant],
) -> Result<Vec<RunId>, Failure> {
    let accounts = match tenant {
        Some(tenant) => vec![tenant.stripe_account.clone()],
        None => accounts(tenants),
    };
    let to = lookback.clock.now() + AHEAD;
    let from = to - TimeDelta::days(arguments.days.into());
    let mut runs = Vec::new();
    for account in accounts {
        let mut request = AccountSyncRequest::new("support", account.as_deref(), from, to);
        request.via = CreatedVia::Support;
        request.run = Some(RunId::new(ulid::Ulid::generate()));
        runs.push(lookback.request_account_sync(&request).await?.run);
    }
    Ok(runs)
}

/// Waits until all runs are over, telling how far they are. Where nobody does them it says so instead.
async fn wait(lookback: &Lookback, inspector: &Inspector, runs: &[RunId]) -> Result<Outcome, Failure> {
    let shown = std::io::stderr().is_terminal();
    let (began, mut heard) = (Instant::now(), false);
    let (mut paused_since, mut moved, mut last) = (None, began, String::new());
    let outcome = loop {
        let mut reports = Vec::new();
        for run in runs {
            reports.extend(lookback.report(run).await?);
        }
        let outcome = Outcome::of(reports);
        if shown {
            eprint!("\r{}, {} pages of Stripe's   ", outcome.line(), outcome.pages);
        }
        if outcome.done {
            break outcome;
        }
        let now = (outcome.line(), outcome.pages);
        if format!("{now:?}") != last {
            (last, moved) = (format!("{now:?}"), Instant::now());
        }
        let queues = inspector.queues().await?;
        if let Some(paused) = queues.iter().find(|queue| queue.paused) {
            let name = &paused.name;
            if paused_since.is_none() {
                eprintln!(
                    "surepass: the queue `{name}` is paused: waiting for `surepass jobs resume {name}`"
                );
            }
            if paused_since.get_or_insert_with(Instant::now).elapsed() > PAUSED {
                return Err(format!("the queue `{name}` is paused, so this goes no further now: `surepass jobs resume {name}`. The job waits, and the same command finds it again").into());
            }
        } else {
            paused_since = None;
        }
        if moved.elapsed() > STANDSTILL {
            return Err(format!("nothing has moved for {} min: `surepass jobs list` and `surepass doctor` say why. The jobs wait, and the same command finds them again", STANDSTILL.as_secs() / 60).into());
        }
        if !heard {
            let workers = inspector.workers().await?;
            heard = workers
                .iter()
                .any(|one| !one.dead && one.queues.contains(QueueName::Sync.as_str()));
            if !heard && began.elapsed() > WITHOUT_WORKER {
                return Err("no worker works on the queue `sync`: start `surepass-worker` where STRIPE_SECRET_KEY is set. The job waits for it, and the same command will find it again".into());
            }
        }
        tokio::time::sleep(PAUSE).await;
    };
    if shown {
        eprintln!();
    }
    Ok(outcome)
}
