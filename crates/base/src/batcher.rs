//! Group commit: many callers, few round trips.
//!
//! A [`Batcher`] gathers what concurrent callers ask for, hands it as one batch to one function, and gives each
//! caller its own answer. It adds no delay: while one batch is under way the next one gathers, so a lone caller is
//! served at once and a crowd is served together.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};

/// How much a [`Batcher`] takes at once.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Requests in one batch, at most. At least 1.
    pub batch: usize,
    /// Requests that wait for a batch; callers beyond that wait to be let in. At least 1.
    pub waiting: usize,
    /// Batches under way at the same time. At least 1.
    pub parallel: usize,
}

/// The batch of this request ended without an answer to it: its function panicked, gave too few answers, or the
/// runtime is shutting down. What the request asked for may have been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch ended without an answer")]
pub struct Unanswered;

struct Pending<Request, Answer> {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

/// Gathers requests into batches. Clones share the same batches; when the last one is dropped, what waits is still
/// served.
pub struct Batcher<Request, Answer> {
    queue: mpsc::Sender<Pending<Request, Answer>>,
}

impl<Request: Send + 'static, Answer: Send + 'static> Batcher<Request, Answer> {
    /// Starts the tasks that call `run` with each batch, never an empty one. `run` answers every request, in the
    /// order of the batch. Must be called inside a Tokio runtime.
    pub fn start<Run, Running>(limits: BatchLimits, run: Run) -> Self
    where
        Run: Fn(Vec<Request>) -> Running + Send + Sync + 'static,
        Running: Future<Output = Vec<Answer>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(limits.waiting.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        let run = Arc::new(run);
        for _ in 0..limits.parallel.max(1) {
            tokio::spawn(serve(Arc::clone(&waiting), limits.batch.max(1), Arc::clone(&run)));
        }
        Self { queue }
    }

    /// Asks for one thing; the future waits for its answer. Where there is room the request is let in by this call, and is
    /// served whatever becomes of the future. Where there is none, it is let in when its turn comes, and dropping the
    /// future before that takes it back.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub fn call(&self, request: Request) -> impl Future<Output = Result<Answer, Unanswered>> + Send {
        let (answer, answered) = oneshot::channel();
        // Letting in is no part of the future, which would have room for the request as long as it waits for the answer.
        let late = match self.queue.try_send(Pending { request, answer }) {
            Ok(()) => None,
            Err(refused) => Some(self.queue.send(refused.into_inner()).boxed()),
        };
        async move {
            if let Some(letting_in) = late {
                letting_in.await.map_err(|_| Unanswered)?;
            }
            answered.await.map_err(|_| Unanswered)
        }
    }
}

async fn serve<Request, Answer, Run, Running>(
    waiting: Arc<Mutex<mpsc::Receiver<Pending<Request, Answer>>>>,
    limit: usize,
    run: Arc<Run>,
) where
    Run: Fn(Vec<Request>) -> Running,
    Running: Future<Output = Vec<Answer>>,
{
    let mut pending = Vec::new();
    loop {
        // The lock is held while waiting: another task of the same batcher takes its turn when this one has a
        // batch in hand.
        if waiting.lock().await.recv_many(&mut pending, limit).await == 0 {
            return;
        }
        let (requests, callers): (Vec<_>, Vec<_>) =
            pending.drain(..).map(|one| (one.request, one.answer)).unzip();
        // A panic ends this batch (its callers hear `Unanswered`), not the task: the next batch is served.
        let Ok(answers) = AssertUnwindSafe(async { run(requests).await })
            .catch_unwind()
            .await
        else {
            continue;
        };
        for (caller, answer) in callers.into_iter().zip(answers) {
            // A caller that has gone away does not want its answer.
            let _ = caller.send(answer);
        }
    }
}

