//! The ledger as a person reads it, within 80 columns.

use chrono::{DateTime, Utc};
use surepass::lookback::reconciliation::{AccountBalance, Balance, Finding, Findings};

use crate::commands::table;
use crate::commands::terminal::{relative, safe, span, wrapped};

const COLUMNS: usize = 80;
/// How many findings of a kind are shown; `--json` has the others.
const SHOWN: usize = 20;

pub(super) fn print(balance: &Balance, days: u16) {
    let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    let unit = if days == 1 { "day" } else { "days" };
    println!(
        "{days} {unit}: sessions created {} to {} UTC\n",
        minute(balance.from),
        minute(balance.to)
    );
    println!("{}\n", sums(balance));
    println!("{}", layers(balance).trim_fmt());
    if let Some(worst) = &balance.delay.worst {
        let since = if balance.payments_read {
            "payment"
        } else {
            "the session's creation"
        };
        println!(
            "\nFrom {since} to subscription. The worst:\n  {}",
            safe(&worst.session)
        );
    }
    if balance.accounts.len() > 1 {
        println!("\n{}", accounts(&balance.accounts).trim_fmt());
    }
    for (findings, name, what) in kinds(balance) {
        print_findings(findings, name, what, balance.to);
    }
    if !balance.payments_read {
        println!(
            "\nRefunds and disputes were not looked at: the key may not read payment intents and charges."
        );
    }
    if balance.ok {
        println!("\n{}", verdict(balance));
    }
}

/// What the ledger comes to, in a sentence.
pub(super) fn verdict(balance: &Balance) -> String {
    let mut sentences = Vec::new();
    let unmatched = match balance.unmatched.count {
        0 => String::new(),
        count => format!(", {count} unmatched"),
    };
    let found = format!(
        "{} missing, {} doubled{unmatched}",
        balance.missing.count, balance.doubled.count
    );
    if balance.complete {
        sentences.push(format!("{found}."));
    } else {
        sentences.push(format!(
            "{found} as far as could be read, and that was not all: this proves nothing."
        ));
    }
    for account in &balance.accounts {
        let Some(failed) = &account.failed else { continue };
        let back_to = account.back_to.map_or_else(String::new, |at| {
            format!(" back to {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        sentences.push(format!(
            "Of {} {} sessions{back_to} were read. {}.",
            name(account),
            account.sessions,
            safe(failed)
        ));
    }
    if let Some(failed) = &balance.failed {
        sentences.push(format!("{}.", safe(failed)));
    }
    if balance.unreadable > 0 {
        sentences.push(format!(
            "{} of Stripe's sessions have no id that can be read.",
            balance.unreadable
        ));
    }
    sentences.join(" ")
}

fn sums(balance: &Balance) -> String {
    let rows = [
        ("paid", balance.paid, "complete, paid, and for a pass"),
        ("  fulfilled", balance.fulfilled, "have their subscription"),
        (
            "    active",
            balance.active,
            "of these: switched on, and not over",
        ),
        ("  in flight", balance.in_flight.count, "paid just now"),
        (
            "  refunded",
            balance.refunded_unfulfilled.count,
            "in full, without a subscription",
        ),
        (
            "  closed",
            balance.closed_unfulfilled.count,
            "by a person, without a subscription",
        ),
        ("  missing", balance.missing.count, "paid, and no subscription"),
        (
            "unmatched",
            balance.unmatched.count,
            "paid, and a person must look, also older ones",
        ),
        (
            "doubled",
            balance.doubled.count,
            "one session or payment, more than one subscription",
        ),
    ];
    let rows = rows.into_iter();
    // What hardly a shop has is left out where there is none.
    let shown = rows.filter(|(name, count, _)| *count > 0 || !["  closed", "unmatched"].contains(name));
    let rows = shown.map(|(name, count, what)| format!("{name:<14}{count:>9}   {what}"));
    rows.collect::<Vec<_>>().join("\n")
}

fn layers(balance: &Balance) -> comfy_table::Table {
    let all: u64 = balance.layers.iter().map(|layer| layer.count).sum();
    let time = |ms: Option<u64>| ms.map_or_else(String::new, span);
    let mut rows: Vec<_> = balance
        .layers
        .iter()
        .map(|layer| {
            [
                layer.created_via.as_str().to_owned(),
                layer.count.to_string(),
                share(layer.count, all),
                time(layer.p50_ms),
                time(layer.p99_ms),
                time(layer.worst_ms),
            ]
        })
        .collect();
    let delay = &balance.delay;
    rows.push([
        "all".to_owned(),
        all.to_string(),
        String::new(),
        time(delay.p50_ms),
        time(delay.p99_ms),
        time(delay.worst.as_ref().map(|worst| worst.ms)),
    ]);
    let head = ["CAME BY", "COUNT", "SHARE", "P50", "P99", "WORST"];
    right_aligned(table(head, rows.into_iter()))
}

#[expect(clippy::cast_precision_loss, reason = "a share to be shown")]
fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return String::new();
    }
    format!("{:.1} %", part as f64 * 100.0 / all as f64)
}

