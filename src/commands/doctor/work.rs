//! Workers, queues, schedules and the lookback.

use chrono::{DateTime, TimeDelta, Utc};
use surepass::lookback::cron::{self, ScheduleStatus};
use surepass::lookback::{accounts, endpoint_check};
use surepass::queue::inspector::{Inspector, QueueStatus, WorkerStatus};
use surepass::store::{LookbackRun, Watermark};

use super::Context;
use super::report::Report;

/// A tick that is later than this has no worker.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// A detector is behind if its watermark is older than two nights.
const BEHIND: TimeDelta = TimeDelta::hours(48);

pub(super) async fn check(context: &mut Context, report: &mut Report) {
    let (Some(purchases), Some(lookbacks)) = (context.purchases.clone(), context.lookbacks.clone()) else {
        report.warn(
            "workers",
            "not known: Redis cannot be reached",
            "fix Redis' connection above",
        );
        return;
    };
    let inspector = Inspector::new(vec![purchases.clone(), lookbacks.clone()]);
    match inspector.workers().await {
        Ok(all) => context.workers = Some(workers(&all, report)),
        Err(error) => report.wrong("workers", error.to_string(), "run this again"),
    }
    match inspector.queues().await {
        Ok(all) => all.iter().for_each(|queue| queue_of(queue, report)),
        Err(error) => report.wrong("queues", error.to_string(), "run this again"),
    }
    if context.settings.stripe.secret_key.is_none() {
        return;
    }
    match cron::status(&lookbacks, &context.settings.lookback, context.now).await {
        Ok(all) => all.iter().for_each(|one| schedule(context, one, report)),
        Err(error) => report.wrong("schedules", error.to_string(), "run this again"),
    }
    if let Ok(Some(last)) = endpoint_check::last_report(&lookbacks).await {
        let found = match last.findings.len() {
            0 => "no findings".to_owned(),
            1 => "1 finding".to_owned(),
            found => format!("{found} findings"),
        };
        report.good("last check", format!("{}: {found}", context.ago(last.at)));
    }
    if let Some(store) = &context.store {
        match store.lookback().failed_account_syncs(context.now - BEHIND).await {
            Ok(all) => all
                .iter()
                .filter(|one| accounts(&context.tenants).contains(&one.account))
                .for_each(|one| refused(context, one, report)),
            Err(error) => report.wrong("lookback", error.to_string(), "run this again"),
        }
        match store.lookback().watermarks().await {
            Ok(none) if none.is_empty() => report.good("proven", "nothing yet: no lookback has finished"),
            Ok(all) => all
                .iter()
                .filter(|one| is_looked_at(context, one))
                .for_each(|one| mark(context, one, report)),
            Err(error) => report.wrong("proven", error.to_string(), "run this again"),
        }
    }
}

/// Returns how many are alive.
fn workers(all: &[WorkerStatus], report: &mut Report) -> usize {
    let (dead, alive): (Vec<&WorkerStatus>, Vec<_>) = all.iter().partition(|worker| worker.dead);
    if alive.is_empty() {
        report.wrong(
            "workers",
            "none is running: purchases are waiting",
            "start `surepass-worker`, or `surepass up`",
        );
        return 0;
    }
    let slots: usize = alive.iter().map(|worker| worker.concurrency).sum();
    let many = if alive.len() == 1 { "" } else { "s" };
    let message = format!("{} worker{many} alive, up to {slots} jobs at a time", alive.len());
    if dead.is_empty() {
        report.good("workers", message);
    } else {
        report.warn(
            "workers",
            format!("{message}; {} died within the last hour", dead.len()),
            "`surepass workers list` shows them; their jobs run on other workers",
        );
    }
    let own = env!("CARGO_PKG_VERSION");
    if let Some(other) = alive.iter().find(|worker| worker.version != own) {
        report.warn(
            "versions",
            format!("a worker has version {}, this program {own}", other.version),
            "use one version everywhere",
        );
    }
    alive.len()
}