impl<Request, Answer> Clone for Batcher<Request, Answer> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<Request, Answer> std::fmt::Debug for Batcher<Request, Answer> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("waiting", &(self.queue.max_capacity() - self.queue.capacity()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use tokio::sync::Semaphore;

    use super::*;

    const ONE_AT_A_TIME: BatchLimits = BatchLimits {
        batch: 100,
        waiting: 1_000,
        parallel: 1,
    };

    type Batches = Arc<StdMutex<Vec<Vec<u32>>>>;

    /// Doubles numbers, panics at 13; waits for a permit of `gate` before each batch; records the served.
    fn doubler(limits: BatchLimits) -> (Batcher<u32, u32>, Arc<Semaphore>, Batches) {
        let gate = Arc::new(Semaphore::new(0));
        let served = Arc::new(StdMutex::new(Vec::new()));
        let (inner_gate, inner_served) = (Arc::clone(&gate), Arc::clone(&served));
        let batcher = Batcher::start(limits, move |batch: Vec<u32>| {
            let (gate, served) = (Arc::clone(&inner_gate), Arc::clone(&inner_served));
            async move {
                gate.acquire().await.unwrap().forget();
                served.lock().unwrap().push(batch.clone());
                assert!(!batch.contains(&13), "thirteen");
                batch.iter().map(|number| number * 2).collect()
            }
        });
        (batcher, gate, served)
    }

    #[tokio::test]
    async fn each_caller_gets_its_own_answer_and_a_crowd_shares_batches() {
        let (batcher, gate, served) = doubler(ONE_AT_A_TIME);
        gate.add_permits(1_000);
        let answers = futures::future::join_all((100..350).map(|number| batcher.call(number))).await;
        assert_eq!(
            answers,
            (100..350).map(|number| Ok(number * 2)).collect::<Vec<_>>()
        );
        let sizes: Vec<_> = served.lock().unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 250);
        assert!(
            sizes.iter().all(|size| *size <= 100) && sizes.len() < 10,
            "{sizes:?}"
        );
    }

    #[tokio::test]
    async fn while_one_batch_is_under_way_the_next_one_gathers() {
        let (batcher, gate, served) = doubler(ONE_AT_A_TIME);
        let first = tokio::spawn({
            let batcher = batcher.clone();
            async move { batcher.call(1).await }
        });
        tokio::task::yield_now().await;
        // The first batch has been taken when nothing waits any more.
        while batcher.queue.capacity() != batcher.queue.max_capacity() {
            tokio::task::yield_now().await;
        }
        let mut rest = Box::pin(futures::future::join_all(
            (2..6).map(|number| batcher.call(number)),
        ));
        assert!(futures::poll!(rest.as_mut()).is_pending());
        gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Ok(2));
        assert_eq!(rest.await, [Ok(4), Ok(6), Ok(8), Ok(10)]);
        assert_eq!(*served.lock().unwrap(), [vec![1], vec![2, 3, 4, 5]]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_does_no_harm() {
        let (batcher, gate, served) = doubler(ONE_AT_A_TIME);
        let mut leaver = Box::pin(batcher.call(1));
        assert!(futures::poll!(leaver.as_mut()).is_pending());
        drop(leaver);
        gate.add_permits(2);
        assert_eq!(batcher.call(2).await, Ok(4));
        assert_eq!(served.lock().unwrap().concat(), [1, 2]);
    }

    #[tokio::test]
    async fn where_there_is_no_room_a_request_waits_for_its_turn_and_can_be_taken_back() {
        let (batcher, gate, served) = doubler(BatchLimits {
            batch: 1,
            waiting: 1,
            ..ONE_AT_A_TIME
        });
        let first = batcher.call(1);
        while batcher.queue.capacity() == 0 {
            tokio::task::yield_now().await;
        }
        let second = batcher.call(2);
        let mut leaver = Box::pin(batcher.call(3));
        let mut last = Box::pin(batcher.call(4));
        assert!(futures::poll!(leaver.as_mut()).is_pending());
        assert!(futures::poll!(last.as_mut()).is_pending());
        drop(leaver);
        gate.add_permits(4);
        assert_eq!(futures::join!(first, second, last), (Ok(2), Ok(4), Ok(8)));
        assert_eq!(served.lock().unwrap().concat(), [1, 2, 4]);
    }

    #[tokio::test]
    async fn a_batch_that_panics_fails_its_own_callers_only() {
        let (batcher, gate, _) = doubler(BatchLimits {
            batch: 1,
            ..ONE_AT_A_TIME
        });
        gate.add_permits(3);
        let answers = futures::future::join_all([12, 13, 14].map(|number| batcher.call(number))).await;
        assert_eq!(answers, [Ok(24), Err(Unanswered), Ok(28)]);
    }

    #[tokio::test]
    async fn several_batches_run_at_once_when_asked_to() {
        let barrier = Arc::new(tokio::sync::Barrier::new(3));
        let limits = BatchLimits {
            batch: 1,
            waiting: 10,
            parallel: 3,
        };
        let batcher = Batcher::start(limits, move |batch: Vec<u32>| {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                batch
            }
        });
        let answers = futures::future::join_all([1, 2, 3].map(|number| batcher.call(number))).await;
        assert_eq!(answers, [Ok(1), Ok(2), Ok(3)]);
    }
}
