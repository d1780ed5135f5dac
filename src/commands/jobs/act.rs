//! `surepass jobs retry|discard|pause|resume`

use std::io::IsTerminal;
use std::process::ExitCode;

use serde_json::json;
use surepass::config::Settings;
use surepass::operator::Operator;
use surepass::queue::JobState;
use surepass::queue::inspector::{Act, Filter, Inspector, Outcome, Tally};
use surepass::store::Store;

use super::arguments::{ActArguments, Meant, QueueArguments};
use super::job_ids;
use super::show::no_such_job;
use crate::Failure;
use crate::commands::terminal::{confirm, print_json, safe};
use crate::commands::{misuse, open_store};

/// Beyond this, counting the jobs takes longer than it is worth.
const COUNTED: usize = 10_000;

/// Pauses or resumes a queue.
pub(super) async fn pause_or_resume(
    settings: &Settings,
    inspector: &Inspector,
    pause: bool,
    arguments: QueueArguments,
) -> Result<ExitCode, Failure> {
    let QueueArguments { queue, why, json } = arguments;
    let store = audited(settings).await?;
    let operator = operator(inspector, store.as_ref(), why);
    if pause {
        operator.pause(&queue).await?;
    } else {
        operator.resume(&queue).await?;
    }
    if json {
        print_json(&json!({ "queue": queue, "paused": pause }))?;
    } else {
        let queue = safe(&queue);
        if pause {
            println!("{queue}: paused. Running jobs finish; others wait for `surepass jobs resume {queue}`.");
        } else {
            println!("{queue}: resumed. Workers take its jobs again.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Retries or discards the named jobs, or all that match.
pub(super) async fn act(
    settings: &Settings,
    inspector: &Inspector,
    act: Act,
    meant: Meant,
) -> Result<ExitCode, Failure> {
    let (arguments, state) = match meant {
        Ok(meant) => meant,
        Err(message) => return Ok(misuse(message)),
    };
    if state.is_none() {
        let mut ids = Vec::new();
        for typed in &arguments.ids {
            ids.extend(dead_of(inspector, job_ids(inspector, typed).await?).await?);
        }
        let store = audited(settings).await?;
        let operator = operator(inspector, store.as_ref(), arguments.why.clone());
        let outcomes = operator.act(act, &ids).await?;
        return one_by_one(act, &ids, &outcomes, arguments.json);
    }
    many(settings, inspector, act, arguments, state).await
}

/// Of several jobs of one purchase the dead letters, if there are any: the others need no action.
async fn dead_of(inspector: &Inspector, ids: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut dead = Vec::new();
    if ids.len() > 1 {
        for id in &ids {
            let life = inspector.job(id, false).await?;
            dead.extend(
                life.filter(|life| life.job.state == JobState::Dead)
                    .map(|life| life.job.id),
            );
        }
    }
    Ok(if dead.is_empty() { ids } else { dead })
}

async fn many(
    settings: &Settings,
    inspector: &Inspector,
    act: Act,
    arguments: ActArguments,
    state: Option<JobState>,
) -> Result<ExitCode, Failure> {
    let ActArguments {
        filter,
        yes,
        why,
        json,
        ..
    } = arguments;
    let unknown_tenant = filter.unknown_tenant.clone();
    let filter: Filter = filter.with(state);
    let count = inspector.count(&filter, COUNTED).await?;
    if count > 0 && !yes {
        let more = if count >= COUNTED { " or more" } else { "" };
        let jobs = if count == 1 { "job" } else { "jobs" };
        let question = format!(
            "{} {count}{more} {} {jobs}?",
            verb(act),
            state.map_or("", JobState::as_str)
        );
        match confirm(&question)? {
            Some(true) => {}
            Some(false) => {
                eprintln!("Nothing was done.");
                return Ok(ExitCode::FAILURE);
            }
            None => {
                let matches = if count == 1 { "matches" } else { "match" };
                return Ok(misuse(&format!(
                    "{count}{more} {jobs} {matches}. Not a terminal: pass --yes to confirm"
                )));
            }
        }
    }
    let mut tally = Tally::default();
    if count > 0 {
        let store = audited(settings).await?;
        let operator = operator(inspector, store.as_ref(), why);
        let shown = std::io::stderr().is_terminal();
        let progress = |tally: Tally| {
            if shown {
                eprint!("\r{} so far", tally.done);
            }
        };
        let done = operator.act_on_all(act, &filter, progress).await;
        if shown {
            eprintln!();
        }
        tally = done?;
    }
    if json {
        print_json(&tally)?;
    } else if tally.matched == 0 {
        return Ok(no_job(unknown_tenant.as_deref()));
    } else {
        let jobs = if tally.done == 1 { "job" } else { "jobs" };
        print!("{} {} {jobs}", past(act), tally.done);
        match tally.matched - tally.done {
            0 => println!("."),
            moved => println!("; {moved} changed state in the meantime."),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reports that no job matches: wrong usage where there is no such tenant.
pub(super) fn no_job(unknown_tenant: Option<&str>) -> ExitCode {
    if let Some(message) = unknown_tenant {
        return misuse(&format!("no job matches, and {message}"));
    }
    println!("No job matches.");
    ExitCode::SUCCESS
}

fn one_by_one(act: Act, ids: &[String], outcomes: &[Outcome], json: bool) -> Result<ExitCode, Failure> {
    let mut refused = false;
    let mut document = Vec::new();
    for (id, outcome) in ids.iter().zip(outcomes) {
        let shown = safe(id);
        let (word, fine) = match outcome {
            Outcome::Retried => ("retried", true),
            Outcome::Discarded => ("discarded", true),
            // It will run anyway.
            Outcome::Left(JobState::Waiting) => ("waiting", true),
            Outcome::Left(state) => (state.as_str(), false),
            Outcome::Unknown => ("unknown", false),
        };
        refused |= !fine;
        document.push(json!({ "id": id, "outcome": word }));
        if fine && !json {
            println!("{shown}: {word}");
        }
        match outcome {
            Outcome::Left(JobState::Running) if act == Act::Retry => eprintln!(
                "surepass: {shown} is running, so there is nothing to retry. Next: `surepass jobs show {shown}`"
            ),
            Outcome::Left(state) if !fine => {
                eprintln!("surepass: {shown} is {}: nothing was done", state.as_str());
            }
            Outcome::Unknown => eprintln!("surepass: {}", no_such_job(id, None)),
            _ => {}
        }
    }
    if json {
        print_json(&json!({ "jobs": document }))?;
    }
    Ok(if refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The store, for its audit log: an action that cannot be logged is not carried out.
async fn audited(settings: &Settings) -> Result<std::sync::Arc<Store>, Failure> {
    open_store(settings)
        .await
        .map_err(|error| format!("nothing was done: the audit log could not be written. {error}").into())
}

fn operator<'a>(inspector: &'a Inspector, store: &'a Store, why: Option<String>) -> Operator<'a> {
    Operator {
        inspector,
        store,
        who: who(),
        why,
    }
}

/// `user@host`; of one who has become another by `sudo`, both.
pub(in crate::commands) fn who() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .ok()
        .flatten()
        .map_or_else(|| nix::unistd::Uid::current().to_string(), |user| user.name);
    let host = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    match std::env::var("SUDO_USER") {
        Ok(before) if before != user => format!("{before} as {user}@{host}"),
        _ => format!("{user}@{host}"),
    }
}

fn verb(act: Act) -> &'static str {
    match act {
        Act::Retry => "Retry",
        Act::Discard => "Discard",
    }
}

fn past(act: Act) -> &'static str {
    match act {
        Act::Retry => "Retried",
        Act::Discard => "Discarded",
    }
}
