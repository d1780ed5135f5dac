//! The completer acknowledges each attempt. It is the outermost layer around the handler, so it also sees time-outs and panics
//! of the inner layers.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use futures::FutureExt;
use futures::future::BoxFuture;
use redis::Value;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::client::{Queue, millis};
use super::error::{Failure, QueueError, Retry};
use super::lease::{Claim, Lease, Term};
use super::metrics::Operation;
use super::recover::LONGEST_DELAY;
use super::scripts;
use surepass_base::batcher::{BatchLimits, Batcher};

/// The most attempts in one call: what the script unpacks is bounded.
const LARGEST_SETTLEMENT: usize = 500;

/// How often an acknowledgement that Redis refuses is tried while no other one succeeds either.
const MOST_REFUSALS: u32 = 10;

/// A put-off attempt does not count, so it must not repeat in a tight loop.
const SHORTEST_PUT_OFF: Duration = Duration::from_secs(1);

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Retry {
        delay: Duration,
        failure: Failure,
    },
    Dead(Failure),
    /// Its turn at a limit has not come: it runs later, and the attempt does not count.
    PutOff {
        delay: Duration,
        failure: Failure,
    },
    /// This worker does not know the job's kind: a newer worker may, and the attempt does not count.
    Leave(Failure),
}

#[derive(Debug)]
pub(super) struct Completion {
    pub(super) term: Arc<Term>,
    pub(super) id: String,
    pub(super) claim: Claim,
    pub(super) outcome: Outcome,
}

/// Acknowledges attempts in batches. Clones share one task.
pub(super) type Completer = Batcher<Completion, bool>;

/// Starts the completer. It keeps trying while Redis is unavailable, until `abandon`.
pub(super) fn start(queue: &Queue, lease: Arc<Lease>, abandon: CancellationToken) -> Completer {
    let queue = queue.clone();
    let limits = BatchLimits {
        batch: LARGEST_SETTLEMENT,
        waiting: LARGEST_SETTLEMENT,
        parallel: 1,
    };
    Batcher::start(limits, move |batch: Vec<Completion>| {
        let (queue, lease, abandon) = (queue.clone(), lease.clone(), abandon.clone());
        async move {
            let mut answers = vec![false; batch.len()];
            let mut from = 0;
            // A batch spans two terms only when the lease was lost in between.
            while from < batch.len() {
                let term = &batch[from].term;
                let to = from
                    + batch[from..]
                        .iter()
                        .take_while(|one| Arc::ptr_eq(&one.term, term))
                        .count();
                let part = &batch[from..to];
                if let Some(mine) = abandon.run_until_cancelled(settle(&queue, term, part)).await {
                    answers[from..to].copy_from_slice(&mine);
                }
                lease.release(term, part.iter().map(|one| (one.id.as_str(), one.claim.number)));
                from = to;
            }
            answers
        }
    })
}

