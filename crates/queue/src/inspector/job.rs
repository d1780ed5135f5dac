//! One job's whole life.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::redact;
use super::scan::done;
use super::{InspectError, Inspector, JobState, JobSummary, instant, now};
use crate::client::Queue;
use crate::job::Data;

/// How many of the newest done jobs are looked through for one, and in what portions.
const MOST_DONE: isize = 100_000;
const DONE_PORTION: isize = 2_000;

/// All that is known of a job. Instants are in ms since 1970, by Redis' clock.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JobDetails {
    #[serde(flatten)]
    pub job: JobSummary,
    pub trace: Option<String>,
    /// How often its worker died of it, or with it.
    pub crashes: Option<u32>,
    /// Of a dead one: whether what killed it may have passed.
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
    /// A job's life; `None` where there is no such job, or no more. `personal` shows what is personal in the clear.
    pub async fn job(&self, id: &str, personal: bool) -> Result<Option<JobDetails>, InspectError> {
        for queue in &self.queues {
            if let Some(mut life) = look(queue, id).await? {
                if !personal {
                    let hidden = life
                        .payload
                        .as_mut()
                        .map(|payload| redact::mask(payload, self.plain_fields))
                        .unwrap_or_default();
                    let mask = |text: &str| redact::text(text, &hidden);
                    life.job.error = life.job.error.as_deref().map(mask);
                    for attempt in &mut life.failed_attempts {
                        attempt.error = mask(&attempt.error);
                    }
                }
                return Ok(Some(life));
            }
        }
        Ok(None)
    }
}

impl Inspector {
    /// The ids of all jobs of a kind for one thing, whichever prover's: `{kind}:{thing}` and `{kind}:…:{thing}`. Those that are
    /// there, else one that is done. Reads all keys, so for a person who asks only.
    pub async fn ids_of(&self, kind: &str, thing: &str) -> Result<Vec<String>, InspectError> {
        let is_one = |id: &str| {
            let rest = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':'));
            rest.is_some_and(|rest| rest == thing || rest.ends_with(&format!(":{thing}")))
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let mut ids = Vec::new();
        for queue in &self.queues {
            if thing.bytes().all(is_plain) {
                ids.extend(there(queue, &format!("{kind}:*{thing}")).await?);
            }
        }
        ids.retain(|id| is_one(id));
        ids.sort();
        ids.dedup();
        if ids.is_empty() {
            for queue in &self.queues {
                ids.extend(find_done(queue, is_one).await?.map(|(id, ..)| id));
            }
        }
        Ok(ids)
    }
}

/// The ids of the jobs that are there and fit a pattern of Redis'.
async fn there(queue: &Queue, pattern: &str) -> Result<Vec<String>, InspectError> {
    let prefix = queue.key("data:");
    let pattern = format!("{prefix}{pattern}");
    let (mut ids, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(&pattern)
            .arg("COUNT")
            .arg(1_000);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut queue.connection.clone()).await?;
        let texts = keys.into_iter().filter_map(|key| String::from_utf8(key).ok());
        ids.extend(texts.filter_map(|key| key.strip_prefix(&prefix).map(str::to_owned)));
        if next == 0 {
            return Ok(ids);
        }
        cursor = next;
    }
}

async fn look(queue: &Queue, id: &str) -> Result<Option<JobDetails>, InspectError> {
    let record = queue.record(id).await?;
    let now = now(queue).await?;
    let failed_attempts = attempts_of(&record.errors);
    let Some(state) = record.state else {
        let done = find_done(queue, |done| done == id).await?;
        return Ok(done.map(|(_, ended, attempts)| JobDetails {
            job: JobSummary::done(queue, id.to_owned(), ended, attempts),
            trace: None,
            crashes: None,
            transient: None,
            failed_attempts,
            payload: None,
            now,
        }));
    };
    let header = Data::parse(&record.data).ok();
    let header = header.as_ref();
    let mut job = JobSummary::new(queue, state, id.to_owned(), record.at, record.worker);
    job.read(header);
    job.failed(record.errors.last().map(String::as_str), Some(record.reason));
    Ok(Some(JobDetails {
        job,
        trace: header.and_then(|header| header.trace).map(str::to_owned),
        crashes: header.map(|header| header.crashes),
        transient: (state == JobState::Dead).then_some(record.is_transient),
        failed_attempts,
        payload: header.and_then(|header| serde_json::from_slice(header.payload).ok()),
        now,
    }))
}

fn attempts_of(errors: &[String]) -> Vec<Attempt> {
    errors
        .iter()
        .filter_map(|error| serde_json::from_str(error).ok())
        .collect()
}

/// A job that is done, when it was, and at which attempt; looks through the newest.
async fn find_done(
    queue: &Queue,
    is_it: impl Fn(&str) -> bool,
) -> Result<Option<(String, Option<u64>, Option<u32>)>, InspectError> {
    let mut from = -1;
    while from > -MOST_DONE {
        let portion: Vec<String> = redis::Cmd::lrange(queue.key("done"), from - DONE_PORTION + 1, from)
            .query_async(&mut queue.connection.clone())
            .await?;
        let entry = portion.iter().rev().map(|entry| done(entry));
        if let Some((id, ended, attempts)) = entry.into_iter().find(|(done, ..)| is_it(done)) {
            return Ok(Some((id.to_owned(), ended, attempts)));
        }
        if portion.is_empty() {
            break;
        }
        from -= DONE_PORTION;
    }
    Ok(None)
}
