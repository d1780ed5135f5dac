//! `surepass unmatched list|assign|close`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;
use surepass::clock::Clock;
use surepass::config::{QueueName, Settings};
use surepass::fulfil::job_id;
use surepass::guest;
use surepass::money::Money;
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::store::{Resolution, Store, UnmatchedFilter, UnmatchedPayment, UnmatchedState};
use surepass::unmatched::{Assignment, CaseWorker};

use super::jobs::who;
use super::owner::NO_USER_ID;
use super::terminal::{print_json, safe};
use super::{block_on, open_for_reading, open_store};
use crate::Failure;

/// Read from the store in one go.
const TOGETHER: u32 = 500;
/// How long `assign` waits for the pass.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List payments that have no pass, oldest first
    ///
    /// Each was paid, and Surepass cannot tell which pass was bought, or may not give it. `assign` gives a pass; a refund in
    /// Stripe closes it; `close` closes it by hand. Exit status: 0, also if there are some.
    List {
        /// Closed ones, too
        #[arg(long)]
        all: bool,
        /// Show who the buyers are
        #[arg(long)]
        personal: bool,
        /// Print a JSON array, with all that is known of each
        #[arg(long)]
        json: bool,
    },
    /// Give the pass that was bought
    ///
    /// The purchase is enqueued with this pass, and the ordinary job creates the subscription.
    /// Example: surepass unmatched assign K3E8-7RDZ --pass pass-10 --why 'ticket 4711'
    Assign {
        /// A reference (K3E8-7RDZ), the payment's id, or a session (cs_…)
        id: String,
        /// The pass' id or name
        #[arg(long)]
        pass: String,
        /// The user's id; without it the session's own user, else the guest of its email
        #[arg(long)]
        user: Option<String>,
        /// The tenant's slug or id, where it is not known
        #[arg(long)]
        tenant: Option<String>,
        /// For the audit log, such as the ticket's number
        #[arg(long)]
        why: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Close one that needs no pass, such as one that was refunded elsewhere
    Close {
        /// A reference (K3E8-7RDZ), the payment's id, or a session (cs_…)
        id: String,
        /// For the audit log, such as the ticket's number
        #[arg(long)]
        why: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: Command) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Command::List { all, personal, json } => list(settings, all, personal, json).await,
            Command::Assign {
                id,
                pass,
                user,
                tenant,
                why,
                json,
            } => {
                let wanted = Assignment {
                    pass: &pass,
                    user: user.as_deref(),
                    tenant: tenant.as_deref(),
                };
                assign(settings, &id, wanted, &why, json).await
            }
            Command::Close { id, why, json } => close(settings, &id, &why, json).await,
        }
    })
}

