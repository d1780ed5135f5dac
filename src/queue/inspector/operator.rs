//! Acts of a person, each in the audit log.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;

use super::cursor::{Cursor, Place};
use super::list::Stretch;
use super::{Filter, InspectError, Inspector, JobState, Order, now};
use crate::queue::QueueError;
use crate::queue::client::Queue;
use crate::queue::scripts::{self, Script};
use crate::store::{AuditRecord, Store};

/// The most jobs in one call of a script.
const CHUNK: usize = 500;
/// The most places of waiting lines that one call looks at for the jobs that it takes out.
const LOOKED_AT: usize = 200_000;
/// The most ids that the audit log spells out; of more it tells how many.
const IDS_TOLD: usize = 1_000;

/// Somebody who steers, and why.
#[derive(Debug)]
pub struct Operator<'a> {
    pub inspector: &'a Inspector,
    pub store: &'a dyn Store,
    /// `user@host`, or an admin's name.
    pub who: String,
    pub why: Option<String>,
}

/// What became of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It waits, to run at once.
    Retried,
    /// It is gone.
    Discarded,
    /// Nothing was done: this is where it is.
    Left(JobState),
    /// Nothing was done: there is no such job, or it is done.
    Unknown,
}

/// What became of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Tally {
    /// So many jobs fitted,
    pub matched: usize,
    /// and with so many it was done; the others had moved on.
    pub done: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Retry,
    Discard,
}

impl Operator<'_> {
    /// Lets dead jobs run again from their first attempt, and scheduled ones now. One that runs is left alone, and one
    /// that waits has nothing to gain.
    ///
    /// # Errors
    /// [`InspectError`]; what was done until then is done.
    pub async fn retry(&self, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        self.each(Act::Retry, ids).await
    }

    /// Takes jobs out of the queue for good, with all that is kept of them. An attempt under way is not stopped; how it
    /// ends changes nothing in the queue.
    ///
    /// # Errors
    /// [`InspectError`]; what was done until then is done.
    pub async fn discard(&self, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        self.each(Act::Discard, ids).await
    }

    /// Retries all dead or scheduled jobs that fit, in portions; tells its progress after each.
    ///
    /// # Errors
    /// [`InspectError`]; what was done until then is done.
    pub async fn retry_all(
        &self,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        if !matches!(filter.state, Some(JobState::Dead | JobState::Scheduled)) {
            return Err(InspectError::Filter(
                "only dead and scheduled jobs can be retried: say which",
            ));
        }
        self.all(Act::Retry, filter, progress).await
    }

    /// Discards all jobs that fit, in portions; tells its progress after each.
    ///
    /// # Errors
    /// [`InspectError`]; what was done until then is done.
    pub async fn discard_all(
        &self,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        if matches!(filter.state, None | Some(JobState::Done)) {
            return Err(InspectError::Filter(
                "dead, scheduled, waiting or running jobs can be discarded: say which",
            ));
        }
        self.all(Act::Discard, filter, progress).await
    }

    /// Lets no worker take jobs of a queue any more.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn pause(&self, queue: &str) -> Result<(), InspectError> {
        let target = self.inspector.queue(queue)?;
        let audit = self.begin("queue.pause", &json!({ "queue": queue })).await?;
        let done = target.pause().await.map_err(InspectError::from);
        self.end(&audit, done, |()| "paused".to_owned()).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn resume(&self, queue: &str) -> Result<(), InspectError> {
        let target = self.inspector.queue(queue)?;
        let audit = self.begin("queue.resume", &json!({ "queue": queue })).await?;
        let done = target.resume().await.map_err(InspectError::from);
        self.end(&audit, done, |()| "resumed".to_owned()).await
    }

    async fn each(&self, act: Act, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        let told = &ids[..ids.len().min(IDS_TOLD)];
        let target = json!({ "ids": told, "count": ids.len() });
        let audit = self.begin(act.name(), &target).await?;
        let done = self.try_each(act, ids).await;
        self.end(&audit, done, |outcomes| {
            let left = outcomes.iter().filter(|one| !one.is_done()).count();
            format!("{} of {}", outcomes.len() - left, outcomes.len())
        })
        .await
    }

    async fn try_each(&self, act: Act, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        let mut outcomes = vec![Outcome::Unknown; ids.len()];
        for queue in &self.inspector.queues {
            // What one queue does not know another may.
            let open: Vec<usize> = (0..ids.len())
                .filter(|n| outcomes[*n] == Outcome::Unknown)
                .collect();
            let wanted: Vec<String> = open.iter().map(|n| ids[*n].clone()).collect();
            let answers = act.run(queue, None, &wanted).await?;
            for (n, answer) in open.into_iter().zip(answers) {
                outcomes[n] = answer;
            }
        }
        Ok(outcomes)
    }

    async fn all(
        &self,
        act: Act,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        let audit = self.begin(act.name(), &json!({ "filter": filter })).await?;
        let done = self.try_all(act, filter, progress).await;
        self.end(&audit, done, |tally| {
            format!("{} of {} that fitted", tally.done, tally.matched)
        })
        .await
    }

    async fn try_all(
        &self,
        act: Act,
        filter: &Filter,
        mut progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        let state = filter.state;
        // Last first where there is a choice: a job that runs and fails meanwhile does not come up again.
        let order = (state != Some(JobState::Waiting)).then_some(Order::Newest);
        let (mut cursor, mut tally) = (None, Tally::default());
        loop {
            let before = cursor.clone();
            let stretch = self
                .inspector
                .stretch(filter, order, cursor, CHUNK, CHUNK)
                .await?;
            let mut gone = Vec::new();
            for queue in &self.inspector.queues {
                let of_queue = stretch.fit.iter().filter(|job| job.queue == queue.config.name);
                let ids: Vec<String> = of_queue.map(|job| job.id.clone()).collect();
                let outcomes = act.run(queue, state, &ids).await?;
                tally.matched += ids.len();
                let done = ids.into_iter().zip(outcomes).filter(|(_, one)| one.is_done());
                gone.extend(done.map(|(id, _)| id));
            }
            tally.done += gone.len();
            progress(tally);
            let Some(next) = behind_what_is_left(&stretch, before, &gone) else {
                return Ok(tally);
            };
            cursor = Some(next);
        }
    }

    /// Written before the act, so that even one that is cut off has left its trace.
    async fn begin(&self, action: &str, target: &serde_json::Value) -> Result<String, InspectError> {
        let id = ulid::Ulid::generate().to_string();
        let record = AuditRecord {
            id: id.clone(),
            actor: self.who.clone(),
            action: action.to_owned(),
            target: target.to_string(),
            reason: self.why.clone(),
            began_at: self.clock().await?,
            ended_at: None,
            outcome: None,
        };
        let begun = self.store.begin_audit(&record).await;
        begun.map(|()| id).map_err(InspectError::Audit)
    }

    async fn end<T>(
        &self,
        id: &str,
        done: Result<T, InspectError>,
        word: impl FnOnce(&T) -> String,
    ) -> Result<T, InspectError> {
        let outcome = match &done {
            Ok(done) => word(done),
            Err(error) => format!("failed: {error}"),
        };
        // Redis may be what failed: then the end is told with the time of this machine.
        let ended = self.clock().await;
        let ended = ended.unwrap_or_else(|_| crate::clock::Clock::system().now());
        if let Err(error) = self.store.end_audit(id, ended, &outcome).await {
            // The act is done, and its beginning is written: to fail it now would be a lie.
            tracing::warn!(audit = id, %error, outcome, "the end of an act is not in the audit log");
        }
        done
    }

    async fn clock(&self) -> Result<DateTime<Utc>, InspectError> {
        let queue = self.inspector.queues.first().ok_or(InspectError::Cursor)?;
        let ms = i64::try_from(now(queue).await?).unwrap_or_default();
        Ok(DateTime::from_timestamp_millis(ms).unwrap_or_default())
    }
}

