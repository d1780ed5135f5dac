//! Claims jobs from Redis for a worker, in batches, and sleeps while there are none.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::alone::{Mode, ProcessGate, Turns};
use super::client::{Queue, millis};
use super::completer::dead_letter;
use super::error::QueueError;
use super::job::Data;
use super::lease::{Claim, Lease, Term, resync};
use super::listen::listen;
use super::metrics::Operation;
use super::scripts;

/// An idle worker claims this often even if nothing wakes it, for retries that others have scheduled and for the jobs of dead
/// workers.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Between two checks whether the other queues of the process still hold jobs.
const SHORT_SLEEP: Duration = Duration::from_millis(20);
/// How long the first try to return jobs may take. [`GiveBack`](super::GiveBack) is the last one.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// The most jobs in one claim: what the script unpacks is bounded.
const LARGEST_CLAIM: usize = 500;

/// A job as it was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) data: Vec<u8>,
}

enum Answer {
    Jobs {
        jobs: Vec<Claimed>,
        next_due: Option<Duration>,
    },
    /// A job that runs alone waits for this worker.
    Suspects,
    LeaseLost,
}

/// Claims jobs until `stop`, and never holds more than `concurrency + prefetch`. Then returns what has not begun.
pub(super) struct Fetcher {
    pub(super) queue: Queue,
    pub(super) lease: Arc<Lease>,
    pub(super) gate: ProcessGate,
    pub(super) concurrency: usize,
    pub(super) prefetch: usize,
    pub(super) jobs: mpsc::UnboundedSender<Claimed>,
    pub(super) stop: CancellationToken,
    /// The worker has ended: its jobs are not ours any more.
    pub(super) end: CancellationToken,
}

