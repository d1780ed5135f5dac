//! The result of a `sync`, as it is printed.

use serde::Serialize;
use surepass::lookback::{FailedSession, Report};

use crate::commands::terminal::safe;

/// The result of all runs of one command.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    runs: Vec<String>,
    pub(super) done: bool,
    created_count: u64,
    skipped_count: u64,
    error_count: u64,
    pending_count: u64,
    unreadable_count: u64,
    total_sessions_found: u64,
    refunded_count: u64,
    pub(super) pages: u64,
    created: Vec<String>,
    refunded: Vec<String>,
    errors: Vec<FailedSession>,
    /// Why a run, or an account, could not be finished.
    failures: Vec<String>,
}

impl Outcome {
    pub(super) fn of(reports: Vec<Report>) -> Self {
        let mut all = Self {
            done: true,
            ..Self::default()
        };
        for one in reports {
            all.done &= one.done;
            all.created_count += one.created_count;
            all.skipped_count += one.skipped_count;
            all.error_count += one.error_count;
            all.pending_count += one.pending_count;
            all.unreadable_count += one.unreadable_count;
            all.total_sessions_found += one.total_sessions_found;
            all.refunded_count += one.refunded_count;
            all.pages += one.pages;
            all.created.extend(one.created);
            all.refunded.extend(one.refunded);
            all.errors.extend(one.errors);
            all.failures.extend(one.error);
            all.runs.push(one.run);
        }
        all
    }

    pub(super) fn line(&self) -> String {
        let purchases = match self.total_sessions_found {
            1 => "1 purchase".to_owned(),
            count => format!("{count} purchases"),
        };
        // A run that could not be finished counts as an error, but is not a purchase.
        let failed = self.error_count.saturating_sub(self.failures.len() as u64);
        let refunded = match self.refunded_count {
            0 => String::new(),
            count => format!("; {count} refunded, so no pass is due"),
        };
        format!(
            "{purchases} found: {} fulfilled now, {} already handled, {} in progress, {failed} failed{refunded}",
            self.created_count, self.skipped_count, self.pending_count,
        )
    }

    /// `none`: what to print where nothing was found, and nothing failed.
    pub(super) fn print(&self, none: &str) {
        if self.done && self.total_sessions_found == 0 && self.is_fine() {
            println!("{none}");
            return;
        }
        println!("{}.", self.line());
        for session in &self.created {
            println!("  fulfilled {}", safe(session));
        }
        for session in &self.refunded {
            println!("  refunded  {}", safe(session));
        }
        for one in &self.errors {
            println!("  failed    {}: {}", safe(&one.session), safe(&one.error));
        }
        for failure in &self.failures {
            eprintln!("surepass: {}", safe(failure));
        }
        if self.pending_count > 0 {
            eprintln!(
                "surepass: {} still have no pass after hours. Next: `surepass jobs list`",
                self.pending_count
            );
        }
        if self.unreadable_count > 0 {
            eprintln!(
                "surepass: {} sessions could not be read, so a purchase may be missing",
                self.unreadable_count
            );
        }
    }

    /// Whether everything was read, and nothing that was found failed or is still in progress.
    pub(super) fn is_fine(&self) -> bool {
        self.error_count + self.pending_count + self.unreadable_count == 0 && self.failures.is_empty()
    }
}
