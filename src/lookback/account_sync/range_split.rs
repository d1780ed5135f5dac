//! Splits a list into time ranges that are read in parallel.
//!
//! Pages of one list must be read in sequence, since each starts where the previous one ended. Time ranges do
//! not depend on each other. Each range costs one page that is not full, so the number of ranges is limited
//! by the number of pages.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::lookback::cycle::CycleDetector;
use crate::store::LookbackRun;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Page, SessionFilter};

/// Ranges read at a time, and so pages in memory.
const MAX_RANGES: usize = 8;
/// Pages needed for each split: at most a twelfth more calls.
const PAGES_PER_SPLIT: u64 = 12;
/// A range with fewer pages is not split.
const MIN_PAGES_TO_SPLIT: i64 = 4;
const PAGE: u64 = 100;

/// The progress of a list, stored as the run's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RangeSplit {
    open: Vec<TimeRange>,
    /// How many splits there were.
    splits: u64,
    /// How many pages to expect, from our own records.
    known: u64,
    /// The key may not read payments.
    pub(super) without_payments: bool,
}

/// A time range whose list is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TimeRange {
    /// Sessions created from here, in Unix seconds,
    from: i64,
    /// to here, exclusive.
    to: i64,
    /// The last session that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(default, skip_serializing_if = "CycleDetector::is_new")]
    cycle: CycleDetector,
}

/// What remains of a range after a page.
pub(super) enum Remaining {
    /// The ranges to read next: none at the end, two after a split.
    Ranges(Vec<TimeRange>),
    /// The list repeats itself: abandon the range.
    Cycle,
}

impl RangeSplit {
    /// The run's progress. Without a valid cursor, the beginning.
    pub(super) fn of(run: &LookbackRun) -> Self {
        if let Ok(ranges) = serde_json::from_str(&run.cursor) {
            return ranges;
        }
        let whole = TimeRange {
            from: run.from.timestamp(),
            // Rounds up, so that the last partial second is included.
            to: run.to.timestamp() + i64::from(run.to.timestamp_subsec_nanos() > 0),
            after: Some(run.cursor.clone()).filter(|cursor| cursor.starts_with("cs_")),
            cycle: CycleDetector::default(),
        };
        Self {
            open: vec![whole],
            splits: 0,
            known: 0,
            without_payments: false,
        }
    }

