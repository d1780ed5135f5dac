//! Selects jobs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::JobSummary;
use crate::JobState;
use crate::enqueue::group;

/// Which end of a list comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    Newest,
    Oldest,
}

impl Order {
    /// What has ended is listed newest first, what is to come in the order in which it comes.
    pub(super) fn of(state: JobState) -> Self {
        match state {
            JobState::Dead | JobState::Done => Self::Newest,
            JobState::Running | JobState::Scheduled | JobState::Waiting => Self::Oldest,
        }
    }
}

/// Selects jobs. Every part that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The job's group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Other names of that tenant, any of which a job may carry in its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tenant_names: Vec<String>,
    /// Text in the last error, its code or the reason of death; case is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Ages count from a job's end, and from when it was enqueued where it has not ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub younger_than: Option<Duration>,
}

impl Filter {
    /// The states to read: of a done job neither kind nor tenant nor errors are kept.
    pub(super) fn states(&self) -> Vec<JobState> {
        JobState::ALL
            .into_iter()
            .filter(|state| match self.state {
                Some(wanted) => *state == wanted,
                None => *state != JobState::Done || !self.needs_more_than_done_jobs_keep(),
            })
            .collect()
    }

    pub(super) fn needs_more_than_done_jobs_keep(&self) -> bool {
        self.kind.is_some() || self.tenant.is_some() || self.error.is_some()
    }

    /// Whether every job fits that is in the right state and queue.
    pub(super) fn fits_all(&self) -> bool {
        let ages = [self.older_than, self.younger_than];
        !self.needs_more_than_done_jobs_keep() && ages.iter().all(Option::is_none)
    }

    /// Whether a group is the tenant's: its own one, or a lane of it.
    pub(super) fn is_tenants(&self, group_name: &str) -> bool {
        let Some(tenant) = &self.tenant else { return true };
        std::iter::once(tenant).chain(&self.tenant_names).any(|name| {
            let own = group(name).unwrap_or_else(|| "-".to_owned());
            group_name
                .strip_prefix(&own)
                .is_some_and(|beside| beside.is_empty() || beside.starts_with('.'))
        })
    }

    pub(super) fn fits(&self, job: &JobSummary, now: u64) -> bool {
        let is = |wanted: Option<&str>, is: Option<&str>| wanted.is_none_or(|wanted| is == Some(wanted));
        let age = job.ended.or(job.enqueued).map(|since| now.saturating_sub(since));
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        is(self.kind.as_deref(), job.kind.as_deref())
            && self.is_tenants(job.group())
            && self
                .error
                .as_deref()
                .is_none_or(|text| job.mentions(&text.to_lowercase()))
            && self
                .older_than
                .is_none_or(|limit| age.is_some_and(|age| age > ms(limit)))
            && self
                .younger_than
                .is_none_or(|limit| age.is_some_and(|age| age < ms(limit)))
    }

    /// Whether nothing that comes after this job in this order can fit: lists of ended jobs are in order of their age.
    pub(super) fn ends_at(&self, job: &JobSummary, order: Order, now: u64) -> bool {
        let Some(ended) = job.ended else { return false };
        let age = u128::from(now.saturating_sub(ended));
        match order {
            Order::Newest => self.younger_than.is_some_and(|limit| age > limit.as_millis()),
            Order::Oldest => self.older_than.is_some_and(|limit| age < limit.as_millis()),
        }
    }
}
