//! What is printed: a table for each section, with the goal beside the figure.

use std::fmt;

/// One section's figures.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    rows: Vec<[String; 4]>,
    notes: Vec<String>,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Table {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A figure without a goal of its own.
    pub(crate) fn plain(&mut self, what: &str, figure: String) {
        self.rows
            .push([what.to_owned(), figure, String::new(), String::new()]);
    }

    /// A figure with the goal for itself: `measured` is in the goal's unit.
    pub(crate) fn judged(&mut self, what: &str, figure: String, measured: f64, goal: Goal, unit: &str) {
        self.rows.push([
            what.to_owned(),
            figure,
            String::new(),
            verdict(measured, goal, unit),
        ]);
    }

    /// A figure with its ratio to the limit, and the goal for the ratio, if there is one.
    pub(crate) fn compared(&mut self, what: &str, figure: String, ratio: f64, goal: Option<Goal>) {
        let goal = goal.map_or_else(String::new, |goal| verdict(ratio * 100.0, goal, " %"));
        self.rows
            .push([what.to_owned(), figure, format!("{:.0} %", ratio * 100.0), goal]);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

fn verdict(measured: f64, goal: Goal, unit: &str) -> String {
    let (met, sign, goal) = match goal {
        Goal::AtLeast(goal) => (measured >= goal, '≥', goal),
        Goal::AtMost(goal) => (measured <= goal, '≤', goal),
    };
    format!("{} {sign} {}{unit}", if met { '✓' } else { '✗' }, thousands(goal))
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_header(["", "measured", "of the limit", "goal"]);
        table.add_rows(self.rows.clone());
        writeln!(f, "\n{}\n{table}", self.title)?;
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        Ok(())
    }
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `12,345`; small numbers with their digits after the point.
pub(crate) fn thousands(number: f64) -> String {
    if number.abs() < 100.0 {
        let text = format!("{number:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn per_second(rate: f64) -> String {
    format!("{}/s", thousands(rate))
}

/// `p50 0.21 ms, p99 0.63 ms`
pub(crate) fn latency((p50, p99): (f64, f64)) -> String {
    format!("p50 {} ms, p99 {} ms", thousands(p50), thousands(p99))
}

#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds far below 2^52")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