async fn settle(queue: &Queue, term: &Term, batch: &[Completion]) -> Vec<bool> {
    let mut pause = Duration::from_millis(20);
    let mut refused = 0;
    loop {
        match try_settle(queue, term, batch).await {
            Ok(mine) => {
                if let Some(after) = queue.acks.answered() {
                    tracing::info!(seconds = after.as_secs(), "attempts are acknowledged again");
                }
                record(queue, batch, &mine);
                return mine;
            }
            Err(error) => {
                queue.metrics.redis_failed(Operation::Settle, &error);
                let is_worth_a_line = queue.acks.failed().is_some();
                if error.is_broken_data() {
                    refused += 1;
                    if let Some(mine) = settle_each(queue, term, batch, refused).await {
                        return mine;
                    }
                    if is_worth_a_line {
                        let jobs = batch.len();
                        tracing::warn!(%error, jobs, "attempts not acknowledged: trying again until Redis takes them");
                    }
                } else {
                    queue.failed(&error);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
        }
    }
}

fn record(queue: &Queue, batch: &[Completion], mine: &[bool]) {
    for (one, mine) in batch.iter().zip(mine) {
        if *mine {
            queue.metrics.settled(&one.claim, &one.outcome);
        } else {
            tracing::warn!(
                job = one.id,
                attempt = one.claim.attempt,
                "lease lost before the job was acknowledged; result ignored"
            );
        }
    }
}

/// Acknowledges one by one, so that one job with broken keys does not block the others. That job is released, and runs again.
/// `None`: none can be acknowledged, so the batch is worth another try.
async fn settle_each(queue: &Queue, term: &Term, batch: &[Completion], refused: u32) -> Option<Vec<bool>> {
    let mut answers = Vec::with_capacity(batch.len());
    for one in batch.chunks(1) {
        answers.push(try_settle(queue, term, one).await);
    }
    if refused < MOST_REFUSALS && answers.iter().all(Result::is_err) {
        return None;
    }
    if answers.iter().any(Result::is_ok) {
        let _ = queue.acks.answered();
    }
    let settled = batch.iter().zip(answers).map(|(one, answer)| match answer {
        Ok(mine) => {
            record(queue, std::slice::from_ref(one), &mine);
            mine == [true]
        }
        Err(error) => {
            tracing::error!(job = one.id, %error, "this job cannot be acknowledged and runs again, because one of its keys in Redis is broken; \
                remove it with `surepass jobs discard`");
            false
        }
    });
    Some(settled.collect())
}

#[derive(Serialize)]
struct ErrorRecord<'a> {
    attempt: u32,
    claimed: i64,
    worker: &'a str,
    code: &'a str,
    error: &'a str,
}

async fn try_settle(queue: &Queue, term: &Term, batch: &[Completion]) -> Result<Vec<bool>, QueueError> {
    let mut call = begin(queue, term);
    for one in batch {
        let (outcome, delay, failure) = match &one.outcome {
            Outcome::Done => ("done", Duration::ZERO, None),
            Outcome::Retry { delay, failure } => ("retry", (*delay).min(LONGEST_DELAY), Some(failure)),
            Outcome::Dead(failure) => ("dead", Duration::ZERO, Some(failure)),
            Outcome::PutOff { delay, failure } => ("put_off", (*delay).min(LONGEST_DELAY), Some(failure)),
            Outcome::Leave(failure) => ("leave", queue.config.leave_unknown, Some(failure)),
        };
        call.arg(&one.id)
            .arg(one.claim.number)
            .arg(one.claim.attempt)
            .arg(outcome)
            .arg(millis(delay));
        match failure {
            None => call.arg("").arg(""),
            Some(failure) => {
                let record = ErrorRecord {
                    attempt: one.claim.attempt,
                    claimed: one.claim.at,
                    worker: &term.token,
                    code: &failure.code,
                    error: &failure.message,
                };
                let mark = if failure.retry == Retry::Never { "" } else { "~" };
                call.arg(serde_json::to_vec(&record)?)
                    .arg(format!("{mark}{}", failure.code))
            }
        };
    }
    let answers: Vec<Value> = call.invoke_async(&mut queue.connection.clone()).await?;
    if answers.len() != batch.len() {
        return Err(QueueError::Answer("settle"));
    }
    Ok(answers
        .into_iter()
        .map(|answer| answer == Value::Int(1))
        .collect())
}

/// Makes dead letters of claimed jobs whose ids are not UTF-8: no command can name them.
pub(super) async fn dead_letter(
    queue: &Queue,
    term: &Term,
    claim: u64,
    ids: &[Vec<u8>],
) -> Result<(), QueueError> {
    let record = ErrorRecord {
        attempt: 1,
        claimed: 0,
        worker: &term.token,
        code: "undecodable",
        error: "the job's id is not UTF-8",
    };
    let record = serde_json::to_vec(&record)?;
    let mut call = begin(queue, term);
    for id in ids {
        tracing::error!(job = %String::from_utf8_lossy(id), "dead letter: its id is not UTF-8");
        call.arg(id).arg(claim).arg(1).arg("dead").arg(0);
        call.arg(&record).arg("undecodable");
    }
    let _: Value = call.invoke_async(&mut queue.connection.clone()).await?;
    queue.metrics.dead_lettered(ids.len() as u64);
    Ok(())
}

fn begin(queue: &Queue, term: &Term) -> scripts::Call {
    let keys = ["sched", "done", "dead", "stats"].map(|name| queue.key(name));
    let mut call = scripts::SETTLE.on(&keys);
    call.arg(queue.prefix()).arg(&term.token);
    call.arg(queue.config.keep_done_jobs)
        .arg(millis(queue.config.keep_done));
    call
}

/// Wraps the worker's service in [`CompleterService`].
#[derive(Clone)]
pub struct CompleterLayer {
    pub(super) queue: Queue,
    pub(super) lease: Arc<Lease>,
    pub(super) completer: Completer,
}

impl std::fmt::Debug for CompleterLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CompleterLayer")
    }
}

