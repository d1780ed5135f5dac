//! Retries and discards jobs. Who may do that, and the record of it, are the caller's concern.

use serde::Serialize;

use super::{Filter, InspectError, Inspector, JobState};
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

/// What a person does to jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Dead jobs run again from their first attempt, and scheduled ones now. Running ones are left alone, and waiting ones
    /// have nothing to gain.
    Retry,
    /// Removes jobs for good, with all that is kept of them. An attempt under way is not stopped; how it ends changes nothing
    /// in the queue.
    Discard,
}

impl Inspector {
    /// Refuses a filter by which this cannot be done.
    ///
    /// # Errors
    /// [`InspectError::Filter`].
    pub fn check(act: Act, filter: &Filter) -> Result<(), InspectError> {
        match (act, filter.state) {
            (Act::Retry, Some(JobState::Dead | JobState::Scheduled)) => Ok(()),
            (Act::Retry, _) => Err(InspectError::Filter(
                "only dead and scheduled jobs can be retried: say which",
            )),
            (Act::Discard, None | Some(JobState::Done)) => Err(InspectError::Filter(
                "dead, scheduled, waiting or running jobs can be discarded: say which",
            )),
            (Act::Discard, Some(_)) => Ok(()),
        }
    }

    /// Does it to these jobs.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn act(&self, act: Act, ids: &[String]) -> Result<Vec<Outcome>, InspectError> {
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

    /// Does it to all jobs that fit, in portions. Reports its progress after each.
    ///
    /// # Errors
    /// [`InspectError`]; what was done before it stays done.
    pub async fn act_on_all(
        &self,
        act: Act,
        filter: &Filter,
        mut progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, InspectError> {
        Self::check(act, filter)?;
        let mut tally = Tally::default();
        // All are found first: a job that runs and fails meanwhile does not come up again.
        for (queue, ids) in self.matching(filter, usize::MAX).await? {
            let queue = self.queue(&queue)?;
            for ids in ids.chunks(CHUNK) {
                let outcomes = act.run(queue, filter.state, ids).await?;
                tally.matched += ids.len();
                tally.done += outcomes.into_iter().filter(|one| one.is_done()).count();
                progress(tally);
            }
        }
        Ok(tally)
    }
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
        _ => Outcome::Left(JobState::named(word)?),
    })
}

impl Outcome {
    /// Whether it was done.
    #[must_use]
    pub fn is_done(self) -> bool {
        matches!(self, Self::Retried | Self::Discarded)
    }
}
