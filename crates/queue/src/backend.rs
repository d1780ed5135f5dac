//! The apalis backend: what a worker polls for jobs.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::alone::ProcessGate;
use super::client::{Queue, QueueConfig};
use super::completer::{self, Completer, CompleterLayer, Completion, Outcome};
use super::error::{Failure, QueueError, Retry};
use super::fetch::{Claimed, Fetcher};
use super::job::{Data, DecodeError, Job};
use super::lease::{Lease, keep, resync};
use super::workers;

/// The most kinds and versions that one worker warns of.
const MOST_WARNINGS: usize = 100;

/// A queue as an apalis backend, for one worker.
pub struct RedisBackend<J> {
    queue: Queue,
    lease: Arc<Lease>,
    gate: ProcessGate,
    concurrency: usize,
    prefetch: usize,
    completer: Option<Completer>,
    /// Kinds and versions that this worker does not know, each logged once.
    left: HashSet<String>,
    running: Option<Running>,
    closing: Option<BoxFuture<'static, ()>>,
    /// Cancelled when the worker must stop.
    stop: CancellationToken,
    /// Cancelled when the backend is dropped: its tasks end with it.
    end: CancellationToken,
    _jobs: PhantomData<J>,
}

/// Returns the jobs that a worker holds, at the end of its grace period.
#[derive(Debug, Clone)]
pub struct GiveBack {
    queue: Queue,
    lease: Arc<Lease>,
}

impl GiveBack {
    /// Puts every held job back to the front and ends the lease; takes at most 2 s, after which the lease expires by itself.
    /// For jobs whose handlers run, the attempt does not count.
    pub async fn run(&self) {
        let term = self.lease.term();
        let back = async {
            let mut total = 0;
            loop {
                match resync(&self.queue, &term, &[], true).await? {
                    0 => {
                        workers::forget(&self.queue, &self.lease.name).await?;
                        return Ok::<_, QueueError>(total);
                    }
                    jobs => total += jobs,
                }
            }
        };
        match tokio::time::timeout(Duration::from_secs(2), back).await {
            Ok(Ok(0)) => {}
            Ok(Ok(jobs)) => tracing::info!(jobs, "jobs returned to the queue"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "jobs not returned to the queue; they run elsewhere when the lease expires");
            }
            Err(_) => tracing::warn!("jobs not returned in time; they run elsewhere when the lease expires"),
        }
        let _ = self.lease.end(&term);
    }
}

struct Running {
    fetcher: JoinHandle<()>,
    jobs: mpsc::UnboundedReceiver<Claimed>,
}

impl<J: Job> RedisBackend<J> {
    /// A backend for the worker `name`, which must be unique among all that ever run: give it a random part. The
    /// worker runs at most `concurrency` jobs at once and holds up to `prefetch` more, ready to run.
    #[must_use]
    pub fn new(queue: &Queue, name: &str, concurrency: usize, prefetch: usize) -> Self {
        let end = CancellationToken::new();
        Self {
            queue: queue.clone(),
            lease: Arc::new(Lease::new(name.to_owned())),
            gate: ProcessGate::new(),
            concurrency: concurrency.max(1),
            prefetch,
            completer: None,
            left: HashSet::new(),
            running: None,
            closing: None,
            stop: end.child_token(),
            end,
            _jobs: PhantomData,
        }
    }

    /// Shares its process with the workers of other queues: a job that runs alone is alone among all of theirs.
    #[must_use]
    pub fn with_gate(mut self, gate: &ProcessGate) -> Self {
        self.gate = gate.clone();
        self
    }

    /// Returns what the worker still holds when it cannot wait for its handlers any longer.
    #[must_use]
    pub fn give_back(&self) -> GiveBack {
        GiveBack {
            queue: self.queue.clone(),
            lease: self.lease.clone(),
        }
    }

