//! A job as lists show it.

use serde::Serialize;

use super::{Attempt, JobState, instant};
use crate::client::Queue;
use crate::job::Data;

/// A job in a list. Instants are in ms since 1970, by Redis' clock.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSummary {
    pub id: String,
    pub queue: String,
    pub state: JobState,
    /// Absent, as other fields, if it is not kept of a done job or cannot be read of a broken one.
    pub kind: Option<String>,
    pub version: Option<u32>,
    pub tenant: Option<String>,
    #[serde(serialize_with = "instant::maybe")]
    pub enqueued: Option<u64>,
    /// Of a running job the present one, too.
    pub attempts: Option<u32>,
    /// Of a scheduled one: when it runs.
    #[serde(serialize_with = "instant::maybe")]
    pub due: Option<u64>,
    /// Of a running one: when it was claimed, and by whom.
    #[serde(serialize_with = "instant::maybe")]
    pub claimed: Option<u64>,
    pub worker: Option<String>,
    /// When it was done, or died.
    #[serde(serialize_with = "instant::maybe")]
    pub ended: Option<u64>,
    /// Why it is dead.
    pub reason: Option<String>,
    /// The last error.
    pub error: Option<String>,
    pub code: Option<String>,
}

impl JobSummary {
    /// A job in this state since, or until, `at`.
    pub(super) fn new(
        queue: &Queue,
        state: JobState,
        id: String,
        at: Option<u64>,
        worker: Option<String>,
    ) -> Self {
        let when = |states: &[JobState]| at.filter(|_| states.contains(&state));
        Self {
            id,
            queue: queue.config.name.clone(),
            state,
            due: when(&[JobState::Scheduled]),
            claimed: when(&[JobState::Running]),
            ended: when(&[JobState::Dead, JobState::Done]),
            worker,
            ..Self::default()
        }
    }

    pub(super) fn done(queue: &Queue, id: String, ended: Option<u64>, attempts: Option<u32>) -> Self {
        Self {
            attempts,
            ..Self::new(queue, JobState::Done, id, ended, None)
        }
    }

    /// Adds what is in the header of its data.
    pub(super) fn read(&mut self, header: Option<&Data<'_>>) {
        let Some(header) = header else { return };
        self.kind = Some(header.kind.to_owned());
        self.version = Some(header.version);
        self.tenant = header.group.map(str::to_owned);
        self.enqueued = Some(header.enqueued);
        self.attempts = Some(header.attempts + u32::from(self.state == JobState::Running));
    }

    /// Adds how its last failed attempt ended, and why it is dead, if it is.
    pub(super) fn failed(&mut self, last: Option<&str>, reason: Option<String>) {
        self.reason = reason.filter(|reason| self.state == JobState::Dead && !reason.is_empty());
        if let Some(Attempt { error, code, .. }) = last.and_then(|last| serde_json::from_str(last).ok()) {
            (self.error, self.code) = (Some(error), Some(code));
        }
    }

    pub(super) fn group(&self) -> &str {
        self.tenant.as_deref().unwrap_or("-")
    }

    /// Whether its last error, or why it is dead, has this text (in lower case) in it.
    pub(super) fn mentions(&self, text: &str) -> bool {
        [&self.error, &self.code, &self.reason]
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(text))
    }
}
