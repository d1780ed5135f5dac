//! Workers whose handlers the test directs.

use std::sync::Arc;
use std::time::Duration;

use apalis::layers::WorkerBuilderExt;
use apalis::prelude::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use surepass::queue::{GiveBack, Queue, RedisBackend};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Work};

pub(crate) type Ending = Result<(), BoxDynError>;
/// What a handler does with an attempt: the job, and which attempt it is.
pub(crate) type Act = Arc<dyn Fn(Work, usize) -> BoxFuture<'static, Ending> + Send + Sync>;

pub(crate) fn act<F: Future<Output = Ending> + Send + 'static>(
    act: impl Fn(Work, usize) -> F + Send + Sync + 'static,
) -> Act {
    Arc::new(move |job, attempt| act(job, attempt).boxed())
}

/// Succeeds at once.
pub(crate) fn ok() -> Act {
    act(|_, _| async { Ok(()) })
}

/// Runs until it is cancelled, or its worker dies.
pub(crate) fn hang() -> Act {
    act(|_, _| std::future::pending())
}

/// Runs until the test lets it go on.
pub(crate) fn gated() -> (Act, Arc<tokio::sync::Semaphore>) {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let inner = Arc::clone(&gate);
    let wait = act(move |_, _| {
        let gate = Arc::clone(&inner);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    });
    (wait, gate)
}

/// What a worker's handlers tell the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Began(String, usize),
    Ended(String, usize),
    /// The handler was dropped in the middle.
    Dropped(String, usize),
}

pub(crate) fn began(id: &str, attempt: usize) -> Told {
    Told::Began(id.to_owned(), attempt)
}

pub(crate) fn ended(id: &str, attempt: usize) -> Told {
    Told::Ended(id.to_owned(), attempt)
}

/// Tells how a handler ended, even when it is dropped.
struct Ear {
    told: mpsc::UnboundedSender<Told>,
    id: String,
    attempt: usize,
    ended: bool,
}

impl Drop for Ear {
    fn drop(&mut self) {
        let (id, attempt) = (self.id.clone(), self.attempt);
        let told = if self.ended {
            Told::Ended(id, attempt)
        } else {
            Told::Dropped(id, attempt)
        };
        let _ = self.told.send(told);
    }
}

#[derive(Clone)]
struct Desk {
    told: mpsc::UnboundedSender<Told>,
    act: Act,
}

async fn handle(job: Work, attempt: Attempt, desk: Data<Desk>) -> Ending {
    let (id, attempt) = (job.0.clone(), attempt.current());
    let _ = desk.told.send(began(&id, attempt));
    let mut ear = Ear {
        told: desk.told.clone(),
        id,
        attempt,
        ended: false,
    };
    let answer = (desk.act)(job, attempt).await;
    ear.ended = true;
    answer
}

/// How much a worker takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) concurrency: usize,
    pub(crate) prefetch: usize,
    /// The longest that an attempt may take.
    pub(crate) timeout: Duration,
}

impl Size {
    pub(crate) const fn of(concurrency: usize, prefetch: usize) -> Self {
        Self {
            concurrency,
            prefetch,
            timeout: Duration::from_mins(10),
        }
    }
}

pub(crate) struct Worker {
    pub(crate) told: mpsc::UnboundedReceiver<Told>,
    pub(crate) give_back: GiveBack,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    pub(crate) async fn next(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("the worker told nothing")
            .expect("the worker is gone")
    }

    /// Waits until `jobs` attempts have ended; answers all that was told meanwhile. Redis may not know of the last of them
    /// yet: who reads there waits with [`super::World::until_counts`], or until the worker has stopped.
    pub(crate) async fn until_ended(&mut self, jobs: usize) -> Vec<Told> {
        let mut all = Vec::new();
        let mut count = 0;
        while count < jobs {
            let told = self.next().await;
            count += usize::from(matches!(told, Told::Ended(..)));
            all.push(told);
        }
        all
    }

    /// Dies as a killed process does: nothing is settled, nothing is given back, the lease is not renewed.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Asks it to stop in good order.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end; answers what its handlers still told.
    pub(crate) async fn stopped(mut self) -> Vec<Told> {
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("the worker does not stop")
            .unwrap()
            .unwrap();
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }

    pub(crate) async fn stop(self) -> Vec<Told> {
        self.ask_to_stop();
        self.stopped().await
    }

    pub(crate) fn lives(&self) -> bool {
        !self.task.is_finished()
    }
}

/// Hires a worker for a queue, over whatever way that queue goes to its Redis.
pub(crate) fn hire(queue: &Queue, name: &str, size: Size, act: Act) -> Worker {
    let (sender, told) = mpsc::unbounded_channel();
    let backend = RedisBackend::<Work>::new(queue, name, size.concurrency, size.prefetch);
    let give_back = backend.give_back();
    let stop = CancellationToken::new();
    let (asked, no_more) = (stop.clone(), backend.stop());
    let worker = WorkerBuilder::new(name)
        .backend(backend)
        .data(Desk { told: sender, act })
        .concurrency(size.concurrency)
        .timeout(size.timeout)
        .build(handle);
    let task = tokio::spawn(worker.run_until(async move {
        asked.cancelled().await;
        no_more.cancel();
        Ok::<(), std::io::Error>(())
    }));
    Worker {
        told,
        give_back,
        stop,
        task,
    }
}