async fn list(settings: &Settings, all: bool, personal: bool, json: bool) -> Result<ExitCode, Failure> {
    let store = open_for_reading(settings).await?;
    let mut cases: Vec<UnmatchedPayment> = Vec::new();
    loop {
        let filter = UnmatchedFilter {
            state: (!all).then_some(UnmatchedState::Open),
            after: cases.last().map(|last| (last.opened_at, last.id.as_str())),
            ..UnmatchedFilter::default()
        };
        let page = store.unmatched().list_unmatched(&filter, TOGETHER).await?;
        let is_last = page.len() < TOGETHER as usize;
        cases.extend(page);
        if is_last {
            break;
        }
    }
    if !personal {
        for case in &mut cases {
            case.evidence.email = case.evidence.email.as_ref().map(|_| "(--personal)".to_owned());
            case.evidence.name = case.evidence.name.as_ref().map(|_| "(--personal)".to_owned());
        }
    }
    if json {
        print_json(&serde_json::to_value(&cases)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for case in &cases {
        show(case, personal);
    }
    let open = cases.iter().filter(|case| case.is_open());
    let (paid, informational): (Vec<_>, Vec<_>) = open.partition(|case| case.is_paid);
    if paid.is_empty() && informational.is_empty() {
        println!("No unmatched payments: every payment that we know of has its pass, or was closed.");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "{} paid without a pass, {} for information only. Next, for each of them:",
        paid.len(),
        informational.len()
    );
    println!("  surepass unmatched assign REFERENCE --pass PASS --why '…'   give the pass");
    println!("  refund it in Stripe                                         it closes by itself");
    println!("  surepass unmatched close REFERENCE --why '…'                nothing is owed");
    Ok(ExitCode::SUCCESS)
}

fn show(case: &UnmatchedPayment, personal: bool) {
    let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
    let evidence = &case.evidence;
    let currency = evidence.currency.as_deref().and_then(|code| code.parse().ok());
    let amount = match (evidence.amount, currency) {
        (Some(amount), Some(currency)) => Money { amount, currency }.to_string(),
        _ => "an unknown amount".to_owned(),
    };
    let paid = if case.is_paid {
        amount
    } else {
        "nothing paid".to_owned()
    };
    let tenant = case.tenant.as_deref().or(case.path_tenant.as_deref());
    let tenant = tenant.map(|name| format!(" at {name}")).unwrap_or_default();
    let ended = match case.resolution {
        None => String::new(),
        Some(Resolution::Subscription) => ", closed: it has its pass".to_owned(),
        Some(Resolution::Refund) => ", closed: refunded".to_owned(),
        Some(Resolution::Person) => ", closed by hand".to_owned(),
    };
    let line = |text: &str| println!("  {}", safe(text));
    println!(
        "{}  {}{ended}",
        safe(&case.reference),
        safe(&format!("{paid}{tenant}, {}", minute(case.opened_at)))
    );
    line(&format!("{}: {}", case.reason, case.detail));
    line(&format!("session {}", case.session));
    if personal && let Some(email) = &evidence.email {
        line(&format!("buyer {email}"));
    }
    for note in &case.history {
        let why = note
            .why
            .as_deref()
            .map(|why| format!(" ({why})"))
            .unwrap_or_default();
        line(&format!("{}  {}: {}{why}", minute(note.at), note.who, note.what));
    }
    println!();
}

async fn assign(
    settings: &Settings,
    id: &str,
    wanted: Assignment<'_>,
    why: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    if wanted.user.is_some_and(|user| !guest::is_assignable_user(user)) {
        eprintln!("surepass: {NO_USER_ID}, and no guest's (guest-…)");
        return Ok(ExitCode::from(2));
    }
    let opened = match open(settings, id, why).await? {
        Ok(opened) => opened,
        Err(status) => return Ok(status),
    };
    let case = &opened.case;
    let (tenant, pass) = opened.worker(why).assign(case, wanted).await?;
    let has_pass = fulfilled(opened.store.as_ref(), &opened.queue, case).await?;
    if json {
        print_json(
            &json!({ "reference": case.reference, "tenant": tenant, "pass": pass, "hasPass": has_pass }),
        )?;
    } else if has_pass {
        println!(
            "{}: its buyer has {} of {}.",
            case.reference,
            safe(&pass),
            safe(&tenant)
        );
    } else {
        println!(
            "{}: enqueued with {} of {}, and the pass is not there yet. Look: surepass jobs show {}",
            case.reference,
            safe(&pass),
            safe(&tenant),
            safe(&case.session)
        );
    }
    Ok(if has_pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Waits for the subscription, which closes the case; not longer than a person waits, and not for a job that died.
async fn fulfilled(store: &dyn Store, queue: &Queue, case: &UnmatchedPayment) -> Result<bool, Failure> {
    let job = job_id(&case.session, None);
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let cases = store.unmatched().unmatched_of(&[&case.session]).await?;
        let own = cases.iter().find(|one| one.id == case.id);
        if own.is_some_and(|one| one.resolution == Some(Resolution::Subscription)) {
            return Ok(true);
        }
        let is_dead = queue.death(&job).await?.is_some();
        if is_dead || tokio::time::Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

async fn close(settings: &Settings, id: &str, why: &str, json: bool) -> Result<ExitCode, Failure> {
    let opened = match open(settings, id, why).await? {
        Ok(opened) => opened,
        Err(status) => return Ok(status),
    };
    let case = &opened.case;
    opened.worker(why).close(case).await?;
    if json {
        print_json(&json!({ "reference": case.reference, "closed": true }))?;
    } else {
        println!(
            "{}: closed. A later fulfilment of {} is still possible.",
            case.reference,
            safe(&case.session)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A case, and what a person needs to act on it.
struct Opened {
    store: Arc<dyn Store>,
    queue: Queue,
    case: UnmatchedPayment,
    who: String,
}

impl Opened {
    fn worker<'a>(&'a self, why: &'a str) -> CaseWorker<'a> {
        CaseWorker {
            store: self.store.as_ref(),
            queue: &self.queue,
            clock: Clock::system(),
            who: &self.who,
            why,
        }
    }
}

/// Opens the case that is meant; `Err`: the exit status, after saying why there is none.
async fn open(settings: &Settings, id: &str, why: &str) -> Result<Result<Opened, ExitCode>, Failure> {
    let store = open_store(settings).await?;
    let case = match one(store.as_ref(), id, why).await? {
        Ok(case) => case,
        Err(status) => return Ok(Err(status)),
    };
    Ok(Ok(Opened {
        queue: queue(settings)?,
        who: who(),
        store,
        case,
    }))
}

/// The case that is meant; `Err`: the exit status, after saying why there is none.
async fn one(store: &dyn Store, id: &str, why: &str) -> Result<Result<UnmatchedPayment, ExitCode>, Failure> {
    if why.trim().is_empty() {
        eprintln!("surepass: --why is empty: say why, for the audit log, such as the ticket's number");
        return Ok(Err(ExitCode::from(2)));
    }
    let mut found = store.unmatched().find_unmatched(id).await?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|case| case.reference.as_str()).collect();
        eprintln!(
            "surepass: {} fits several: name one of {}",
            safe(id),
            ids.join(", ")
        );
        return Ok(Err(ExitCode::from(2)));
    }
    Ok(found.pop().ok_or_else(|| {
        eprintln!(
            "surepass: there is no unmatched payment {}: surepass unmatched list shows those that are open",
            safe(id)
        );
        ExitCode::FAILURE
    }))
}

fn queue(settings: &Settings) -> Result<Queue, Failure> {
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())?;
    Ok(Queue::new(&redis, settings.queue_config_of(QueueName::Fulfil))?)
}
