//! Output for a terminal: JSON, tables, ages, questions.

use std::io::{BufRead, IsTerminal, Write};

use chrono::{DateTime, Utc};
use serde::Serialize;
pub(super) use surepass::terminal::safe;
use surepass::terminal::safe_json;

use crate::Failure;

/// Prints one JSON document; control characters are written as `\u…`.
pub(super) fn print_json(document: &impl Serialize) -> Result<(), Failure> {
    println!("{}", safe_json(&serde_json::to_string_pretty(document)?));
    Ok(())
}

/// A JSON array on stdout, printed in parts as they come: all of it need not be in memory.
pub(super) struct JsonArray {
    is_empty: bool,
}

impl JsonArray {
    pub(super) fn begin() -> Self {
        print!("[");
        Self { is_empty: true }
    }

    pub(super) fn add(&mut self, items: &[impl Serialize]) -> Result<(), Failure> {
        let mut text = String::new();
        for item in items {
            text.push_str(if self.is_empty { "\n  " } else { ",\n  " });
            self.is_empty = false;
            // Line breaks within texts are escaped: these are between fields.
            text.push_str(&serde_json::to_string_pretty(item)?.replace('\n', "\n  "));
        }
        print!("{}", safe_json(&text));
        Ok(())
    }

    pub(super) fn end(self) {
        println!("{}]", if self.is_empty { "" } else { "\n" });
    }
}

/// The width of the terminal that stdout is (80 where it is not known); `None`: stdout is no terminal.
pub(super) fn columns() -> Option<usize> {
    let out = std::io::stdout();
    let size = terminal_size::terminal_size_of(&out);
    out.is_terminal()
        .then(|| size.map_or(80, |(width, _)| width.0.into()))
}

/// The text within so many columns.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars()
        .take(columns.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// The text in lines of so many columns, broken between words; a longer word stands alone.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How long something took, or is away: `850 ms`, `42 s`, `12 min`, `3 h`, `5 days`.
pub(super) fn span(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{} s", ms / 1_000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

/// `3 h ago`, or `in 3 h`.
pub(super) fn relative(ms: u64, now: u64) -> String {
    if ms > now {
        format!("in {}", span(ms - now))
    } else {
        format!("{} ago", span(now - ms))
    }
}

/// `2026-11-23 20:49:19 UTC (3 h ago)`
pub(super) fn absolute(ms: u64, now: u64) -> String {
    let at = i64::try_from(ms)
        .ok()
        .and_then(DateTime::<Utc>::from_timestamp_millis);
    let at = at.unwrap_or_default().format("%Y-%m-%d %H:%M:%S UTC");
    format!("{at} ({})", relative(ms, now))
}

/// Asks on the terminal; anything but `y` or `yes` is no. `None`: stdin is no terminal.
pub(super) fn confirm(question: &str) -> Result<Option<bool>, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(None);
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(Some(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_wrapped_between_words_and_a_long_word_stands_alone() {
        assert_eq!(wrapped("a bc  def ghijkl m", 4), ["a bc", "def", "ghijkl", "m"]);
        assert_eq!(wrapped(" ", 4), Vec::<String>::new());
    }

    #[test]
    fn a_cut_text_shows_that_it_was_cut() {
        assert_eq!(
            (cut("12345", 5).as_str(), cut("123456", 5).as_str()),
            ("12345", "1234…")
        );
    }
}
