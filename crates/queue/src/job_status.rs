//! The status of jobs by their ids: of many at once, or of one in detail.

use chrono::{DateTime, Utc};
use redis::Cmd;
use serde::{Deserialize, Serialize};

use super::client::{LARGEST_CALL, Queue};
use super::error::QueueError;
use super::job::{Data, Job};
use super::scripts;

/// Whether a job is still to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobStatus {
    /// It is waiting, scheduled or running.
    Live,
    /// It is a dead letter.
    Dead { reason: String, transient: bool },
    /// It is done, or never existed.
    Gone,
}

/// Where a job is in its life cycle.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It is with a worker.
    Running,
    /// It does not run again unless a person retries it.
    Dead,
    /// It runs later.
    Scheduled,
    /// It runs as soon as a worker is free.
    #[default]
    Waiting,
    /// It succeeded.
    Done,
}

impl JobState {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Dead,
        Self::Scheduled,
        Self::Waiting,
        Self::Done,
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Dead => "dead",
            Self::Scheduled => "scheduled",
            Self::Waiting => "waiting",
            Self::Done => "done",
        }
    }
}

/// All that Redis holds of one job.
#[derive(Debug)]
pub(super) struct JobRecord {
    /// `None`: it is done, or never existed.
    pub(super) state: Option<JobState>,
    /// When it is due, died, or was claimed, in ms since 1970.
    pub(super) at: Option<u64>,
    /// The token of the worker that runs it.
    pub(super) worker: Option<String>,
    pub(super) data: Vec<u8>,
    /// Why it is dead.
    pub(super) reason: String,
    pub(super) is_transient: bool,
    /// Its last failed attempts, oldest first, as JSON.
    pub(super) errors: Vec<String>,
}

/// How far a job has come that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobProgress<J> {
    pub state: JobState,
    /// Of a scheduled job: when it runs (again), by Redis' clock.
    pub next_run: Option<DateTime<Utc>>,
    /// Attempts that have begun.
    pub attempts: u32,
    /// `None` where it cannot be read.
    pub job: Option<J>,
}

impl Queue {
    /// The status of each of these jobs, in their order.
    pub async fn job_statuses(&self, ids: &[String]) -> Result<Vec<JobStatus>, QueueError> {
        type Answer = (bool, Option<f64>, (Option<String>, Option<String>));
        let mut statuses = Vec::with_capacity(ids.len());
        for ids in ids.chunks(LARGEST_CALL) {
            let mut pipe = redis::pipe();
            for id in ids {
                pipe.exists(self.key(&format!("data:{id}")))
                    .zscore(self.key("dead"), id)
                    .hmget(self.key(&format!("job:{id}")), &["reason", "transient"]);
            }
            let answers: Vec<redis::Value> = pipe.query_async(&mut self.connection.clone()).await?;
            for answer in answers.chunks(3) {
                let answer = redis::Value::Array(answer.to_vec());
                let (is_there, died, (reason, transient)): Answer =
                    redis::from_redis_value(answer).map_err(|_| QueueError::Answer("job_statuses"))?;
                statuses.push(match (is_there, died) {
                    (false, _) => JobStatus::Gone,
                    (true, None) => JobStatus::Live,
                    (true, Some(_)) => JobStatus::Dead {
                        reason: reason.unwrap_or_default(),
                        transient: transient.as_deref() == Some("1"),
                    },
                });
            }
        }
        Ok(statuses)
    }

    /// All that Redis holds of a job. One round trip.
    pub(super) async fn record(&self, id: &str) -> Result<JobRecord, QueueError> {
        type Answer = (String, String, String, Vec<u8>, String, String, Vec<String>);
        let answer: Answer = scripts::INSPECT_JOB
            .on(&["sched", "dead", "lease"].map(|name| self.key(name)))
            .arg(self.prefix())
            .arg(id)
            .invoke_async(&mut self.connection.clone())
            .await?;
        let (state, at, worker, data, reason, transient, errors) = answer;
        Ok(JobRecord {
            state: match state.as_str() {
                "" => None,
                name => Some(JobState::named(name).ok_or(QueueError::Answer("inspect_job"))?),
            },
            at: at.split('.').next().and_then(|ms| ms.parse().ok()),
            worker: Some(worker).filter(|worker| !worker.is_empty()),
            data,
            reason,
            is_transient: transient == "1",
            errors,
        })
    }

    /// The progress of a job; `None` where it is done, or never existed. One round trip.
    pub async fn job_progress<J: Job>(&self, id: &str) -> Result<Option<JobProgress<J>>, QueueError> {
        let record = self.record(id).await?;
        let Some(state) = record.state else {
            return Ok(None);
        };
        let data = Data::parse(&record.data).ok();
        let begun = data.as_ref().map_or(0, |data| data.attempts);
        let due = record.at.filter(|_| state == JobState::Scheduled);
        Ok(Some(JobProgress {
            next_run: due
                .and_then(|ms| i64::try_from(ms).ok())
                .and_then(DateTime::from_timestamp_millis),
            attempts: begun + u32::from(state == JobState::Running),
            job: data.and_then(|data| J::decode(data.kind, data.version, data.payload).ok()),
            state,
        }))
    }

    /// The payload of a job that is not done; `None` also where it cannot be read.
    pub async fn payload<J: Job>(&self, id: &str) -> Result<Option<J>, QueueError> {
        let data: Option<Vec<u8>> = Cmd::get(self.key(&format!("data:{id}")))
            .query_async(&mut self.connection.clone())
            .await?;
        let read = |data: &Vec<u8>| {
            let data = Data::parse(data).ok()?;
            J::decode(data.kind, data.version, data.payload).ok()
        };
        Ok(data.as_ref().and_then(read))
    }
}
