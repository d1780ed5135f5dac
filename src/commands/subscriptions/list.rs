//! `surepass subscriptions list`

use std::collections::HashSet;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::store::{Store, StoreError, Subscription, SubscriptionFilter};

use crate::Failure;
use crate::commands::terminal::{JsonArray, columns, cut, safe};
use crate::commands::{misuse, open_for_reading, table, tenant};

/// Read from the store in one go.
const PAGE: u32 = 1_000;
/// How many are shown on a terminal: a support person narrows the list rather than reading it.
const ON_TERMINAL: u32 = 100;
/// The same for a table that goes to a file or a pipe.
const ELSEWHERE: u32 = 10_000;

#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// Only subscriptions of this tenant (id or slug)
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only subscriptions of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only subscriptions of users with this email
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Only the subscription of this Checkout Session
    #[arg(long, value_name = "cs_…")]
    session: Option<String>,
    /// Show the newest N [default: 100 on a terminal, 10,000 elsewhere, all with --json]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Print all as a JSON array, as they are read
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(settings: &Settings, arguments: Arguments) -> Result<ExitCode, Failure> {
    let store = open_for_reading(settings).await?;
    let slug = match tenant::option(store.as_ref(), arguments.tenant.as_deref()).await? {
        Ok(tenant) => tenant.map(|tenant| tenant.slug),
        Err(message) => return Ok(misuse(&message)),
    };
    let filter = SubscriptionFilter {
        tenant_slug: slug,
        user: arguments.user,
        email: arguments.email,
        session: arguments.session,
        after: None,
    };
    let none = none_of(&filter);
    let mut pages = Pages {
        store: store.as_ref(),
        filter,
        left: arguments.limit,
    };
    if arguments.json {
        print_json(&mut pages).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let elsewhere = columns().map_or(ELSEWHERE, |_| ON_TERMINAL);
    let limit = arguments.limit.unwrap_or(elsewhere);
    pages.left = Some(limit.saturating_add(1));
    let mut found = Vec::new();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    let shown = limit as usize;
    let has_more = found.len() > shown;
    found.truncate(shown);
    if found.is_empty() {
        println!("{none}");
        return Ok(ExitCode::SUCCESS);
    }
    print(&found);
    if has_more {
        eprintln!(
            "surepass: the newest {limit}; there are more. Narrow the list, or use --limit N, or --json for all"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What matches, newest first, in pages.
struct Pages<'a> {
    store: &'a Store,
    filter: SubscriptionFilter,
    /// How many are still wanted; `None`: all.
    left: Option<u32>,
}

impl Pages<'_> {
    /// The next page; empty: there are no more.
    async fn next(&mut self) -> Result<Vec<Subscription>, StoreError> {
        let size = self.left.map_or(PAGE, |left| left.min(PAGE));
        if size == 0 {
            return Ok(Vec::new());
        }
        let page = self.store.subscriptions().list(&self.filter, size).await?;
        if let Some(last) = page.last() {
            self.filter.after = Some((last.created_at, last.id.clone()));
        }
        self.left = match self.left {
            _ if page.len() < size as usize => Some(0),
            left => left.map(|left| left - size),
        };
        Ok(page)
    }
}

/// However many there are, a page of them is held.
async fn print_json(pages: &mut Pages<'_>) -> Result<(), Failure> {
    let mut page = pages.next().await?;
    let mut array = JsonArray::begin();
    while !page.is_empty() {
        array.add(&page)?;
        page = pages.next().await?;
    }
    array.end();
    Ok(())
}

/// As a table where the terminal is wide enough, else each in some lines: an id alone takes 80 columns.
fn print(found: &[Subscription]) {
    let now = Clock::system().now();
    let upgraded = found
        .iter()
        .filter_map(|one| one.upgraded_from_subscription_id.as_deref());
    let upgraded: HashSet<&str> = upgraded.collect();
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let rows = found.iter().map(|one| {
        [
            one.id.clone(),
            one.user.clone(),
            one.pass_name.clone(),
            one.kind.as_str().to_owned(),
            one.remaining_clips
                .map_or_else(|| "–".to_owned(), |clips| clips.to_string()),
            day(one.start_date),
            day(one.end_date),
            one.purchase_price.to_string(),
            state(one, now, &upgraded).to_owned(),
        ]
    });
    let head = [
        "ID", "USER", "PASS", "TYPE", "CLASSES", "FROM", "UNTIL", "PAID", "ACTIVE",
    ];
    let table = table(head, rows).to_string();
    let width = table.lines().map(|line| line.trim_end().chars().count()).max();
    let Some(columns) = columns().filter(|columns| width > Some(*columns)) else {
        println!("{table}");
        return;
    };
    for one in found {
        let active = match state(one, now, &upgraded) {
            "yes" => "active",
            "no" => "not active",
            state => state,
        };
        let left = one
            .remaining_clips
            .map_or_else(String::new, |clips| format!(", {clips} left"));
        let dates = format!("{} to {}", day(one.start_date), day(one.end_date));
        let rest = format!("{left}, {dates}, {}", one.purchase_price);
        let room = columns.saturating_sub(rest.chars().count() + active.len() + 4);
        println!("{}", safe(&one.id));
        println!("  {active}: {}{}", cut(&safe(&one.pass_name), room), safe(&rest));
        println!("  {}", safe(&one.user));
    }
}

/// Whether the pass can be used, and if not, why. `upgraded`: ids of passes that were exchanged for others.
fn state(one: &Subscription, now: DateTime<Utc>, upgraded: &HashSet<&str>) -> &'static str {
    match one.is_active {
        false if upgraded.contains(one.id.as_str()) => "upgraded",
        false => "no",
        true if one.end_date <= now => "expired",
        true => "yes",
    }
}

/// That there is none, for whom, and what to do next.
fn none_of(filter: &SubscriptionFilter) -> String {
    let at = filter.tenant_slug.as_deref().map(safe);
    let option = at
        .as_ref()
        .map_or_else(String::new, |slug| format!(" --tenant {slug}"));
    let at = at.map_or_else(String::new, |slug| format!(" at {slug}"));
    let (whom, ask) = match (&filter.session, &filter.email, &filter.user) {
        (Some(session), ..) => (
            format!(" of {}", safe(session)),
            format!("--session {}", safe(session)),
        ),
        (_, Some(email), _) => (
            format!(" for {}", safe(email)),
            format!("--email {}", safe(email)),
        ),
        (.., Some(user)) => (format!(" for {}", safe(user)), format!("--user {}", safe(user))),
        (None, None, None) => (" yet".to_owned(), "--all".to_owned()),
    };
    format!("No pass{whom}{at}. Next: `surepass sync {ask}{option}` asks Stripe.")
}
