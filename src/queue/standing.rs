//! Where one job stands, for who waits for it.

use chrono::{DateTime, Utc};

use super::client::Queue;
use super::error::QueueError;
use super::job::{Data, Job};
use super::scripts;

/// A job that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing<J> {
    pub state: Stage,
    /// Attempts that have begun.
    pub attempts: u32,
    /// `None` where it cannot be read.
    pub job: Option<J>,
}

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a worker.
    Waiting,
    /// A worker has it.
    Running,
    /// It runs (again) then, by Redis' clock.
    Scheduled(Option<DateTime<Utc>>),
    /// It is a dead letter, for this reason.
    Dead(String),
}

impl Queue {
    /// Where a job stands; `None`: there is none of this id (any more). One round trip.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn standing<J: Job>(&self, id: &str) -> Result<Option<Standing<J>>, QueueError> {
        type Told = (String, String, String, Vec<u8>, String, String, Vec<String>);
        let told: Told = scripts::INSPECT_JOB
            .on(&["sched", "dead", "lease"].map(|name| self.key(name)))
            .arg(self.prefix())
            .arg(id)
            .invoke_async(&mut self.connection.clone())
            .await?;
        let (state, at, _, data, reason, _, _) = told;
        let at = at.split('.').next().and_then(|ms| ms.parse().ok());
        let state = match state.as_str() {
            "" => return Ok(None),
            "waiting" => Stage::Waiting,
            "running" => Stage::Running,
            "scheduled" => Stage::Scheduled(at.and_then(DateTime::from_timestamp_millis)),
            "dead" => Stage::Dead(reason),
            _ => return Err(QueueError::Answer("inspect_job")),
        };
        let data = Data::parse(&data).ok();
        let begun = data.as_ref().map_or(0, |data| data.attempts);
        Ok(Some(Standing {
            attempts: begun + u32::from(state == Stage::Running),
            job: data.and_then(|data| J::decode(data.kind, data.version, data.payload).ok()),
            state,
        }))
    }
}
