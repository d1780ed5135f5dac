//! The reconciliation as text, within 80 columns.

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
            "\nSlowest, from {since} to subscription:\n  {}",
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
        println!("\nRefunds and disputes were not checked: the key cannot read payment intents and charges.");
    }
    if balance.ok {
        println!("\n{}", verdict(balance));
    }
}

/// The result in a sentence.
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
            "{found} so far, but not everything could be read: this proves nothing."
        ));
    }
    for account in &balance.accounts {
        let Some(failed) = &account.failed else { continue };
        let back_to = account.back_to.map_or_else(String::new, |at| {
            format!(" back to {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        sentences.push(format!(
            "Only {} sessions of {}{back_to} were read. {}.",
            account.sessions,
            name(account),
            safe(failed)
        ));
    }
    if let Some(failed) = &balance.failed {
        sentences.push(format!("{}.", safe(failed)));
    }
    if balance.unreadable > 0 {
        sentences.push(format!("{} sessions have no readable id.", balance.unreadable));
    }
    sentences.join(" ")
}

fn sums(balance: &Balance) -> String {
    let rows = [
        ("paid", balance.paid, "complete, paid, and for a pass"),
        ("  fulfilled", balance.fulfilled, "have a subscription"),
        ("    active", balance.active, "of these, active and not expired"),
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
        ("  missing", balance.missing.count, "paid, without a subscription"),
        (
            "unmatched",
            balance.unmatched.count,
            "paid, and need a person; of any age",
        ),
        (
            "doubled",
            balance.doubled.count,
            "more than one subscription for a session or payment",
        ),
    ];
    let rows = rows.into_iter();
    // Rows that are rarely needed are left out while they are 0.
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
    let head = ["SOURCE", "COUNT", "SHARE", "P50", "P99", "MAX"];
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
        (&balance.missing, "MISSING", "paid, without a subscription"),
        (
            &balance.unmatched,
            "UNMATCHED",
            "paid, and need a person (`surepass unmatched list`)",
        ),
        (&balance.doubled, "DOUBLED", "more than one subscription"),
        (
            &balance.wrong,
            "WRONG",
            "the subscription differs from what was paid",
        ),
        (
            &balance.other_owner,
            "OWNER",
            "by today's rules it belongs to another user or guest",
        ),
        (
            &balance.refunded_active,
            "REFUNDED",
            "refunded in full, but active",
        ),
        (&balance.disputed_active, "DISPUTED", "disputed, but active"),
        (
            &balance.unpaid_active,
            "UNPAID",
            "active, but the session is not a paid purchase",
        ),
        (
            &balance.unknown_session,
            "UNKNOWN",
            "a pass whose session does not exist in this Stripe account. Nobody lacks a pass: it was sold on another account, \
             with another key, or by an event that Stripe never sent, such as a test's or the demo's",
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
        println!("  … and {rest} more: see --json");
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
    lines.extend(
        finding
            .why
            .as_deref()
            .map(|why| without_session(why, &finding.session)),
    );
    lines.extend(finding.job.as_deref().map(|job| format!("job {}", safe(job))));
    lines
}

/// Without the session, which the line above shows.
fn without_session(why: &str, session: &str) -> String {
    safe(&why.replace(&format!(": {session}: "), ": "))
}
