//! `surepass jobs show`

use std::process::ExitCode;

use serde::Serialize;
use surepass::config::Settings;
use surepass::fulfil::{is_session_id, session_of};
use surepass::queue::JobState;
use surepass::queue::inspector::{Attempt, Inspector, JobDetails};
use surepass::store::{Resolution, UnmatchedPayment, UnmatchedState};

use super::arguments::ShowArguments;
use super::job_ids;
use crate::Failure;
use crate::commands::open_for_reading;
use crate::commands::terminal::{absolute, print_json, relative, safe, span};
use crate::commands::unmatched::ended;

/// A job, and the unmatched payment of its session.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    life: &'a JobDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<&'a Case>,
}

#[derive(Serialize)]
pub(super) struct Case {
    id: String,
    reference: String,
    reason: String,
    state: UnmatchedState,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
}

impl From<UnmatchedPayment> for Case {
    fn from(case: UnmatchedPayment) -> Self {
        Self {
            id: case.id,
            reference: case.reference,
            reason: case.reason,
            state: case.state,
            resolution: case.resolution,
        }
    }
}

impl Case {
    fn line(&self) -> String {
        let state = self.resolution.map_or("open", ended);
        let Self {
            id,
            reference,
            reason,
            ..
        } = self;
        safe(&format!("{reference}, {state} ({reason}, {id})"))
    }
}

pub(super) async fn run(
    settings: &Settings,
    inspector: &Inspector,
    arguments: &ShowArguments,
) -> Result<ExitCode, Failure> {
    let ids = job_ids(inspector, &arguments.id).await?;
    let mut lives = Vec::new();
    for id in &ids {
        lives.extend(inspector.job(id, arguments.personal).await?);
    }
    let id = ids.first().unwrap_or(&arguments.id);
    let case = match case_of(settings, id).await {
        Ok(case) => case,
        Err(error) => {
            if !lives.is_empty() {
                let error = safe(&error.to_string());
                eprintln!("surepass: its unmatched payment could not be read: {error}");
            }
            None
        }
    };
    let case = case.as_ref();
    let shown = |life| Shown { life, case };
    match lives.as_slice() {
        [] => return Err(no_such_job(id, case).into()),
        [life] if arguments.json => print_json(&shown(life))?,
        several if arguments.json => print_json(&several.iter().map(shown).collect::<Vec<_>>())?,
        lives => {
            for (n, life) in lives.iter().enumerate() {
                if n > 0 {
                    println!();
                }
                print_life(&shown(life), arguments.personal)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The unmatched payment of a job's session: the open one, else the newest.
async fn case_of(settings: &Settings, job: &str) -> Result<Option<Case>, Failure> {
    let Some(session) = session_of(job).filter(|session| is_session_id(session)) else {
        return Ok(None);
    };
    let store = open_for_reading(settings).await?;
    let cases = store.unmatched().unmatched_of(&[session]).await?;
    let case = cases
        .into_iter()
        .max_by_key(|case| (case.is_open(), case.opened_at));
    Ok(case.map(Case::from))
}

fn print_life(shown: &Shown<'_>, personal: bool) -> Result<(), Failure> {
    let life = shown.life;
    println!("{}", safe(&life.job.id));
    for (name, value) in facts(life) {
        println!("  {name:<10} {value}");
    }
    if let Some(case) = shown.case {
        println!("  {:<10} {}", "unmatched", case.line());
        if case.state == UnmatchedState::Open {
            let reference = safe(&case.reference);
            println!(
                "  {:<10} surepass unmatched assign {reference} --pass P --why '…'",
                "next"
            );
            println!("  {:<10} or surepass unmatched close {reference} --why '…'", "");
        }
    }
    if !life.failed_attempts.is_empty() {
        println!("\nFailed attempts (the last {})", 20);
        for attempt in &life.failed_attempts {
            print_attempt(attempt, life.now);
        }
    }
    if let Some(payload) = &life.payload {
        let hint = if personal {
            ""
        } else {
            " (names and emails are masked; --personal shows them)"
        };
        println!("\nPayload{hint}");
        let text = serde_json::to_string_pretty(payload)?;
        for line in text.lines() {
            println!("  {}", safe(line));
        }
    }
    Ok(())
}

/// That there is no such job, and what to do next.
pub(super) fn no_such_job(id: &str, case: Option<&Case>) -> String {
    let session = session_of(id).unwrap_or("cs_…");
    let case = case.map(|case| format!(". Its unmatched payment is {}", case.line()));
    format!(
        "there is no job `{}`: it was never enqueued, or is done and no longer kept. Next: surepass subscriptions \
         list --session {}{}",
        safe(id),
        safe(session),
        case.unwrap_or_default()
    )
}

fn facts(life: &JobDetails) -> Vec<(&'static str, String)> {
    let job = &life.job;
    let state = job.state.as_str();
    let since = |at: Option<u64>| at.map(|ms| absolute(ms, life.now)).unwrap_or_default();
    let mut facts = vec![match job.state {
        JobState::Waiting => ("state", "waiting for a worker".to_owned()),
        JobState::Scheduled => ("state", format!("scheduled: it runs {}", since(job.due))),
        JobState::Running => ("state", format!("running since {}", since(job.claimed))),
        JobState::Dead | JobState::Done => ("state", format!("{state} since {}", since(job.ended))),
    }];
    if let Some(reason) = &job.reason {
        let hope = match life.transient {
            Some(true) => "temporary: retry it once the cause is fixed",
            _ => "permanent: fix the cause, then retry",
        };
        facts.push(("reason", format!("{} ({hope})", safe(reason))));
    }
    let mut add = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
    add("worker", job.worker.as_deref().map(safe));
    add("queue", Some(safe(&job.queue)));
    let version = job.version.unwrap_or(1);
    add(
        "kind",
        job.kind
            .as_deref()
            .map(|kind| format!("{}, version {version}", safe(kind))),
    );
    add("tenant", job.tenant.as_deref().map(safe));
    add("trace", life.trace.as_deref().map(safe));
    add("enqueued", job.enqueued.map(|ms| absolute(ms, life.now)));
    let crashes = match life.crashes {
        None | Some(0) => String::new(),
        Some(count) => format!(", of which {count} ended with a crash of the worker"),
    };
    add("attempts", job.attempts.map(|count| format!("{count}{crashes}")));
    facts
}

fn print_attempt(attempt: &Attempt, now: u64) {
    let took = attempt
        .claimed
        .map(|claimed| format!(", after {}", span(attempt.ended.saturating_sub(claimed))))
        .unwrap_or_default();
    println!(
        "  {:>3}  {}  {}{took}",
        attempt.attempt,
        safe(&attempt.code),
        absolute(attempt.ended, now)
    );
    if let Some(claimed) = attempt.claimed {
        println!("       claimed {}", relative(claimed, now));
    }
    println!("       on {}", safe(&attempt.worker));
    for line in wrapped(&safe(&attempt.error)) {
        println!("       {line}");
    }
}

/// In lines that fit beside the indent, broken at spaces where there are any.
fn wrapped(text: &str) -> Vec<String> {
    const WIDTH: usize = 92;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        for (n, part) in letters.chunks(WIDTH).enumerate() {
            let part: String = part.iter().collect();
            let last = lines.last().map_or(0, |line| line.chars().count());
            if n > 0 || last + 1 + part.chars().count() > WIDTH {
                lines.push(part);
            } else if let Some(line) = lines.last_mut() {
                if last > 0 {
                    line.push(' ');
                }
                line.push_str(&part);
            }
        }
    }
    lines
}
