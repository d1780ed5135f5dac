//! `surepass unmatched list`

use std::collections::HashMap;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use surepass::config::Settings;
use surepass::money::Money;
use surepass::store::{Resolution, UnmatchedFilter, UnmatchedPayment, UnmatchedState};

use crate::Failure;
use crate::commands::open_for_reading;
use crate::commands::terminal::{JsonArray, columns, safe, wrapped};

/// Read from the store in one go.
const TOGETHER: u32 = 500;

pub(super) async fn list(
    settings: &Settings,
    all: bool,
    personal: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let store = open_for_reading(settings).await?;
    let tenants = store.catalog().known().await?;
    let page = Page {
        slugs: tenants
            .into_iter()
            .map(|tenant| (tenant.id, tenant.slug))
            .collect(),
        personal,
        columns: columns().unwrap_or(usize::MAX),
    };
    let mut array = None;
    let mut counts = Counts::default();
    let mut last: Option<(DateTime<Utc>, String)> = None;
    loop {
        let filter = UnmatchedFilter {
            state: (!all).then_some(UnmatchedState::Open),
            after: last.as_ref().map(|(at, id)| (*at, id.as_str())),
            ..UnmatchedFilter::default()
        };
        let mut cases = store.unmatched().list_unmatched(&filter, TOGETHER).await?;
        last = cases.last().map(|last| (last.opened_at, last.id.clone()));
        if !personal {
            cases.iter_mut().for_each(hide);
        }
        if json {
            array.get_or_insert_with(JsonArray::begin).add(&cases)?;
        }
        for case in &cases {
            counts.add(case);
            if !json {
                page.show(case);
            }
        }
        if cases.len() < TOGETHER as usize {
            break;
        }
    }
    match array {
        Some(array) => array.end(),
        None => counts.print(all),
    }
    Ok(ExitCode::SUCCESS)
}

/// The buyer is shown only with `--personal`.
fn hide(case: &mut UnmatchedPayment) {
    let evidence = &mut case.evidence;
    for known in [&mut evidence.email, &mut evidence.name].into_iter().flatten() {
        "(--personal)".clone_into(known);
    }
}

#[derive(Default)]
struct Counts {
    paid: u64,
    informational: u64,
    closed: u64,
}

impl Counts {
    fn add(&mut self, case: &UnmatchedPayment) {
        *match (case.is_open(), case.is_paid) {
            (false, _) => &mut self.closed,
            (true, true) => &mut self.paid,
            (true, false) => &mut self.informational,
        } += 1;
    }

    fn print(&self, all: bool) {
        if self.paid + self.informational == 0 {
            match (all, self.closed) {
                (false, _) => {
                    println!("No unmatched payments: every known payment has its pass or was closed.");
                }
                (true, 0) => println!("No unmatched payments, open or closed."),
                (true, closed) => println!("No open unmatched payments; {closed} closed."),
            }
            return;
        }
        println!(
            "{} paid without a pass, {} for information only. Next, for each one of:",
            self.paid, self.informational
        );
        println!("  surepass unmatched assign REFERENCE --pass PASS --why '…'  gives the pass");
        println!("  refund it in Stripe                                        closes it");
        println!("  surepass unmatched close REFERENCE --why '…'               no pass is due");
    }
}

/// How cases are shown.
struct Page {
    /// By the tenants' ids.
    slugs: HashMap<String, String>,
    personal: bool,
    columns: usize,
}

impl Page {
    fn show(&self, case: &UnmatchedPayment) {
        let minute = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M UTC").to_string();
        let paid = match paid(case) {
            _ if !case.is_paid => "nothing paid".to_owned(),
            Some(money) => money.to_string(),
            None => "an unknown amount".to_owned(),
        };
        let tenant = case.tenant.as_ref().map(|id| self.slugs.get(id).unwrap_or(id));
        let tenant = tenant.or(case.path_tenant.as_ref());
        let tenant = tenant.map(|name| format!(" at {name}")).unwrap_or_default();
        let ended = case
            .resolution
            .map_or_else(String::new, |how| format!(", {}", ended(how)));
        println!(
            "{}  {}{ended}",
            safe(&case.reference),
            safe(&format!("{paid}{tenant}, {}", minute(case.opened_at)))
        );
        self.line(&format!("{}: {}", case.reason, case.detail));
        self.line(&subject(&case.session));
        if self.personal
            && let Some(email) = &case.evidence.email
        {
            self.line(&format!("buyer {email}"));
        }
        for note in &case.history {
            let why = note
                .why
                .as_deref()
                .map(|why| format!(" ({why})"))
                .unwrap_or_default();
            self.line(&format!("{}  {}: {}{why}", minute(note.at), note.who, note.what));
        }
        println!();
    }

    fn line(&self, text: &str) {
        const INDENT: usize = 2;
        for line in wrapped(&safe(text), self.columns - INDENT) {
            println!("{:INDENT$}{line}", "");
        }
    }
}

/// How a case was closed.
pub(in crate::commands) fn ended(how: Resolution) -> &'static str {
    match how {
        Resolution::Subscription => "closed: it has its pass",
        Resolution::Refund => "closed: refunded",
        Resolution::Person => "closed by hand",
    }
}

/// The amount paid, where it is known.
pub(super) fn paid(case: &UnmatchedPayment) -> Option<Money> {
    let currency = case.evidence.currency.as_deref()?.parse().ok()?;
    case.evidence.amount.map(|amount| Money { amount, currency })
}

/// What a case is about: of a session whose id cannot be read the event is known.
fn subject(session: &str) -> String {
    let kind = if session.starts_with("evt_") {
        "event"
    } else {
        "session"
    };
    format!("{kind} {session}")
}
