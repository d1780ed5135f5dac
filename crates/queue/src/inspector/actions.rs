//! Retries and discards jobs, pauses and resumes queues. Who may do that, and the record of it, are the caller's concern.

use serde::Serialize;

use super::cursor::{Cursor, Position};
use super::list::Scanned;
use super::{Filter, InspectError, Inspector, JobState, Order};
use crate::QueueError;
use crate::client::Queue;
use crate::scripts::{self, Script};

/// The most jobs in one call of a script.
const CHUNK: usize = 500;
/// The most places of waiting lines that one call looks at for the jobs that it takes out.
const LOOKED_AT: usize = 200_000;

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

impl Inspector {
    /// Lets dead jobs run again from their first attempt, and scheduled ones now. One that runs is left alone, and one
    /// that waits has nothing to gain.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn retry(&self, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        self.act(Act::Retry, ids).await
    }

    /// Takes jobs out of the queue for good, with all that is kept of them. An attempt under way is not stopped; how it
    /// ends changes nothing in the queue.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn discard(&self, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        self.act(Act::Discard, ids).await
    }

    /// Retries all dead or scheduled jobs that fit, in portions. Reports its progress after each.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn retry_all(
        &self,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        Self::check_retry(filter)?;
        self.act_on_all(Act::Retry, filter, progress).await
    }

    /// Discards all jobs that fit, in portions. Reports its progress after each.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn discard_all(
        &self,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        Self::check_discard(filter)?;
        self.act_on_all(Act::Discard, filter, progress).await
    }

    /// Refuses a filter by which nothing can be retried.
    ///
    /// # Errors
    /// [`InspectError::Filter`].
    pub fn check_retry(filter: &Filter) -> Result<(), InspectError> {
        match filter.state {
            Some(JobState::Dead | JobState::Scheduled) => Ok(()),
            _ => Err(InspectError::Filter(
                "only dead and scheduled jobs can be retried: say which",
            )),
        }
    }

    /// Refuses a filter by which nothing can be discarded.
    ///
    /// # Errors
    /// [`InspectError::Filter`].
    pub fn check_discard(filter: &Filter) -> Result<(), InspectError> {
        match filter.state {
            None | Some(JobState::Done) => Err(InspectError::Filter(
                "dead, scheduled, waiting or running jobs can be discarded: say which",
            )),
            Some(_) => Ok(()),
        }
    }

    /// Stops workers from taking jobs of a queue.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn pause(&self, queue: &str) -> Result<(), InspectError> {
        Ok(self.queue(queue)?.pause().await?)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`InspectError`].
    pub async fn resume(&self, queue: &str) -> Result<(), InspectError> {
        Ok(self.queue(queue)?.resume().await?)
    }

    async fn act(&self, act: Act, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
        let mut outcomes = vec![Outcome::Unknown; ids.len()];
        for queue in &self.queues {
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

    async fn act_on_all(
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
            let scanned = self.scanned(filter, order, cursor, CHUNK, CHUNK).await?;
            let mut gone = Vec::new();
            for queue in &self.queues {
                let of_queue = scanned.fit.iter().filter(|job| job.queue == queue.config.name);
                let ids: Vec<String> = of_queue.map(|job| job.id.clone()).collect();
                let outcomes = act.run(queue, state, &ids).await?;
                tally.matched += ids.len();
                let done = ids.into_iter().zip(outcomes).filter(|(_, one)| one.is_done());
                gone.extend(done.map(|(id, _)| id));
            }
            tally.done += gone.len();
            progress(tally);
            let Some(next) = behind_what_is_left(&scanned, before, &gone) else {
                return Ok(tally);
            };
            cursor = Some(next);
        }
    }
}

/// Where to go on when some of the jobs of this scanned are gone. A waiting line is read from behind a job, so it must be
/// one that still stands there.
fn behind_what_is_left(scanned: &Scanned, before: Option<Cursor>, gone: &[String]) -> Option<Cursor> {
    let mut next = scanned.next.clone()?;
    let Some(place) = next.place.as_mut().filter(|_| next.state == JobState::Waiting) else {
        return Some(next);
    };
    let mut in_line = scanned.seen.iter().filter(|(_, at)| at.line == place.line);
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
        *place = Position {
            at: at.at - f64::from(taken),
            ..at.clone()
        };
    } else {
        let line = std::mem::take(&mut place.line);
        *place = before
            .and_then(|before| before.place)
            .filter(|before| before.line == line)
            .unwrap_or(Position {
                line,
                ..Position::default()
            });
    }
    Some(next)
}

impl Act {
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
