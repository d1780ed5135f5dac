//! One job's whole life.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::personal;
use super::walk::done;
use super::{InspectError, Inspector, State, instant, now};
use crate::queue::QueueError;
use crate::queue::client::Queue;
use crate::queue::job::Data;
use crate::queue::scripts;

/// How many of the newest done jobs are looked through for one, and in what portions.
const MOST_DONE: isize = 100_000;
const DONE_PORTION: isize = 2_000;

/// All that is known of a job. Instants are in ms since 1970, by Redis' clock.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    pub id: String,
    pub queue: String,
    pub state: State,
    /// What is not kept of a done job, or cannot be read of a broken one, is absent.
    pub kind: Option<String>,
    pub version: Option<u32>,
    pub tenant: Option<String>,
    pub trace: Option<String>,
    #[serde(serialize_with = "instant::maybe")]
    pub enqueued: Option<u64>,
    /// Attempts so far, the present one included.
    pub attempts: Option<u32>,
    /// How often its worker died of it, or with it.
    pub crashes: Option<u32>,
    /// Of a scheduled job: when it runs.
    #[serde(serialize_with = "instant::maybe")]
    pub next_run: Option<u64>,
    /// Of a running one: since when, and on which worker.
    #[serde(serialize_with = "instant::maybe")]
    pub running_since: Option<u64>,
    pub worker: Option<String>,
    /// When it was done, or died.
    #[serde(serialize_with = "instant::maybe")]
    pub ended: Option<u64>,
    /// Why it is dead, and whether that may have passed.
    pub reason: Option<String>,
    pub transient: Option<bool>,
    /// The last 20 that failed, oldest first.
    pub failed_attempts: Vec<Attempt>,
    pub payload: Option<Value>,
    /// The clock that all of this goes by.
    #[serde(serialize_with = "instant::one")]
    pub now: u64,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub attempt: u32,
    pub worker: String,
    /// Not known of a worker that died.
    #[serde(default)]
    #[serde(serialize_with = "instant::maybe")]
    pub claimed: Option<u64>,
    #[serde(serialize_with = "instant::one")]
    pub ended: u64,
    pub code: String,
    pub error: String,
}

impl Inspector {
    /// A job's life; `None` where there is no such job, or no more. `personal` tells names and emails in the clear.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn job(&self, id: &str, personal: bool) -> Result<Option<Life>, InspectError> {
        for queue in &self.queues {
            if let Some(mut life) = look(queue, id).await? {
                if !personal {
                    life.payload.as_mut().map(personal::mask).unwrap_or_default();
                    for attempt in &mut life.failed_attempts {
                        attempt.error = personal::emails(&attempt.error);
                    }
                }
                return Ok(Some(life));
            }
        }
        Ok(None)
    }
}

async fn look(queue: &Queue, id: &str) -> Result<Option<Life>, InspectError> {
    type Told = (String, String, String, Vec<u8>, String, String, Vec<String>);
    let told: Told = scripts::INSPECT_JOB
        .on(&["sched", "dead", "lease"].map(|name| queue.key(name)))
        .arg(queue.prefix())
        .arg(id)
        .invoke_async(&mut queue.connection.clone())
        .await?;
    let (state, at, worker, data, reason, transient, errors) = told;
    let mut life = Life {
        id: id.to_owned(),
        queue: queue.config.name.clone(),
        state: State::Done,
        kind: None,
        version: None,
        tenant: None,
        trace: None,
        enqueued: None,
        attempts: None,
        crashes: None,
        next_run: None,
        running_since: None,
        worker: None,
        ended: None,
        reason: None,
        transient: None,
        failed_attempts: errors
            .iter()
            .filter_map(|error| serde_json::from_str(error).ok())
            .collect(),
        payload: None,
        now: now(queue).await?,
    };
    let at = at.split('.').next().and_then(|ms| ms.parse().ok());
    life.state = match state.as_str() {
        "waiting" => State::Waiting,
        "dead" => State::Dead,
        "scheduled" => State::Scheduled,
        "running" => State::Running,
        "" => {
            let Some((ended, attempts)) = find_done(queue, id).await? else {
                return Ok(None);
            };
            life.ended = ended;
            life.attempts = attempts;
            return Ok(Some(life));
        }
        _ => return Err(QueueError::Answer("inspect_job").into()),
    };
    match life.state {
        State::Dead => life.ended = at,
        State::Scheduled => life.next_run = at,
        State::Running => (life.running_since, life.worker) = (at, Some(worker)),
        State::Waiting | State::Done => {}
    }
    if life.state == State::Dead {
        life.reason = Some(reason).filter(|reason| !reason.is_empty());
        life.transient = Some(transient == "1");
    }
    life.read(&data);
    Ok(Some(life))
}

impl Life {
    /// What the job's own data tells.
    fn read(&mut self, data: &[u8]) {
        let Ok(header) = Data::parse(data) else { return };
        self.kind = Some(header.kind.to_owned());
        self.version = Some(header.version);
        self.tenant = header.group.map(str::to_owned);
        self.trace = header.trace.map(str::to_owned);
        self.enqueued = Some(header.enqueued);
        self.attempts = Some(header.attempts + u32::from(self.state == State::Running));
        let line = &data[..data.len() - header.payload.len()];
        self.crashes = String::from_utf8_lossy(line)
            .trim_end()
            .rsplit(' ')
            .next()
            .and_then(|count| count.parse().ok());
        self.payload = serde_json::from_slice(header.payload).ok();
    }
}

/// When a job was done, and at which attempt; looks through the newest.
async fn find_done(queue: &Queue, id: &str) -> Result<Option<(Option<u64>, Option<u32>)>, InspectError> {
    let mut from = -1;
    while from > -MOST_DONE {
        let portion: Vec<String> = redis::Cmd::lrange(queue.key("done"), from - DONE_PORTION + 1, from)
            .query_async(&mut queue.connection.clone())
            .await?;
        let entry = portion.iter().rev().map(|entry| done(entry));
        if let Some((_, ended, attempts)) = entry.into_iter().find(|(done, ..)| *done == id) {
            return Ok(Some((ended, attempts)));
        }
        if portion.is_empty() {
            break;
        }
        from -= DONE_PORTION;
    }
    Ok(None)
}
