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

/// How often the run is polled.
const PAUSE: Duration = Duration::from_millis(300);
/// How long to wait for a worker: the first heartbeat of a new one comes after a third of its lease.
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
    /// Only in this tenant's Stripe account (id or slug) [default: every tenant's]
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// How many days to look back, by when the session was created
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    days: u32,
    /// Do not wait for the result
    #[arg(long)]
    no_wait: bool,
    /// The reason, for the audit log
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Whom {
    /// Purchases made with this email. Make sure that it belongs to the customer who asks
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Purchases of this user: the `userId` in the session's metadata
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Purchases of this Stripe customer
    #[arg(long, value_name = "cus_…")]
    customer: Option<String>,
    /// This Checkout Session only, however old it is
    #[arg(long, value_name = "cs_…")]
    session: Option<String>,
    /// All purchases
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
                Err(format!("`{}` is not an id like {prefix}…", safe(id)))
            }
        };
        Ok(Some(
            match (&self.email, &self.user, &self.customer, &self.session) {
                (Some(email), ..) if email.contains('@') => Customer::Email(email.clone()),
                (Some(email), ..) => return Err(format!("`{}` is not an email address", safe(email))),
                (_, Some(id), ..) if id.trim().is_empty() => return Err("--user is empty".to_owned()),
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

impl Whom {
    /// That there are no purchases, and what to try next.
    fn none_found(&self, days: u32) -> String {
        let (whom, other) = match (&self.session, &self.email, &self.user, &self.customer) {
            (Some(session), ..) => {
                let session = safe(session);
                return format!(
                    "No paid purchase found: {session} is not paid yet, or belongs to another Stripe account. If it is a bank \
                     transfer, nothing is to do: its pass is created as soon as the money arrives."
                );
            }
            (_, Some(email), ..) => (format!(" for {}", safe(email)), " or --customer cus_…"),
            (_, _, Some(user), _) => (format!(" for {}", safe(user)), " or --email EMAIL"),
            (.., Some(customer)) => (format!(" for {}", safe(customer)), " or --email EMAIL"),
            _ => (String::new(), ""),
        };
        let unit = if days == 1 { "day" } else { "days" };
        format!("No paid purchases found{whom} in the last {days} {unit}. Try --days 365{other}.")
    }
}

pub(crate) fn run(settings: &Settings, arguments: &Arguments) -> Result<ExitCode, Failure> {
    let customer = match arguments.whom.customer() {
        Ok(customer) => customer,
        Err(message) => return Ok(misuse(&message)),
    };
    if settings.stripe.secret_key.is_none() {
        return Err("STRIPE_SECRET_KEY is not set, so Stripe cannot be asked. Set it here and for the workers. A restricted key with read access is enough (rk_live_…, rk_test_…)".into());
    }
    block_on(async {
        let store = open_store(settings).await?;
        let tenants = store.catalog().known().await?;
        let tenant = match arguments
            .tenant
            .as_deref()
            .map(|typed| named(&tenants, typed))
            .transpose()
        {
            Ok(tenant) => tenant,
            Err(message) => return Ok(misuse(&message)),
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
        let result = match &asked {
            Ok(runs) => runs.iter().map(RunId::as_str).collect::<Vec<_>>().join(", "),
            Err(error) => format!("failed: {error}"),
        };
        let now = lookback.clock.now();
        if let Err(error) = store.audit().end(&audit, now, &result).await {
            eprintln!("surepass: done, but the audit log could not be completed: {error}");
        }
        let runs = asked?;
        if arguments.no_wait {
            return enqueued(&runs, arguments.json);
        }
        let outcome = wait(&lookback, &inspector, &runs).await?;
        if arguments.json {
            print_json(&outcome)?;
        } else {
            outcome.print(&arguments.whom.none_found(arguments.days));
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

/// Written before the action. An action that cannot be logged is not carried out.
async fn begin(
    store: &Store,
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
    store
        .audit()
        .begin(&record)
        .await
        .map_err(|error| format!("nothing was done: the audit log could not be written: {error}"))?;
    Ok(id)
}

/// Only one sync of a customer runs at a time. One that somebody else requested may be too narrow: the customer's own page
/// requests less than an operator does.
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
                eprintln!("surepass: the same sync is already running: waiting for it");
            }
            return Ok(vec![asked.run]);
        }
        if arguments.no_wait {
            let run = asked.run;
            return Err(format!(
                "a narrower sync of this customer is running ({run}), and only one runs at a time. Run the same command again when it is done"
            )
            .into());
        }
        eprintln!("surepass: a narrower sync of this customer is running: this one starts after it");
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

/// Waits until all runs are over and shows their progress. Fails where no worker takes them.
async fn wait(lookback: &Lookback, inspector: &Inspector, runs: &[RunId]) -> Result<Outcome, Failure> {
    let shown = std::io::stderr().is_terminal();
    let (began, mut has_worker) = (Instant::now(), false);
    let (mut paused_since, mut moved, mut last) = (None, began, String::new());
    let outcome = loop {
        let mut reports = Vec::new();
        for run in runs {
            lookback.update(run).await?;
            reports.extend(lookback.report(run).await?);
        }
        let outcome = Outcome::of(reports);
        if shown {
            eprint!(
                "\r{}, {} pages read from Stripe   ",
                outcome.line(),
                outcome.pages
            );
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
                return Err(format!("the queue `{name}` is paused. The job is kept. Next: `surepass jobs resume {name}`, then run the same command again").into());
            }
        } else {
            paused_since = None;
        }
        if moved.elapsed() > STANDSTILL {
            return Err(format!("no progress for {} min. The jobs are kept. Next: `surepass jobs list` and `surepass doctor` show why; then run the same command again", STANDSTILL.as_secs() / 60).into());
        }
        if !has_worker {
            let workers = inspector.workers().await?;
            has_worker = workers
                .iter()
                .any(|one| !one.dead && one.queues.contains(QueueName::Sync.as_str()));
            if !has_worker && began.elapsed() > WITHOUT_WORKER {
                return Err("no worker serves the queue `sync`. The job is kept. Next: start `surepass-worker` with STRIPE_SECRET_KEY set, then run the same command again".into());
            }
        }
        tokio::time::sleep(PAUSE).await;
    };
    if shown {
        eprintln!();
    }
    Ok(outcome)
}
