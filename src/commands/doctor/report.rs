//! The results of all checks, a line each, with what fixes them.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::commands::terminal::{safe, wrapped};

/// A line's length, and where its text begins.
const COLUMNS: usize = 80;
const TEXT_AT: usize = 20;
/// The group of checks for the promise itself.
pub(super) const PURCHASES: &str = "Purchases";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// Nothing is wrong; an optional setting is missing.
    Advice,
    Warning,
    Error,
}

#[derive(Debug, Serialize)]
struct Check {
    group: &'static str,
    name: &'static str,
    level: Level,
    message: String,
    /// The JSON field keeps the name that scripts use.
    #[serde(rename = "mend", skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All checks. They are printed at the end, because the first line is the verdict.
#[derive(Debug, Default)]
pub(super) struct Report {
    group: &'static str,
    checks: Vec<Check>,
}

/// As `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    ok: bool,
    /// In words: the first line.
    verdict: String,
    checks: &'a [Check],
}

impl Report {
    /// Starts a group of checks.
    pub(super) fn begin(&mut self, group: &'static str) {
        self.group = group;
    }

    pub(super) fn good(&mut self, name: &'static str, message: impl Into<String>) {
        self.add(Level::Ok, name, message.into(), None);
    }

    /// Surepass works without it.
    pub(super) fn advise(&mut self, name: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Advice, name, message.into(), Some(fix.into()));
    }

    /// Surepass works, but something needs attention.
    pub(super) fn warn(&mut self, name: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Warning, name, message.into(), Some(fix.into()));
    }

    /// Surepass does not work as it should.
    pub(super) fn wrong(&mut self, name: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Level::Error, name, message.into(), Some(fix.into()));
    }

    fn add(&mut self, level: Level, name: &'static str, message: String, fix: Option<String>) {
        self.checks.push(Check {
            group: self.group,
            name,
            level,
            message,
            fix,
        });
    }

    /// Puts a report's checks before all others.
    pub(super) fn put_first(&mut self, first: Self) {
        self.checks.splice(0..0, first.checks);
    }

    fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|check| check.level == level).count()
    }

    /// Warnings alone are fine.
    pub(super) fn is_good(&self) -> bool {
        self.count(Level::Error) == 0
    }

    /// The worst finding and what to do next, or that nothing is wrong. Groups are ordered by what they cost customers.
    fn verdict(&self) -> String {
        match self.checks.iter().find(|check| check.level == Level::Error) {
            Some(check) if check.group == PURCHASES => {
                format!(
                    "{}; next: {}",
                    check.message,
                    check.fix.as_deref().unwrap_or_default()
                )
            }
            Some(check) => format!(
                "{}, {}: {}; next: {}",
                check.group,
                check.name,
                check.message,
                check.fix.as_deref().unwrap_or_default()
            ),
            None => "Nothing is wrong: everybody who paid has a pass, and nobody is waiting.".to_owned(),
        }
    }

    /// For a terminal: the verdict, each group, the totals.
    pub(super) fn print(&self) {
        for line in wrapped(&safe(&self.verdict()), COLUMNS) {
            println!("{line}");
        }
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                group = check.group;
                let bold = Style::new().bold();
                anstream::println!("\n{bold}{group}{bold:#}");
            }
            let (sign, color) = match check.level {
                Level::Ok => ('✓', AnsiColor::Green),
                Level::Advice => ('·', AnsiColor::Cyan),
                Level::Warning => ('!', AnsiColor::Yellow),
                Level::Error => ('✗', AnsiColor::Red),
            };
            let style = Style::new().fg_color(Some(color.into())).bold();
            // The sign is indented by two columns.
            anstream::println!("  {style}{sign}{style:#}{}", lines(check));
        }
        let (wrong, warnings) = (self.count(Level::Error), self.count(Level::Warning));
        let many = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
        let sum = match (wrong, warnings) {
            (0, 0) => "All checks passed.".to_owned(),
            (0, _) => format!("Nothing is wrong; {}.", many(warnings, "warning")),
            (_, 0) => format!("{}.", many(wrong, "problem")),
            _ => format!("{}, {}.", many(wrong, "problem"), many(warnings, "warning")),
        };
        println!("\n{sum}");
    }

    pub(super) fn document(&self) -> Document<'_> {
        Document {
            ok: self.is_good(),
            verdict: self.verdict(),
            checks: &self.checks,
        }
    }
}

/// The text after the sign.
fn lines(check: &Check) -> String {
    let mut text = format!(" {:1$}", check.name, TEXT_AT - 4);
    let indent = " ".repeat(TEXT_AT);
    let room = COLUMNS - TEXT_AT;
    for (n, line) in wrapped(&safe(&check.message), room).iter().enumerate() {
        let before = if n == 0 { "" } else { &indent };
        let after = if n == 0 { "" } else { "\n" };
        let _ = write!(text, "{after}{before}{line}");
    }
    for (n, line) in wrapped(&safe(check.fix.as_deref().unwrap_or_default()), room - 2)
        .iter()
        .enumerate()
    {
        let arrow = if n == 0 { "→ " } else { "  " };
        let _ = write!(text, "\n{indent}{arrow}{line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_legible_within_80_columns() {
        let check = Check {
            group: "Redis",
            name: "eviction",
            level: Level::Error,
            message: "maxmemory-policy is allkeys-lru: a full Redis would delete jobs to make room for others"
                .to_owned(),
            fix: Some("run CONFIG SET maxmemory-policy noeviction, and set the same in redis.conf or your provider's settings".to_owned()),
        };
        let expected = " eviction        maxmemory-policy is allkeys-lru: a full Redis would delete
                    jobs to make room for others
                    → run CONFIG SET maxmemory-policy noeviction, and set the
                      same in redis.conf or your provider's settings";
        assert_eq!(lines(&check), expected);
    }

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        let check = Check {
            group: "Webhooks",
            name: "endpoint",
            level: Level::Ok,
            message: "https://a.example/\u{1b}[2J".to_owned(),
            fix: None,
        };
        assert!(!lines(&check).contains('\u{1b}'));
    }
}
