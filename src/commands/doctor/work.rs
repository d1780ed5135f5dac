//! Who works, and what lies there.

use chrono::{DateTime, TimeDelta, Utc};
use surepass::lookback::cron::{self, ScheduleStatus};
use surepass::lookback::{accounts, endpoint_check};
use surepass::queue::inspector::{Inspector, QueueStatus, WorkerStatus};
use surepass::store::{LookbackRun, Watermark};

use super::Patient;
use super::report::Report;

/// A tick that is later than this has nobody who fires it.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// A detector that has not come so far is behind: two nights.
const BEHIND: TimeDelta = TimeDelta::hours(48);

pub(super) async fn check(patient: &mut Patient, report: &mut Report) {
    let (Some(purchases), Some(lookbacks)) = (patient.purchases.clone(), patient.lookbacks.clone()) else {
        report.warn("workers", "not known, without Redis", "mend its connection above");
        return;
    };
    let inspector = Inspector::new(vec![purchases.clone(), lookbacks.clone()]);
    match inspector.workers().await {
        Ok(all) => patient.workers = Some(workers(&all, report)),
        Err(error) => report.wrong("workers", error.to_string(), "run this again"),
    }
    match inspector.queues().await {
        Ok(all) => all.iter().for_each(|queue| queue_of(queue, report)),
        Err(error) => report.wrong("queues", error.to_string(), "run this again"),
    }
    if patient.settings.stripe.secret_key.is_none() {
        return;
    }
    match cron::status(&lookbacks, &patient.settings.lookback, patient.now).await {
        Ok(all) => all.iter().for_each(|one| schedule(patient, one, report)),
        Err(error) => report.wrong("schedules", error.to_string(), "run this again"),
    }
    if let Ok(Some(last)) = endpoint_check::last_report(&lookbacks).await {
        let found = match last.findings.len() {
            0 => "nothing wrong".to_owned(),
            found => format!("{found} to look at"),
        };
        report.good("last audit", format!("{}: {found}", patient.ago(last.at)));
    }
    if let Some(store) = &patient.store {
        match store.lookback().failed_account_syncs(patient.now - BEHIND).await {
            Ok(all) => all
                .iter()
                .filter(|one| accounts(&patient.tenants).contains(&one.account))
                .for_each(|one| refused(patient, one, report)),
            Err(error) => report.wrong("lookback", error.to_string(), "run this again"),
        }
        match store.lookback().watermarks().await {
            Ok(none) if none.is_empty() => report.good("proven", "nothing yet: no lookback has ended"),
            Ok(all) => all
                .iter()
                .filter(|one| is_looked_at(patient, one))
                .for_each(|one| mark(patient, one, report)),
            Err(error) => report.wrong("proven", error.to_string(), "run this again"),
        }
    }
}

/// Answers how many are alive.
fn workers(all: &[WorkerStatus], report: &mut Report) -> usize {
    let (dead, alive): (Vec<&WorkerStatus>, Vec<_>) = all.iter().partition(|worker| worker.dead);
    if alive.is_empty() {
        report.wrong(
            "workers",
            "none is alive: purchases wait",
            "start `surepass-worker`, or `surepass up`",
        );
        return 0;
    }
    let slots: usize = alive.iter().map(|worker| worker.concurrency).sum();
    let many = if alive.len() == 1 { "" } else { "s" };
    let message = format!("{} worker{many} alive, {slots} jobs at a time", alive.len());
    if dead.is_empty() {
        report.good("workers", message);
    } else {
        report.warn(
            "workers",
            format!("{message}; {} died within the hour", dead.len()),
            "`surepass workers list` says which; their jobs run elsewhere",
        );
    }
    let own = env!("CARGO_PKG_VERSION");
    if let Some(other) = alive.iter().find(|worker| worker.version != own) {
        report.warn(
            "versions",
            format!("a worker is of version {}, this program of {own}", other.version),
            "bring all to one version",
        );
    }
    alive.len()
}

/// How long purchases wait, and which of them are dead, is the verdict's.
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
            format!("`surepass jobs resume {}`", queue.name),
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
                "`surepass jobs list --queue {} --state dead` says why; `surepass jobs retry` runs them again",
                queue.name
            ),
        );
    }
}

fn schedule(patient: &Patient, one: &ScheduleStatus, report: &mut Report) {
    let mend = "start a `surepass-worker` without --no-cron, and with STRIPE_SECRET_KEY; one that runs says why it is late";
    let Some(last) = one.last else {
        report.wrong(one.name, "no worker has fired it yet", mend);
        return;
    };
    // The slot is when it was due: a worker that starts catches up the last one that none has enqueued.
    let last = format!("last slot {}, enqueued", written(last));
    if let Some(due) = one.overdue.filter(|due| patient.now - *due > LATE) {
        report.wrong(
            one.name,
            format!(
                "{last}; no worker has enqueued the one since, of {}",
                written(due)
            ),
            mend,
        );
        return;
    }
    let next = one.next.map(|next| format!("; next slot {}", patient.ago(next)));
    report.good(one.name, format!("{last}{}", next.unwrap_or_default()));
}

fn refused(patient: &Patient, run: &LookbackRun, report: &mut Report) {
    let account = run.account.as_deref().map(|account| format!(" of {account}"));
    let account = account.unwrap_or_default();
    let why = run.error.as_deref().unwrap_or("it does not say why");
    report.wrong(
        "lookback",
        format!("the last one{account} failed {}: {why}", patient.ago(run.updated_at)),
        "where Stripe refuses the key, put in another; an account that has left is connected again, or taken out of its tenant",
    );
}

/// An account that no tenant names any more stays where it was, and so does what was proven with a key of the other mode.
fn is_looked_at(patient: &Patient, mark: &Watermark) -> bool {
    let accounts = accounts(&patient.tenants);
    let is_test = patient.settings.stripe.livemode() == Some(false);
    accounts.contains(&mark.account) && mark.is_test == is_test
}

fn mark(patient: &Patient, mark: &Watermark, report: &mut Report) {
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
        patient.ago(mark.to)
    );
    let lookback = &patient.settings.lookback;
    if mark.is_ahead_of(patient.now) {
        report.wrong(
            "proven",
            format!("{message}: a clock that was wrong has said so"),
            "set the clocks of the workers' machines; the next lookback then corrects it",
        );
    } else if patient.now - mark.to > BEHIND {
        report.warn(
            "proven",
            message,
            "see why the lookback does not get further: `surepass jobs list --queue sync`",
        );
    } else if what == "purchases"
        && lookback.nightly.is_some()
        && mark.from > patient.now - lookback.nightly_window
    {
        report.warn(
            "proven",
            format!("{message}; not yet what was before"),
            "the next nightly lookback goes over it; `surepass sync --all` does now",
        );
    } else {
        report.good("proven", message);
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