impl Fetcher {
    pub(super) async fn run(self) {
        let mut wake = wakes(&self.queue, &self.stop);
        let mut pause = Duration::ZERO;
        let mut turns = Turns::new(self.gate.clone(), self.lease.clone());
        while !self.stop.is_cancelled() {
            let next = async {
                let room = self.room().await;
                (room, turns.next().await)
            };
            let Some((room, (mode, claiming))) = self.stop.run_until_cancelled(next).await else {
                break;
            };
            // Before the claim, so that a wake-up between claim and sleep is not missed.
            wake.mark_unchanged();
            let answer = self.claim(room, mode).await;
            drop(claiming);
            match answer {
                Ok(Answer::LeaseLost) => {}
                Ok(Answer::Suspects) => {
                    pause = Duration::ZERO;
                    turns.begin().await;
                }
                Ok(Answer::Jobs { jobs, next_due }) => {
                    self.queue.answered();
                    pause = Duration::ZERO;
                    let claimed = jobs.len();
                    for job in jobs {
                        // The receiver goes only after this task has ended.
                        let _ = self.jobs.send(job);
                    }
                    if mode == Mode::Alone {
                        let _ = self.stop.run_until_cancelled(turns.ran_alone(claimed)).await;
                    } else if claimed < room {
                        let longest = if turns.waits_for_others() {
                            SHORT_SLEEP
                        } else {
                            LONGEST_SLEEP
                        };
                        let nap = next_due.unwrap_or(longest).min(longest);
                        // A job that this worker finishes may make room under the queue's limit.
                        let limited = self.queue.config.limits.running > 0;
                        tokio::select! {
                            Ok(()) = wake.changed() => {}
                            () = self.lease.freed.notified(), if limited => {}
                            () = tokio::time::sleep(nap) => {}
                            () = self.stop.cancelled() => {}
                        }
                    }
                }
                Err(error) => {
                    self.queue.metrics.redis_failed(Operation::Claim, &error);
                    // The claim may have succeeded in Redis.
                    self.lease.doubt();
                    self.queue.failed(&error);
                    pause = (pause * 2).clamp(Duration::from_millis(50), Duration::from_secs(1));
                    let _ = self.stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
        let hand_back = tokio::time::timeout(RETURN_TIMEOUT, self.hand_back());
        match self.end.run_until_cancelled(hand_back).await {
            Some(Ok(Err(error))) => tracing::debug!(%error, "jobs not returned yet"),
            Some(Err(_)) => tracing::debug!("jobs not returned yet: no answer in time"),
            _ => {}
        }
    }

    /// Handlers may run for long, and jobs that wait behind them would wait as long.
    async fn hand_back(&self) -> Result<(), QueueError> {
        let (term, begun) = self.lease.release_unbegun();
        while resync(&self.queue, &term, &begun, false).await? > 0 {}
        Ok(())
    }

    /// How many jobs to claim, once there is room for a batch.
    async fn room(&self) -> usize {
        loop {
            let freed = self.lease.freed.notified();
            let room = (self.concurrency + self.prefetch).saturating_sub(self.lease.held());
            if room >= self.prefetch.max(1) {
                return room.min(LARGEST_CLAIM);
            }
            freed.await;
        }
    }

    async fn claim(&self, wanted: usize, mode: Mode) -> Result<Answer, QueueError> {
        let config = &self.queue.config;
        if let Some((term, known)) = self.lease.doubted() {
            let back = resync(&self.queue, &term, &known, false).await?;
            if back > 0 {
                tracing::info!(jobs = back, "returned jobs whose claim was never answered");
            }
        }
        let (term, registered) = self.lease.registered();
        let number = self.lease.next_claim();
        let answer: Vec<Value> = scripts::CLAIM
            .on(&["wait", "sched", "lease", "dead"].map(|name| self.queue.key(name)))
            .arg(self.queue.prefix())
            .arg(&term.token)
            .arg(millis(config.lease))
            .arg(wanted)
            .arg(u8::from(!registered))
            .arg(config.retry.max_attempts)
            .arg(config.max_crashes)
            .arg(number)
            .arg(config.limits.running)
            .arg(config.limits.per_second)
            .arg(mode.as_str())
            .invoke_async(&mut self.queue.connection.clone())
            .await?;
        let mut strange = Vec::new();
        let answer = self.read(&term, number, answer, &mut strange)?;
        if !strange.is_empty()
            && let Err(error) = dead_letter(&self.queue, &term, number, &strange).await
        {
            // The other jobs of the claim are held, and must run. These go back, and are claimed again.
            self.queue.metrics.redis_failed(Operation::Settle, &error);
            tracing::warn!(%error, jobs = strange.len(), "jobs with unreadable ids are not dead-lettered yet; trying again");
            self.lease.doubt();
        }
        Ok(answer)
    }

    /// Reads the answer of a claim. `strange` gets the ids that are not UTF-8: no program of ours writes such.
    fn read(
        &self,
        term: &Arc<Term>,
        number: u64,
        answer: Vec<Value>,
        strange: &mut Vec<Vec<u8>>,
    ) -> Result<Answer, QueueError> {
        let mut values = answer.into_iter();
        let next_due = match values.next() {
            None => {
                if self.lease.lose(term) {
                    self.queue.metrics.lease_lost();
                }
                return Ok(Answer::LeaseLost);
            }
            Some(Value::Int(-2)) => {
                let _ = self.lease.take(term, std::iter::empty());
                return Ok(Answer::Suspects);
            }
            Some(Value::Int(ms)) => u64::try_from(ms).ok().map(Duration::from_millis),
            Some(_) => return Err(QueueError::Answer("claim")),
        };
        let Some(Value::Int(at)) = values.next() else {
            return Err(QueueError::Answer("claim"));
        };
        let mut jobs = Vec::with_capacity(values.len() / 2);
        while let Some(id) = values.next() {
            match (id, values.next()) {
                (Value::BulkString(id), Some(Value::BulkString(data))) => match String::from_utf8(id) {
                    Ok(id) => jobs.push(Claimed { id, data }),
                    Err(id) => strange.push(id.into_bytes()),
                },
                _ => return Err(QueueError::Answer("claim")),
            }
        }
        let claimed = std::time::Instant::now();
        let claims = jobs.iter().map(|job| {
            // A header that cannot be read makes its job a dead letter at the first attempt.
            let data = Data::parse(&job.data).ok();
            let claim = Claim {
                number,
                attempt: data.as_ref().map_or(0, |data| data.attempts) + 1,
                at,
                kind: self
                    .queue
                    .metrics
                    .kind(data.as_ref().map_or("", |data| data.kind)),
                waited: data.and_then(|data| waited(data.enqueued, at)),
                claimed,
            };
            (job.id.clone(), claim)
        });
        if !self.lease.take(term, claims) {
            // The lease ended while the answer was on its way; another worker gets these jobs.
            jobs.clear();
        }
        Ok(Answer::Jobs { jobs, next_due })
    }
}

/// How long a job was in Redis; both times are by Redis' clock.
fn waited(enqueued: u64, at: i64) -> Option<Duration> {
    let ms = u64::try_from(at).ok()?.saturating_sub(enqueued);
    Some(Duration::from_millis(ms))
}

/// A counter that changes whenever there may be jobs to claim, also when the subscription begins: a message may have come
/// before.
fn wakes(queue: &Queue, stop: &CancellationToken) -> watch::Receiver<u64> {
    let (woken, wake) = watch::channel(0_u64);
    let (queue, stop) = (queue.clone(), stop.clone());
    tokio::spawn(async move {
        let listening = listen(&queue, "wake", |_| woken.send_modify(|count| *count += 1));
        stop.run_until_cancelled(listening).await;
    });
    wake
}
