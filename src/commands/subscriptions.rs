//! `surepass subscriptions`

use std::collections::HashSet;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::store::{Store, StoreError, Subscription, SubscriptionFilter};

use super::owner::{self, NewOwner};
use super::terminal::print_json;
use super::{block_on, open_for_reading, table};
use crate::Failure;

/// How many are shown at most: a support person narrows the list rather than reading it. Programs get all, in pages of so
/// many.
const MOST: u32 = 10_000;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// List subscriptions, newest first; each filter narrows the list
    List {
        /// Only this tenant's
        #[arg(long, value_name = "SLUG")]
        tenant: Option<String>,
        /// Only this user's
        #[arg(long, value_name = "ID")]
        user: Option<String>,
        /// Only those of users with this email
        #[arg(long, value_name = "EMAIL")]
        email: Option<String>,
        /// Only the one of this Checkout Session
        #[arg(long, value_name = "cs_…")]
        session: Option<String>,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show one subscription and its owner
    Show {
        /// subscription-cs_…, or its Checkout Session
        #[arg(value_name = "ID")]
        id: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Give one subscription to another user; written to the audit log
    Move {
        /// subscription-cs_…, or its Checkout Session
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        owner: NewOwner,
        /// Why, for the audit log, such as the ticket's number
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: Command) -> Result<ExitCode, Failure> {
    let (tenant, user, email, session, json) = match command {
        Command::List {
            tenant,
            user,
            email,
            session,
            json,
        } => (tenant, user, email, session, json),
        Command::Show { id, json } => return block_on(owner::show(settings, &id, json)),
        Command::Move { id, owner, why, json } => {
            return block_on(owner::give(settings, &id, owner, &why, json));
        }
    };
    let filter = SubscriptionFilter {
        tenant_slug: tenant,
        user,
        email,
        session,
        after: None,
    };
    block_on(async {
        let store = open_for_reading(settings).await?;
        if json {
            let all = every(store.as_ref(), filter).await?;
            print_json(&all)?;
            return Ok(ExitCode::SUCCESS);
        }
        let subscriptions = store.subscriptions(&filter, MOST).await?;
        if subscriptions.is_empty() {
            println!("No subscription fits.");
        } else {
            let now = Clock::system().now();
            let upgraded = subscriptions
                .iter()
                .filter_map(|one| one.upgraded_from_subscription_id.as_deref());
            let upgraded: HashSet<&str> = upgraded.collect();
            let rows = subscriptions.iter().map(|one| {
                [
                    one.id.clone(),
                    one.user.clone(),
                    one.pass_name.clone(),
                    one.kind.as_str().to_owned(),
                    one.remaining_clips
                        .map_or_else(|| "–".to_owned(), |clips| clips.to_string()),
                    one.start_date.format("%Y-%m-%d").to_string(),
                    one.end_date.format("%Y-%m-%d").to_string(),
                    one.purchase_price.to_string(),
                    state(one, now, &upgraded).to_owned(),
                ]
            });
            let head = [
                "ID", "USER", "PASS", "TYPE", "CLASSES", "FROM", "UNTIL", "PAID", "ACTIVE",
            ];
            println!("{}", table(head, rows));
        }
        if subscriptions.len() == MOST as usize {
            eprintln!("surepass: only the newest {MOST} are shown: narrow the list");
        }
        Ok(ExitCode::SUCCESS)
    })
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

/// All that fit, however many.
async fn every(store: &dyn Store, mut filter: SubscriptionFilter) -> Result<Vec<Subscription>, StoreError> {
    let mut all = Vec::new();
    loop {
        let page = store.subscriptions(&filter, MOST).await?;
        let is_last = page.len() < MOST as usize;
        filter.after = page.last().map(|last| (last.created_at, last.id.clone()));
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
