//! A listing in parts: spans of time that are listed side by side.
//!
//! Pages of one list come one after the other, since each begins where the one before has ended; so a list takes as many
//! times Stripe's answer time as it has pages, however many calls the limit allows. Two spans of the time do not wait for
//! each other. Each part costs a page that is not full: so there are only as many as there are pages to make up for it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::lookback::cycle::CycleDetector;
use crate::store::LookbackRun;
use crate::stripe::CheckoutSession;
use crate::stripe::api::{Page, SessionFilter};

/// So many are listed at a time; so many pages are held.
const MOST_PARTS: usize = 8;
/// So many pages make up for one that is not full: a list costs a twelfth more calls at most.
const PAGES_A_SPLIT: u64 = 12;
/// A part of fewer pages is not worth splitting.
const SMALLEST: i64 = 4;
const PAGE: u64 = 100;

/// How far a listing has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    open: Vec<Part>,
    /// How often one was split.
    splits: u64,
    /// How many pages there must be, by what we knew before.
    known: u64,
    /// The key may not read what became of the money.
    pub(super) without_payments: bool,
}

/// A span of time of which not all is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The sessions created from here, in Unix seconds,
    from: i64,
    /// to here, exclusive.
    to: i64,
    /// The last one that has been listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(default, skip_serializing_if = "CycleDetector::is_new")]
    cycle: CycleDetector,
}

/// What a page leaves to be listed of its part.
pub(super) enum Rest {
    /// These, in its place: none where the part has come to its end, two where it was split.
    Parts(Vec<Part>),
    /// The list goes round in circles: nothing more is to be had of it.
    Cycle,
}

impl Parts {
    /// Where a run stands. A cursor that cannot be read (there is none yet) is its beginning.
    pub(super) fn of(run: &LookbackRun) -> Self {
        if let Ok(parts) = serde_json::from_str(&run.cursor) {
            return parts;
        }
        let whole = Part {
            from: run.from.timestamp(),
            // Part of a second never leaves anything out.
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
            parts => {
                serde_json::to_string(self).unwrap_or_else(|_| parts[0].after.clone().unwrap_or_default())
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn open(&self) -> &[Part] {
        &self.open
    }

    /// Notes that there are so many sessions at least.
    pub(super) fn expect(&mut self, sessions: u64) {
        self.known = sessions / PAGE;
    }

    /// Takes a page of `part` into account, the `nth` of all.
    pub(super) fn listed(&mut self, part: &Part, page: &Page<CheckoutSession>, nth: u64) -> Rest {
        self.open.retain(|one| one != part);
        let Some(last) = page.last_id.as_deref().filter(|_| page.has_more) else {
            return Rest::Parts(Vec::new());
        };
        let mut rest = part.clone();
        if rest.cycle.is_cycle(last) {
            return Rest::Cycle;
        }
        rest.after = Some(last.to_owned());
        let next = match self.middle(&rest, page, nth) {
            Some(middle) => {
                self.splits += 1;
                let newer = Part {
                    from: middle,
                    ..rest.clone()
                };
                let older = Part {
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
        Rest::Parts(next)
    }

    /// Where the rest of a part is to be split.
    fn middle(&self, rest: &Part, page: &Page<CheckoutSession>, nth: u64) -> Option<i64> {
        let is_made_up_for = (self.splits + 1) * PAGES_A_SPLIT <= nth.max(self.known);
        if self.open.len() + 2 > MOST_PARTS || !is_made_up_for {
            return None;
        }
        let newest = page.items.first()?.created?.timestamp();
        let oldest = page.items.last()?.created?.timestamp();
        let a_page = newest.checked_sub(oldest)?.max(1);
        let left = oldest.checked_sub(rest.from)?;
        (left / a_page >= SMALLEST).then(|| rest.from + left / 2)
    }
}

impl Part {
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

    /// What Stripe would answer, of sessions that were created so many seconds after the beginning: the newest first.
    fn page(sessions: &[(i64, usize)], part: &Part) -> Page<CheckoutSession> {
        let place = |id: &str| {
            sessions
                .iter()
                .position(|(_, n)| format!("cs_{n}") == id)
                .unwrap()
                + 1
        };
        let rest = &sessions[part.after.as_deref().map_or(0, place)..];
        let within = |(created, _): &&(i64, usize)| (part.from..part.to).contains(&at(*created).timestamp());
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

    /// Lists everything, in the order that `chance` says, and begins anew from the cursor after each page: how often each
    /// session was listed, how many calls it took, and how many parts there were at most.
    fn list_all(
        sessions: &[(i64, usize)],
        known: u64,
        chance: &[usize],
    ) -> (BTreeMap<String, u32>, u64, usize) {
        let mut run = run();
        let (mut listed, mut calls, mut most) = (BTreeMap::new(), 0, 0);
        loop {
            let mut parts = Parts::of(&run);
            if calls == 0 {
                parts.expect(known);
            }
            let open = parts.open().to_vec();
            most = most.max(open.len());
            let part = &open[chance[usize::try_from(calls).unwrap() % chance.len()] % open.len()];
            let page = page(sessions, part);
            calls += 1;
            for session in &page.items {
                *listed.entry(session.id.clone().unwrap()).or_default() += 1;
            }
            assert!(matches!(parts.listed(part, &page, calls), Rest::Parts(_)));
            if parts.is_empty() {
                return (listed, calls, most);
            }
            run.cursor = parts.cursor();
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
            let (listed, calls, most) = list_all(&sessions, known, &chance);
            prop_assert_eq!(listed.len(), sessions.len());
            prop_assert!(listed.values().all(|times| *times == 1));
            let pages = (sessions.len() as u64).div_ceil(100).max(1);
            prop_assert!(calls <= pages + pages / PAGES_A_SPLIT + 1, "{} calls for {} pages", calls, pages);
            prop_assert!(most <= MOST_PARTS);
        }
    }

    #[test]
    fn a_month_of_12_000_sessions_is_listed_in_eight_parts_at_once_where_they_are_known() {
        let sessions = numbered((0..12_000).map(|n| n * SPAN / 12_000).collect());
        let round = |known| list_all(&sessions, known, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let (_, calls, most) = round(12_000);
        assert_eq!(most, MOST_PARTS);
        assert!(calls <= 128, "{calls}");
        // Where no webhook came, the pages themselves must show that there are more.
        assert_eq!(round(0).2, MOST_PARTS);
    }

    #[test]
    fn a_cursor_of_before_there_were_parts_is_gone_on_from() {
        let mut run = run();
        run.cursor = "cs_7".to_owned();
        let parts = Parts::of(&run);
        assert_eq!(parts.open()[0].after.as_deref(), Some("cs_7"));
        assert_eq!(parts.open().len(), 1);
    }
}