impl<S> tower::Layer<S> for CompleterLayer {
    type Service = CompleterService<S>;

    fn layer(&self, inner: S) -> CompleterService<S> {
        CompleterService {
            inner,
            layer: Arc::new(self.clone()),
        }
    }
}

/// Runs an attempt, and acknowledges it in Redis before it answers.
#[derive(Debug, Clone)]
pub struct CompleterService<S> {
    inner: S,
    /// Shared, because a copy would be 360 bytes in each attempt.
    layer: Arc<CompleterLayer>,
}

impl<S, A> tower::Service<Task<A>> for CompleterService<S>
where
    S: tower::Service<Task<A>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxDynError>,
    S::Response: Send + 'static,
    A: Send + 'static,
{
    type Response = Option<S::Response>;
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<A>) -> Self::Future {
        let id = task
            .ctx()
            .task_id()
            .and_then(|id| id.as_string().map(str::to_owned));
        let held = id.and_then(|id| self.layer.lease.begin(&id).map(|(claim, term)| (id, claim, term)));
        let Some((id, claim, term)) = held else {
            // While the job waited here, the lease was lost or the worker was told to stop: another worker has the job.
            return async { Ok(None) }.boxed();
        };
        self.layer.queue.metrics.started(&claim);
        let began = Instant::now();
        // A handler may also panic before it returns its future.
        let running = std::panic::catch_unwind(AssertUnwindSafe(|| self.inner.call(task)));
        let layer = self.layer.clone();
        async move {
            let ended = match running {
                Err(panic) => Err(panic),
                Ok(future) => {
                    let mut attempt = pin!(AssertUnwindSafe(future).catch_unwind());
                    match term.lost.run_until_cancelled(attempt.as_mut()).await {
                        Some(ended) => ended,
                        None => return Ok(None),
                    }
                }
            };
            layer.queue.metrics.ran(&claim, began.elapsed());
            let (outcome, answer) = layer.classify(claim.attempt, ended);
            let completion = Completion {
                term,
                id,
                claim,
                outcome,
            };
            // Unanswered: the worker is stopping, and its lease will expire.
            let _ = layer.completer.call(completion).await;
            answer.map(Some)
        }
        .boxed()
    }
}

type Ended<R, E> = Result<Result<R, E>, Box<dyn std::any::Any + Send>>;

impl CompleterLayer {
    fn classify<R, E: Into<BoxDynError>>(
        &self,
        attempt: u32,
        ended: Ended<R, E>,
    ) -> (Outcome, Result<R, BoxDynError>) {
        let (failure, error) = match ended {
            Ok(Ok(answer)) => return (Outcome::Done, Ok(answer)),
            Ok(Err(error)) => {
                let error = error.into();
                (Failure::of(&error), error)
            }
            Err(panic) => {
                let failure = Failure::panic(panic.as_ref());
                let error = format!("panic: {}", failure.message).into();
                (failure, error)
            }
        };
        let policy = &self.queue.config.retry;
        let delay = match failure.retry {
            Retry::PutOff(delay) => {
                let delay = delay.max(SHORTEST_PUT_OFF);
                return (Outcome::PutOff { delay, failure }, Err(error));
            }
            Retry::Never => None,
            _ if attempt >= policy.max_attempts => None,
            Retry::After(delay) => Some(delay),
            Retry::Backoff => Some(policy.delay(attempt, (self.queue.config.noise)())),
        };
        let outcome = match delay {
            Some(delay) => Outcome::Retry { delay, failure },
            None => Outcome::Dead(failure),
        };
        (outcome, Err(error))
    }
}