    /// If this is cancelled, the worker claims no more jobs and returns what no handler has begun. apalis closes a backend only
    /// after the last handler has ended, so cancel this as well when the worker must stop.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    fn completer(&mut self) -> Completer {
        let (queue, lease, end) = (&self.queue, &self.lease, &self.end);
        self.completer
            .get_or_insert_with(|| completer::start(queue, lease.clone(), end.child_token()))
            .clone()
    }

    fn start(&mut self) -> std::io::Result<&mut Running> {
        if self.running.is_none() {
            keep(
                &self.queue,
                self.lease.clone(),
                self.concurrency,
                self.end.clone(),
            )?;
            let (sender, jobs) = mpsc::unbounded_channel();
            self.gate.join(&self.lease);
            let fetcher = Fetcher {
                queue: self.queue.clone(),
                lease: self.lease.clone(),
                gate: self.gate.clone(),
                concurrency: self.concurrency,
                prefetch: self.prefetch,
                jobs: sender,
                stop: self.stop.clone(),
                end: self.end.clone(),
            };
            self.running = Some(Running {
                fetcher: tokio::spawn(fetcher.run()),
                jobs,
            });
        }
        self.running
            .as_mut()
            .ok_or_else(|| std::io::Error::other("the fetcher has stopped"))
    }

    /// Turns a claimed job into apalis' task. A job of an unknown kind is left to a newer worker. One that cannot be
    /// decoded becomes a dead letter.
    fn task(&mut self, job: Claimed) -> Option<Task<J>> {
        let decoded = Data::parse(&job.data)
            .and_then(|data| Ok((J::decode(data.kind, data.version, data.payload)?, data)));
        let error = match decoded {
            Ok((args, data)) => {
                let task = TaskBuilder::new(args)
                    .task_id(TaskId::from_string(job.id))
                    .data(data.origin())
                    // The worker counts one more when it begins.
                    .attempt(data.attempts as usize)
                    .max_attempts(self.queue.config.retry.max_attempts as usize);
                return Some(task.build());
            }
            Err(error) => error,
        };
        let code = match &error {
            DecodeError::UnknownKind(_) => "unknown_kind",
            DecodeError::UnknownVersion { .. } => "unknown_version",
            DecodeError::Payload(_) | DecodeError::Header => "undecodable",
        };
        let outcome = if code == "undecodable" {
            tracing::error!(job = job.id, %error, "dead letter: the payload cannot be decoded");
            Outcome::Dead(Failure::new(code, Retry::Never, &error.to_string()))
        } else {
            // Once for each kind: such jobs come again and again.
            let known = self.left.len() >= MOST_WARNINGS || !self.left.insert(error.to_string());
            if !known {
                tracing::warn!(job = job.id, %error, "this worker does not know the job's kind or version; a newer worker may");
            }
            Outcome::Leave(Failure::new(code, Retry::Backoff, &error.to_string()))
        };
        let (claim, term) = self.lease.begin(&job.id)?;
        let completion = Completion {
            term,
            id: job.id,
            claim,
            outcome,
        };
        let completer = self.completer();
        tokio::spawn(async move { completer.call(completion).await });
        None
    }
}

impl<J> Drop for RedisBackend<J> {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl<J> std::fmt::Debug for RedisBackend<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisBackend")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl<J: Job + Unpin> Backend for RedisBackend<J> {
    type Task = Task<J>;
    type Error = QueueError;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), QueueError>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<J>, QueueError>>> {
        loop {
            let Ok(running) = self.start() else {
                return Poll::Ready(None);
            };
            let Some(job) = ready!(running.jobs.poll_recv(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(task) = self.task(job) {
                return Poll::Ready(Some(Ok(task)));
            }
        }
    }

    /// Stops claiming, returns what no handler has begun, and ends the lease. Without Redis it stops trying after a while, and
    /// the lease expires.
    fn poll_close(&mut self, cx: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), QueueError>> {
        if self.closing.is_none() {
            let Some(running) = self.running.take() else {
                return Poll::Ready(Ok(()));
            };
            let (stop, give_back) = (self.stop.clone(), self.give_back());
            self.closing = Some(
                async move {
                    stop.cancel();
                    let _ = running.fetcher.await;
                    // The handlers have ended: what is still held has not begun.
                    give_back.run().await;
                }
                .boxed(),
            );
        }
        if let Some(closing) = &mut self.closing {
            ready!(closing.poll_unpin(cx));
            self.closing = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl<J: Job + Unpin> BackendConfig for RedisBackend<J> {
    type Args = J;
    type Id = String;
    /// Decoding is ours, so that a payload that cannot be decoded becomes a dead letter.
    type Kind = Ephemeral;
    type Config = QueueConfig;
    type Layer = CompleterLayer;

    fn config(&self) -> &QueueConfig {
        self.queue.config()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> CompleterLayer {
        CompleterLayer {
            queue: self.queue.clone(),
            lease: self.lease.clone(),
            completer: self.completer(),
        }
    }
}
