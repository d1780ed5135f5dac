//! The promise: every paid purchase has its pass, and nobody waits long for it.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use surepass::config::QueueName;
use surepass::verdict::{Facts, PAID_WITHOUT_PASS, UNKNOWN, Verdict, WAITING_TOO_LONG};

use super::report::Report;
use super::{Context, redis};

/// Rejected webhooks are counted over this time.
const LATELY: TimeDelta = TimeDelta::minutes(10);

/// The webhooks that were rejected in the last 10 minutes.
pub(super) struct Rejected {
    by_reason: BTreeMap<String, u64>,
    /// Others were accepted in that time.
    accepts: bool,
}

/// Reads what was rejected; `None` while Redis is away.
pub(super) async fn rejected(context: &Context) -> Option<Rejected> {
    let queue = context.purchases.as_ref()?;
    let by_reason = queue.refusals(context.now).await.ok()?;
    let mut accepts = false;
    if let Some(store) = &context.store {
        let newest = store.events().list(1).await.unwrap_or_default();
        accepts = newest
            .iter()
            .any(|event| event.received_at > context.now - LATELY);
    }
    Some(Rejected { by_reason, accepts })
}

pub(super) async fn check(context: &Context, rejected: Option<Rejected>, report: &mut Report) {
    let queue = context
        .purchases
        .clone()
        .or_else(|| context.queue(QueueName::Fulfil));
    let Some(queue) = queue else {
        let error = context
            .redis_unusable
            .as_deref()
            .unwrap_or("Redis cannot be reached");
        report.wrong("passes", format!("not known: {error}"), redis::fix_for(error));
        return;
    };
    let facts = Facts {
        workers: context.workers,
        store: context.store_refuses.clone(),
        ..Facts::gather(&queue, context.store.as_deref()).await
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
    let has = |code: &str| verdict.problems.iter().any(|problem| problem.code == code);
    if has(UNKNOWN) {
        return;
    }
    if !has(PAID_WITHOUT_PASS) {
        report.good("passes", "every known paid purchase has its pass");
    }
    if !has(WAITING_TOO_LONG) {
        report.good("waiting", "nobody has waited longer than 60 s");
    }
    if !verdict.causes.is_empty() {
        let causes = verdict.causes.iter();
        let causes: Vec<_> = causes.map(|(code, count)| format!("{code} ({count})")).collect();
        report.warn(
            "retries",
            format!("purchases are being retried after {}", causes.join(", ")),
            "nothing: they run again by themselves; `surepass jobs list --state scheduled` shows them",
        );
    }
    if let Some(rejected) = rejected {
        report_rejected(&rejected, report);
    }
}

/// Reasons for which only Stripe's requests are rejected (anybody can send one without a signature), each with its cure.
const REJECTIONS: [(&str, &str); 4] = [
    (
        "invalid_signature",
        "copy the endpoint's signing secret (Stripe Dashboard → Developers → Webhooks) into STRIPE_WEBHOOK_SECRET, or into \
         the tenant's webhookSecrets, and restart `surepass serve`",
    ),
    ("stale_timestamp", "synchronise this machine's clock (NTP)"),
    ("malformed_event", "see the server's log for what was sent"),
    (
        "unknown_tenant",
        "correct the endpoint's URL (Stripe Dashboard → Developers → Webhooks), or import the tenant",
    ),
];

fn report_rejected(rejected: &Rejected, report: &mut Report) {
    let name = "refused";
    // A tenant's slug may follow the reason.
    let cure_of = |reason: &str| {
        let (code, _) = reason.split_once(' ').unwrap_or((reason, ""));
        REJECTIONS
            .iter()
            .find(|(known, _)| *known == code)
            .map(|(_, cure)| *cure)
    };
    let mut serious: Vec<_> = rejected
        .by_reason
        .iter()
        .filter_map(|(reason, count)| Some((reason, *count, cure_of(reason)?)))
        .collect();
    if serious.is_empty() {
        let others: u64 = rejected.by_reason.values().sum();
        report.good(
            name,
            match others {
                0 => "no webhook in the last 10 minutes".to_owned(),
                _ => format!("no webhook in the last 10 minutes; {others} requests had no signature"),
            },
        );
        return;
    }
    serious.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let count: u64 = serious.iter().map(|(_, count, _)| count).sum();
    let reasons: Vec<_> = serious
        .iter()
        .map(|(reason, count, _)| format!("{reason} ({count})"))
        .collect();
    let mut cures: Vec<_> = serious.iter().map(|(.., cure)| *cure).collect();
    // Several tenants may have the same one.
    cures.dedup();
    let webhooks = if count == 1 {
        "webhook was"
    } else {
        "webhooks were"
    };
    let message = format!("{count} {webhooks} rejected in the last 10 minutes");
    let (reasons, next) = (reasons.join(", "), cures.join("; and "));
    if rejected.accepts {
        report.warn(name, format!("{message}, others accepted: {reasons}"), next);
    } else {
        report.wrong(name, format!("{message}, none accepted: {reasons}"), next);
    }
}
