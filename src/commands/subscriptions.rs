//! `surepass subscriptions`

use std::process::ExitCode;

use surepass::config::Settings;
use surepass::store::SubscriptionFilter;

use super::{block_on, open_store, table};
use crate::Failure;

/// How many are shown at most: a support person narrows the list rather than reading it.
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
}

pub(crate) fn run(settings: &Settings, command: Command) -> Result<ExitCode, Failure> {
    let Command::List {
        tenant,
        user,
        email,
        session,
        json,
    } = command;
    let filter = SubscriptionFilter {
        tenant_slug: tenant,
        user,
        email,
        session,
    };
    block_on(async {
        let store = open_store(settings).await?;
        let subscriptions = store.subscriptions(&filter, MOST).await?;
        if json {
            println!("{}", serde_json::to_string_pretty(&subscriptions)?);
        } else if subscriptions.is_empty() {
            println!("No subscription fits.");
        } else {
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
                    if one.is_active { "yes" } else { "no" }.to_owned(),
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
