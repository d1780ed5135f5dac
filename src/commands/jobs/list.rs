//! `surepass jobs list`

use std::process::ExitCode;

use serde_json::json;
use surepass::queue::JobState;
use surepass::queue::inspector::{Inspector, JobSummary, PageOptions, QueueStatus};

use super::act::no_job;
use super::arguments::ListArguments;
use crate::Failure;
use crate::commands::terminal::{columns, cut, print_json, relative, safe, span};

/// A line is cut at so many columns where stdout is no terminal.
const COLUMNS: usize = 100;
/// Where a job's id begins.
const INDENT: usize = 23;

pub(super) async fn run(inspector: &Inspector, arguments: ListArguments) -> Result<ExitCode, Failure> {
    let options = PageOptions {
        limit: usize::from(arguments.limit),
        cursor: arguments.cursor.clone(),
        order: arguments.order(),
        ..PageOptions::default()
    };
    let unknown_tenant = arguments.filter.unknown_tenant.clone();
    let filter = arguments.filter.with(arguments.state.map(JobState::from));
    let page = inspector.list(&filter, &options).await?;
    let queues = inspector.queues().await?;
    if arguments.json {
        let document = json!({
            "jobs": page.jobs, "next": page.next, "scanned": page.scanned, "queues": queues,
        });
        print_json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    for queue in &queues {
        println!("{}", summary(queue));
    }
    println!();
    let room = columns().unwrap_or(COLUMNS).saturating_sub(INDENT);
    for job in &page.jobs {
        let [first, second] = lines(job, page.now);
        println!("{first}");
        if !second.is_empty() {
            println!("{:INDENT$}{}", "", cut(&second, room));
        }
    }
    match (&page.next, page.jobs.is_empty()) {
        (None, true) => return Ok(no_job(unknown_tenant.as_deref())),
        (None, false) => {
            let is_cut = page.jobs.len() == options.limit;
            if is_cut && page.jobs.last().is_some_and(|job| job.state == JobState::Done) {
                println!("\nThere may be more done jobs: raise --limit (up to 1000).");
            }
        }
        (Some(next), empty) => {
            let so_far = if empty {
                "No match so far"
            } else {
                "There may be more"
            };
            println!(
                "\n{so_far} ({} jobs scanned). Next page: the same filters with\n--cursor {next}",
                page.scanned
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(queue: &QueueStatus) -> String {
    let mut line = format!(
        "{}: {} waiting, {} scheduled, {} running, {} dead, {} done",
        safe(&queue.name),
        queue.waiting,
        queue.scheduled,
        queue.running,
        queue.dead,
        queue.done
    );
    if let Some(since) = queue.oldest_waiting {
        let waited = span(queue.now.saturating_sub(since));
        line = format!("{line}; oldest waiting for {waited}");
    }
    if queue.paused {
        line.push_str("; PAUSED");
    }
    line
}

/// A job's state, time and id, and the details for the line below.
fn lines(job: &JobSummary, now: u64) -> [String; 2] {
    let when = [job.due, job.ended, job.claimed, job.enqueued];
    let when = when.into_iter().flatten().next();
    let when = when.map_or_else(String::new, |ms| relative(ms, now));
    let first = format!("{:<10} {:<11} {}", job.state.as_str(), when, safe(&job.id));
    let mut rest = Vec::new();
    rest.extend(job.tenant.as_deref().map(safe));
    rest.extend(match job.attempts {
        None | Some(0) => None,
        Some(1) => Some("1 attempt".to_owned()),
        Some(many) => Some(format!("{many} attempts")),
    });
    rest.extend(job.worker.as_deref().map(|worker| format!("on {}", safe(worker))));
    match (&job.reason, &job.code) {
        (Some(reason), Some(code)) if reason == code => rest.push(safe(reason)),
        (reason, code) => rest.extend([reason, code].into_iter().flatten().map(|word| safe(word))),
    }
    let mut second = rest.join(" · ");
    if let Some(error) = &job.error {
        // It begins with the id, which the line above shows.
        let subject = job.id.split_once(':').map_or("", |(_, subject)| subject);
        let rest = error
            .strip_prefix(subject)
            .and_then(|rest| rest.strip_prefix(": "));
        second.push_str(": ");
        second.push_str(&safe(rest.unwrap_or(error)));
    }
    [first, second]
}
