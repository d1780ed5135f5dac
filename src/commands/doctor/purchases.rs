//! What the product promises: everybody who paid has a pass, and nobody waits long for it.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use surepass::config::QueueName;
use surepass::lookback::endpoint_check;
use surepass::verdict::{Facts, PAID_WITHOUT_PASS, UNKNOWN, Verdict, WAITING_TOO_LONG};

use super::Patient;
use super::report::Report;

/// How many of the newest events are looked at for one that was accepted.
const NEWEST: u32 = 20;
/// The refusals of so long are counted.
const LATELY: TimeDelta = TimeDelta::minutes(10);

/// What the intake refused in the last 10 minutes.
pub(super) struct Refused {
    by_reason: BTreeMap<String, u64>,
    /// Meanwhile it accepted others.
    accepts: bool,
}

/// Reads what was refused; `None` where Redis does not tell.
pub(super) async fn refused(patient: &Patient) -> Option<Refused> {
    let queue = patient.purchases.as_ref()?;
    let by_reason = queue.refusals(patient.now).await.ok()?;
    let mut accepts = false;
    if let Some(store) = &patient.store {
        let newest = store.events(NEWEST).await.unwrap_or_default();
        let lately = newest
            .iter()
            .filter(|event| event.received_at > patient.now - LATELY);
        accepts = lately
            .into_iter()
            .any(|event| event.id != endpoint_check::PING_EVENT_ID);
    }
    Some(Refused { by_reason, accepts })
}

pub(super) async fn check(patient: &Patient, refused: Option<Refused>, report: &mut Report) {
    let queue = patient
        .purchases
        .clone()
        .or_else(|| patient.queue(QueueName::Fulfil));
    let Some(queue) = queue else {
        report.wrong(
            "passes",
            "not known: there is no way to Redis",
            "see Redis below: its line says why",
        );
        return;
    };
    let facts = Facts {
        workers: patient.workers,
        store: patient.store_refuses.clone(),
        ..Facts::gather(&queue, patient.store.as_deref()).await
    };
    let verdict = Verdict::of(&facts);
    for problem in &verdict.problems {
        report.wrong(
            match problem.code {
                WAITING_TOO_LONG => "waiting",
                _ => "passes",
            },
            problem.message.as_str(),
            problem.next.as_str(),
        );
    }
    let is_told = |code: &str| verdict.problems.iter().any(|problem| problem.code == code);
    if is_told(UNKNOWN) {
        return;
    }
    if !is_told(PAID_WITHOUT_PASS) {
        report.good(
            "passes",
            "no paid purchase is without its pass, as far as we know",
        );
    }
    if !is_told(WAITING_TOO_LONG) {
        report.good("waiting", "nobody has waited for over 60 s");
    }
    if !verdict.causes.is_empty() {
        let causes = verdict.causes.iter();
        let causes: Vec<_> = causes.map(|(code, count)| format!("{code} ({count})")).collect();
        report.warn(
            "retries",
            format!("purchases that are tried again failed with {}", causes.join(", ")),
            "`surepass jobs list --state scheduled` shows each; they run again by themselves",
        );
    }
    if let Some(refused) = refused {
        tell(&refused, report);
    }
}

/// Anybody may send us what has no signature; only Stripe sends what fails for a wrong secret, or a wrong clock.
fn tell(refused: &Refused, report: &mut Report) {
    let name = "refused";
    let of = |words: &[&str]| -> Vec<(&str, u64)> {
        let all = refused.by_reason.iter();
        all.filter(|(reason, _)| words.iter().any(|word| reason.starts_with(word)))
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect()
    };
    let mut serious = of(&[
        "invalid_signature",
        "stale_timestamp",
        "malformed_event",
        "unknown_tenant",
    ]);
    if serious.is_empty() {
        let others: u64 = refused.by_reason.values().sum();
        report.good(
            name,
            match others {
                0 => "no webhook in the last 10 minutes".to_owned(),
                _ => format!("no webhook in the last 10 minutes; {others} requests without a signature"),
            },
        );
        return;
    }
    // What to do is said of the most frequent reason.
    serious.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let count: u64 = serious.iter().map(|(_, count)| count).sum();
    let reasons: Vec<_> = serious
        .iter()
        .map(|(reason, count)| format!("{reason} ({count})"))
        .collect();
    let webhooks = if count == 1 {
        "webhook was"
    } else {
        "webhooks were"
    };
    let message = format!("{count} {webhooks} refused in the last 10 minutes");
    let reasons = reasons.join(", ");
    let next = match serious[0].0.split(' ').next() {
        Some("stale_timestamp") => "set this machine's clock by NTP",
        Some("malformed_event") => "see the server's log for what it is that was sent",
        Some("unknown_tenant") => {
            "correct the endpoint's address at Stripe (Dashboard, Developers, Webhooks), or import the tenant"
        }
        _ => {
            "copy the endpoint's signing secret (Dashboard, Developers, Webhooks) into STRIPE_WEBHOOK_SECRET, or the \
             tenant's webhookSecrets, and restart `surepass serve`"
        }
    };
    if refused.accepts {
        report.warn(name, format!("{message}, and others accepted: {reasons}"), next);
    } else {
        report.wrong(name, format!("{message}, and none accepted: {reasons}"), next);
    }
}
