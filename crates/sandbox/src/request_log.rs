//! A log of all API calls, for tests: how many a sync made, and which failed.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::faults::ApiFault;

/// How many calls are kept. Beyond that the oldest go, and are still counted.
const KEPT: usize = 100_000;

#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    calls: VecDeque<LoggedCall>,
    total: u64,
    counts: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct LoggedCall {
    pub(crate) id: String,
    /// The sandbox's time.
    pub(crate) at: DateTime<Utc>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) account: Option<String>,
    /// None: there was no answer.
    pub(crate) status: Option<u16>,
    pub(crate) fault: Option<ApiFault>,
}

/// The log as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    total: u64,
    /// By method and path, where ids are `{id}`, then by status; `none` where there was no answer.
    counts: &'a BTreeMap<String, BTreeMap<String, u64>>,
    /// The newest last.
    requests: Vec<&'a LoggedCall>,
}

impl RequestLog {
    pub(crate) fn add(&mut self, call: LoggedCall) {
        let status = call
            .status
            .map_or_else(|| "none".to_owned(), |status| status.to_string());
        let route = format!("{} {}", call.method, route(&call.path));
        *self.counts.entry(route).or_default().entry(status).or_default() += 1;
        self.total += 1;
        if self.calls.len() == KEPT {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }

    /// The newest calls whose path begins with `path`, `limit` at most.
    pub(crate) fn show(&self, path: &str, limit: usize) -> Shown<'_> {
        let fitting = self.calls.iter().rev().filter(|call| call.path.starts_with(path));
        let mut requests: Vec<_> = fitting.take(limit).collect();
        requests.reverse();
        Shown {
            total: self.total,
            counts: &self.counts,
            requests,
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The path with `{id}` in place of what holds a digit or stands where only an id can.
fn route(path: &str) -> String {
    let parts = path.split('/').enumerate().map(|(nth, part)| {
        let is_id = nth > 2 && part.contains(|letter: char| letter.is_ascii_digit());
        if is_id { "{id}" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}