fn accounts(accounts: &[AccountBalance]) -> comfy_table::Table {
    let rows = accounts.iter().map(|account| {
        let missing = match &account.failed {
            Some(_) => format!("{} so far", account.missing),
            None => account.missing.to_string(),
        };
        [
            name(account),
            account.sessions.to_string(),
            account.paid.to_string(),
            missing,
        ]
    });
    right_aligned(table(["ACCOUNT", "SESSIONS", "PAID", "MISSING"], rows))
}

fn name(account: &AccountBalance) -> String {
    account
        .account
        .as_deref()
        .map_or_else(|| "the key's own account".to_owned(), safe)
}

/// All columns but the first, which begins at the margin.
fn right_aligned(mut table: comfy_table::Table) -> comfy_table::Table {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    table
}

fn kinds(balance: &Balance) -> [(&Findings, &'static str, &'static str); 9] {
    [
        (&balance.missing, "MISSING", "paid, and no subscription"),
        (
            &balance.unmatched,
            "UNMATCHED",
            "paid, and a person must look (`surepass unmatched list`)",
        ),
        (&balance.doubled, "DOUBLED", "more than one subscription"),
        (
            &balance.wrong,
            "WRONG",
            "the subscription is not what was paid for",
        ),
        (
            &balance.other_owner,
            "OWNER",
            "another user's, or a guest's, by today's rules",
        ),
        (
            &balance.refunded_active,
            "REFUNDED",
            "all money given back, and active",
        ),
        (
            &balance.disputed_active,
            "DISPUTED",
            "the bank asked for the money, and active",
        ),
        (
            &balance.unpaid_active,
            "UNPAID",
            "active, and the session is no paid purchase",
        ),
        (
            &balance.unknown_session,
            "UNKNOWN",
            "a pass, and Stripe does not know its session in this account. Nobody lacks one: it was sold on another account, \
             with another key, or by an event that Stripe never sent, such as a test's or the demo's own",
        ),
    ]
}

fn print_findings(findings: &Findings, name: &str, what: &str, now: DateTime<Utc>) {
    if findings.count == 0 {
        return;
    }
    println!();
    for line in wrapped(&format!("{name} {}: {what}", findings.count), COLUMNS) {
        println!("{line}");
    }
    for finding in findings.items.iter().take(SHOWN) {
        println!("  {}", safe(&finding.session));
        for line in details(finding, now) {
            for part in wrapped(&line, COLUMNS - 4) {
                println!("    {part}");
            }
        }
        // In one piece, to be pasted.
        if let Some(fix) = &finding.fix {
            println!("    {}", safe(fix));
        }
    }
    let rest = findings.count.saturating_sub(SHOWN as u64);
    if rest > 0 {
        println!("  … and {rest} more: --json tells them");
    }
}

fn details(finding: &Finding, now: DateTime<Utc>) -> Vec<String> {
    let milliseconds = |at: DateTime<Utc>| u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let facts = [
        finding.tenant.as_deref().map(safe),
        finding.amount.map(|amount| amount.to_string()),
        finding
            .paid_at
            .map(|at| format!("paid {}", relative(milliseconds(at), milliseconds(now)))),
        finding.payment_intent.as_deref().map(safe),
        finding.account.as_deref().map(safe),
    ];
    let mut lines = vec![facts.into_iter().flatten().collect::<Vec<_>>().join(" · ")];
    if finding.subscriptions.len() > 1 {
        lines.extend(finding.subscriptions.iter().map(|id| safe(id)));
    }
    lines.extend(finding.differences.iter().map(|one| {
        format!(
            "{}: Stripe {}, store {}",
            one.field,
            safe(&one.stripe),
            safe(&one.store)
        )
    }));
    lines.extend(finding.why.as_deref().map(|why| told(why, &finding.session)));
    lines.extend(finding.job.as_deref().map(|job| format!("job {}", safe(job))));
    lines
}

/// Without the session, which stands above.
fn told(why: &str, session: &str) -> String {
    safe(&why.replace(&format!(": {session}: "), ": "))
}
