//! `surepass unmatched list|assign|close`

mod assign;
mod list;

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use surepass::clock::Clock;
use surepass::config::{QueueName, Settings};
use surepass::queue::{Queue, Redis, RedisOptions};
use surepass::store::{Store, UnmatchedPayment};
use surepass::unmatched::{Assignment, CaseWorker};

pub(super) use list::ended;

use super::jobs::who;
use super::owner::NO_REASON;
use super::terminal::{print_json, safe};
use super::{block_on, misuse, open_store};
use crate::Failure;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List payments that have no pass, oldest first
    ///
    /// Each payment is paid, but Surepass cannot tell which pass was bought, or must not give it. `assign` gives a pass. A
    /// full refund in Stripe closes the payment. `close` closes it by hand. Exit status: 0, even if there are some.
    List {
        /// Show closed ones, too
        #[arg(long)]
        all: bool,
        /// Show the buyers' emails
        #[arg(long)]
        personal: bool,
        /// Print a JSON array with everything known about each
        #[arg(long)]
        json: bool,
    },
    /// Give the buyer a pass
    ///
    /// Enqueues the purchase with this pass; the usual job creates the subscription.
    ///
    /// Example: surepass unmatched assign K3E8-7RDZ --pass pass-10 --why 'ticket 4711'
    Assign {
        /// The payment's reference (K3E8-7RDZ), id or session (cs_…)
        id: String,
        /// The pass (id or name)
        #[arg(long)]
        pass: String,
        /// The user's id [default: the session's user, or else the guest of its email]
        #[arg(long)]
        user: Option<String>,
        /// The tenant (id or slug), if the payment does not name one
        #[arg(long)]
        tenant: Option<String>,
        /// The reason, for the audit log, such as a ticket number
        #[arg(long)]
        why: String,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Close a payment that needs no pass, such as one refunded outside Stripe
    Close {
        /// The payment's reference (K3E8-7RDZ), id or session (cs_…)
        id: String,
        /// The reason, for the audit log, such as a ticket number
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
            Command::List { all, personal, json } => list::list(settings, all, personal, json).await,
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
                assign::assign(settings, &id, wanted, &why, json).await
            }
            Command::Close { id, why, json } => close(settings, &id, &why, json).await,
        }
    })
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
            "{}: closed. If {} is fulfilled later, the buyer still gets the pass.",
            case.reference,
            safe(&case.session)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A case, and what a person needs to act on it.
struct Opened {
    store: Arc<Store>,
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
async fn one(store: &Store, id: &str, why: &str) -> Result<Result<UnmatchedPayment, ExitCode>, Failure> {
    if why.trim().is_empty() {
        return Ok(Err(misuse(NO_REASON)));
    }
    let mut found = store.unmatched().find_unmatched(id).await?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.iter().map(|case| case.reference.as_str()).collect();
        let message = format!(
            "{} matches several payments: use one of {}",
            safe(id),
            ids.join(", ")
        );
        return Ok(Err(misuse(&message)));
    }
    Ok(found.pop().ok_or_else(|| {
        eprintln!(
            "surepass: there is no unmatched payment {}. Next: `surepass unmatched list` shows the open ones",
            safe(id)
        );
        ExitCode::FAILURE
    }))
}

fn queue(settings: &Settings) -> Result<Queue, Failure> {
    let redis = Redis::open(&settings.redis.url_or_default(), RedisOptions::default())?;
    Ok(Queue::new(&redis, settings.queue_config_of(QueueName::Fulfil))?)
}