/// How long purchases wait, and which of them are dead, is part of the verdict.
fn queue_of(queue: &QueueStatus, report: &mut Report) {
    let name = match queue.name.as_str() {
        "fulfil" => "purchases",
        "sync" => "lookbacks",
        _ => "queue",
    };
    let QueueStatus {
        waiting,
        scheduled,
        running,
        ..
    } = queue;
    let message = format!("{waiting} waiting, {scheduled} scheduled, {running} running");
    if queue.paused {
        report.warn(
            name,
            format!("{message}; the queue is paused"),
            format!("run `surepass jobs resume {}`", queue.name),
        );
    } else {
        report.good(name, message);
    }
    if queue.dead > 0 {
        let letters = if queue.dead == 1 { "letter" } else { "letters" };
        report.warn(
            "dead letters",
            format!("{} dead {letters} in {}", queue.dead, queue.name),
            format!(
                "`surepass jobs list --queue {} --state dead` shows why; `surepass jobs retry ID` runs one again",
                queue.name
            ),
        );
    }
}

fn schedule(context: &Context, one: &ScheduleStatus, report: &mut Report) {
    let fix = "start a `surepass-worker` with STRIPE_SECRET_KEY and without --no-cron; the log of a running one says why it is late";
    let Some(last) = one.last else {
        report.wrong(one.name, "no worker has enqueued it yet", fix);
        return;
    };
    // The slot is when it was due: a worker that starts catches up on the last slot that was missed.
    let last = format!("last slot {}, enqueued", written(last));
    if let Some(due) = one.overdue.filter(|due| context.now - *due > LATE) {
        report.wrong(
            one.name,
            format!("{last}; the next one, of {}, is overdue", written(due)),
            fix,
        );
        return;
    }
    let next = one.next.map(|next| format!("; next slot {}", context.ago(next)));
    report.good(one.name, format!("{last}{}", next.unwrap_or_default()));
}

fn refused(context: &Context, run: &LookbackRun, report: &mut Report) {
    let account = run.account.as_deref().map(|account| format!(" of {account}"));
    let account = account.unwrap_or_default();
    let why = run.error.as_deref().unwrap_or("for an unknown reason");
    report.wrong(
        "lookback",
        format!("the last one{account} failed {}: {why}", context.ago(run.updated_at)),
        "if Stripe rejects the key, set another one; if the account was disconnected, connect it again or remove it from its tenant",
    );
}

/// Watermarks of accounts that no tenant has any more, and of the other mode, are left out: they no longer move.
fn is_looked_at(context: &Context, mark: &Watermark) -> bool {
    let accounts = accounts(&context.tenants);
    let is_test = context.settings.stripe.livemode() == Some(false);
    accounts.contains(&mark.account) && mark.is_test == is_test
}

fn mark(context: &Context, mark: &Watermark, report: &mut Report) {
    let account = mark.account.as_deref().map(|account| format!(" of {account}"));
    let account = account.unwrap_or_default();
    let what = match mark.detector.as_str() {
        "events" => "deliveries",
        _ => "purchases",
    };
    let message = format!(
        "{what}{account} complete from {} to {} ({})",
        written(mark.from),
        written(mark.to),
        context.ago(mark.to)
    );
    let lookback = &context.settings.lookback;
    if mark.is_ahead_of(context.now) {
        report.wrong(
            "proven",
            format!("{message}: set by a wrong clock"),
            "synchronise the clocks of the workers' machines (NTP); the next lookback then corrects it",
        );
    } else if context.now - mark.to > BEHIND {
        report.warn(
            "proven",
            message,
            "run `surepass jobs list --queue sync` to see why the lookback does not progress",
        );
    } else if what == "purchases"
        && lookback.nightly.is_some()
        && mark.from > context.now - *lookback.nightly_window
    {
        report.warn(
            "proven",
            format!("{message}; older purchases are not covered yet"),
            "the next nightly lookback covers them, or run `surepass sync --all` now",
        );
    } else {
        report.good("proven", message);
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