/// Where to go on when some of the jobs of this stretch are gone. A waiting line is read from behind a job, so it must be
/// one that still stands there.
fn behind_what_is_left(stretch: &Stretch, before: Option<Cursor>, gone: &[String]) -> Option<Cursor> {
    let mut next = stretch.next.clone()?;
    let Some(place) = next.place.as_mut().filter(|_| next.state == JobState::Waiting) else {
        return Some(next);
    };
    let mut in_line = stretch.seen.iter().filter(|(_, at)| at.line == place.line);
    let gone: std::collections::HashSet<&str> = gone.iter().map(String::as_str).collect();
    let is_gone = |id: &str| gone.contains(id);
    let last = in_line.clone().rev().find(|(id, _)| !is_gone(id));
    if let Some((_, at)) = last {
        let taken = in_line
            .by_ref()
            .take_while(|(_, one)| one.entry != at.entry)
            .filter(|(id, _)| is_gone(id))
            .count();
        let taken = u32::try_from(taken).unwrap_or_default();
        *place = Place {
            at: at.at - f64::from(taken),
            ..at.clone()
        };
    } else {
        let line = std::mem::take(&mut place.line);
        *place = before
            .and_then(|before| before.place)
            .filter(|before| before.line == line)
            .unwrap_or(Place {
                line,
                ..Place::default()
            });
    }
    Some(next)
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Self::Retry => "jobs.retry",
            Self::Discard => "jobs.discard",
        }
    }

    fn script(self) -> &'static Script {
        match self {
            Self::Retry => &scripts::RETRY,
            Self::Discard => &scripts::DISCARD,
        }
    }

    /// Does it to these jobs of a queue, as long as they are in this state; answers for each.
    async fn run(
        self,
        queue: &Queue,
        only: Option<JobState>,
        ids: &[String],
    ) -> Result<Vec<Outcome>, InspectError> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(ids.len());
        while outcomes.len() < ids.len() {
            let rest = &ids[outcomes.len()..];
            let keys = ["sched", "dead", "lease", "stats"].map(|name| queue.key(name));
            let mut call = self.script().on(&keys);
            call.arg(queue.prefix()).arg(only.map_or("", JobState::as_str));
            if self == Self::Discard {
                call.arg(LOOKED_AT);
            }
            call.arg(&rest[..rest.len().min(CHUNK)]);
            let words: Vec<String> = call.invoke_async(&mut queue.connection.clone()).await?;
            if words.is_empty() {
                return Err(QueueError::Answer("inspect").into());
            }
            for word in words {
                outcomes.push(outcome(&word).ok_or(QueueError::Answer("inspect"))?);
            }
        }
        Ok(outcomes)
    }
}

fn outcome(word: &str) -> Option<Outcome> {
    Some(match word {
        "retried" => Outcome::Retried,
        "discarded" => Outcome::Discarded,
        "unknown" => Outcome::Unknown,
        _ => Outcome::Left(JobState::ALL.into_iter().find(|state| state.as_str() == word)?),
    })
}

impl Outcome {
    /// Whether it was done.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Retried | Self::Discarded)
    }
}