    pub(super) fn cursor(&self) -> String {
        match &self.open[..] {
            [] => String::new(),
            ranges => {
                serde_json::to_string(self).unwrap_or_else(|_| ranges[0].after.clone().unwrap_or_default())
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn open(&self) -> &[TimeRange] {
        &self.open
    }

    /// Sets how many sessions there are at least.
    pub(super) fn set_expected(&mut self, sessions: u64) {
        self.known = sessions / PAGE;
    }

    /// Takes a page of `range`, the `nth` of all.
    pub(super) fn add_page(
        &mut self,
        range: &TimeRange,
        page: &Page<CheckoutSession>,
        nth: u64,
    ) -> Remaining {
        self.open.retain(|one| one != range);
        let Some(last) = page.last_id.as_deref().filter(|_| page.has_more) else {
            return Remaining::Ranges(Vec::new());
        };
        let mut rest = range.clone();
        if rest.cycle.is_cycle(last) {
            return Remaining::Cycle;
        }
        rest.after = Some(last.to_owned());
        let next = match self.middle(&rest, page, nth) {
            Some(middle) => {
                self.splits += 1;
                let newer = TimeRange {
                    from: middle,
                    ..rest.clone()
                };
                let older = TimeRange {
                    to: middle,
                    after: None,
                    cycle: CycleDetector::default(),
                    ..rest
                };
                vec![newer, older]
            }
            None => vec![rest],
        };
        self.open.extend(next.iter().cloned());
        Remaining::Ranges(next)
    }

    /// Where to split the rest of a range.
    fn middle(&self, rest: &TimeRange, page: &Page<CheckoutSession>, nth: u64) -> Option<i64> {
        let is_made_up_for = (self.splits + 1) * PAGES_PER_SPLIT <= nth.max(self.known);
        if self.open.len() + 2 > MAX_RANGES || !is_made_up_for {
            return None;
        }
        let newest = page.items.first()?.created?.timestamp();
        let oldest = page.items.last()?.created?.timestamp();
        let a_page = newest.checked_sub(oldest)?.max(1);
        let left = oldest.checked_sub(rest.from)?;
        (left / a_page >= MIN_PAGES_TO_SPLIT).then(|| rest.from + left / 2)
    }
}

impl TimeRange {
    pub(super) fn filter(&self) -> SessionFilter {
        SessionFilter {
            created_from: DateTime::<Utc>::from_timestamp(self.from, 0),
            created_before: DateTime::<Utc>::from_timestamp(self.to, 0),
            starting_after: self.after.clone(),
            expand_line_items: true,
            ..SessionFilter::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::CreatedVia;

    const SPAN: i64 = 30 * 86_400;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn run() -> LookbackRun {
        LookbackRun::new("r", "r", CreatedVia::Lookback, at(0), at(SPAN), at(SPAN))
    }

    /// What Stripe would return for sessions created so many seconds after the beginning, newest first.
    fn page(sessions: &[(i64, usize)], range: &TimeRange) -> Page<CheckoutSession> {
        let place = |id: &str| {
            sessions
                .iter()
                .position(|(_, n)| format!("cs_{n}") == id)
                .unwrap()
                + 1
        };
        let rest = &sessions[range.after.as_deref().map_or(0, place)..];
        let within =
            |(created, _): &&(i64, usize)| (range.from..range.to).contains(&at(*created).timestamp());
        let mut fitting = rest.iter().filter(within);
        let items: Vec<CheckoutSession> = fitting
            .by_ref()
            .take(100)
            .map(|(created, n)| CheckoutSession {
                id: Some(format!("cs_{n}")),
                created: Some(at(*created)),
                ..CheckoutSession::default()
            })
            .collect();
        Page {
            last_id: items.last().and_then(|one| one.id.clone()),
            has_more: fitting.next().is_some(),
            unreadable: 0,
            items,
        }
    }

    /// Lists everything in the order that `chance` gives, from the stored cursor after each page. Returns how
    /// often each session was listed, the number of calls, and the most ranges at a time.
    fn list_all(
        sessions: &[(i64, usize)],
        known: u64,
        chance: &[usize],
    ) -> (BTreeMap<String, u32>, u64, usize) {
        let mut run = run();
        let (mut add_page, mut calls, mut most) = (BTreeMap::new(), 0, 0);
        loop {
            let mut ranges = RangeSplit::of(&run);
            if calls == 0 {
                ranges.set_expected(known);
            }
            let open = ranges.open().to_vec();
            most = most.max(open.len());
            let range = &open[chance[usize::try_from(calls).unwrap() % chance.len()] % open.len()];
            let page = page(sessions, range);
            calls += 1;
            for session in &page.items {
                *add_page.entry(session.id.clone().unwrap()).or_default() += 1;
            }
            assert!(matches!(
                ranges.add_page(range, &page, calls),
                Remaining::Ranges(_)
            ));
            if ranges.is_empty() {
                return (add_page, calls, most);
            }
            run.cursor = ranges.cursor();
        }
    }

    fn numbered(mut created: Vec<i64>) -> Vec<(i64, usize)> {
        created.sort_unstable_by(|a, b| b.cmp(a));
        created.into_iter().zip(0..).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn every_session_is_listed_once_in_however_many_parts_for_a_twelfth_more_calls_at_most(
            steady in prop::collection::vec(0..SPAN, 0..4_000),
            rush in prop::collection::vec(0..3_600_i64, 0..2_000),
            rushed_at in 0..SPAN - 3_600,
            chance in prop::collection::vec(0..64_usize, 1..40),
            is_known: bool,
        ) {
            let rush = rush.into_iter().map(|second| rushed_at + second);
            let sessions = numbered(steady.into_iter().chain(rush).collect());
            let known = if is_known { sessions.len() as u64 } else { 0 };
            let (add_page, calls, most) = list_all(&sessions, known, &chance);
            prop_assert_eq!(add_page.len(), sessions.len());
            prop_assert!(add_page.values().all(|times| *times == 1));
            let pages = (sessions.len() as u64).div_ceil(100).max(1);
            prop_assert!(calls <= pages + pages / PAGES_PER_SPLIT + 1, "{} calls for {} pages", calls, pages);
            prop_assert!(most <= MAX_RANGES);
        }
    }

    #[test]
    fn a_month_of_12_000_sessions_is_listed_in_eight_parts_at_once_where_they_are_known() {
        let sessions = numbered((0..12_000).map(|n| n * SPAN / 12_000).collect());
        let round = |known| list_all(&sessions, known, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let (_, calls, most) = round(12_000);
        assert_eq!(most, MAX_RANGES);
        assert!(calls <= 128, "{calls}");
        // Without webhooks, only the pages themselves show that there are more.
        assert_eq!(round(0).2, MAX_RANGES);
    }

    #[test]
    fn a_cursor_of_before_there_were_parts_is_gone_on_from() {
        let mut run = run();
        run.cursor = "cs_7".to_owned();
        let ranges = RangeSplit::of(&run);
        assert_eq!(ranges.open()[0].after.as_deref(), Some("cs_7"));
        assert_eq!(ranges.open().len(), 1);
    }
}
