//! Group commit: calls of many tasks become one call, and each task still gets its own answer.
//!
//! The intake, the queue's settle layer and the store's writer all spend their time on round trips and commits that
//! cost nearly the same for one item as for a hundred. A [`Coalescer`] adds no delay: a lone item goes out at once,
//! and what arrives while a batch is under way goes together in the next.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// Hands items of many tasks to one operation, in batches. Clones share it.
#[derive(Debug)]
pub struct Coalescer<Item, Answer> {
    items: mpsc::Sender<(Item, oneshot::Sender<Answer>)>,
}

/// The operation is no longer there, or died before it answered: whether the item was carried out is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call was cut off before its answer")]
pub struct CutOff;

impl<Item: Send + 'static, Answer: Send + 'static> Coalescer<Item, Answer> {
    /// Starts the task that gathers items and calls `operation` with up to `longest` of them, one batch at a time, on
    /// the present tokio runtime. `operation` answers each item in its place. `waiting` bounds how many items may
    /// wait; further callers wait for a place.
    ///
    /// The task ends when the last clone is dropped, after the items that were handed in.
    pub fn spawn<F, Fut>(waiting: usize, longest: usize, mut operation: F) -> Self
    where
        F: FnMut(Vec<Item>) -> Fut + Send + 'static,
        Fut: Future<Output = Vec<Answer>> + Send,
    {
        let (items, mut arrivals) = mpsc::channel::<(Item, oneshot::Sender<Answer>)>(waiting);
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(longest);
            while arrivals.recv_many(&mut gathered, longest).await > 0 {
                let (batch, callers): (Vec<_>, Vec<_>) = gathered.drain(..).unzip();
                for (caller, answer) in callers.into_iter().zip(operation(batch).await) {
                    // A caller that went away loses its answer, nothing else.
                    let _ = caller.send(answer);
                }
            }
        });
        Self { items }
    }

    /// Hands in one item and waits for its answer. Dropping the future does not take the item back.
    ///
    /// # Errors
    /// [`CutOff`] where the operation ended without an answer.
    pub async fn call(&self, item: Item) -> Result<Answer, CutOff> {
        let (caller, answer) = oneshot::channel();
        self.items.send((item, caller)).await.map_err(|_| CutOff)?;
        answer.await.map_err(|_| CutOff)
    }
}

impl<Item, Answer> Clone for Coalescer<Item, Answer> {
    fn clone(&self) -> Self {
        Self {
            items: self.items.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn what_arrives_during_a_batch_goes_together_in_the_next() {
        let gate = Arc::new(Semaphore::new(0));
        let batches = Arc::new(std::sync::Mutex::new(Vec::new()));
        let (entered, log) = (gate.clone(), batches.clone());
        let coalescer = Coalescer::spawn(64, 4, move |batch: Vec<u32>| {
            log.lock().unwrap().push(batch.clone());
            let entered = entered.clone();
            async move {
                entered.acquire().await.unwrap().forget();
                batch.into_iter().map(|n| n * 10).collect()
            }
        });
        let calls: Vec<_> = (0..6)
            .map(|n| {
                let coalescer = coalescer.clone();
                tokio::spawn(async move { coalescer.call(n).await })
            })
            .collect();
        while batches.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(3);
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.await.unwrap(), Ok(n * 10));
        }
        let batches = batches.lock().unwrap();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 6);
        assert!(
            batches.len() <= 3 && batches.iter().all(|batch| batch.len() <= 4),
            "{batches:?}"
        );
    }

    #[tokio::test]
    async fn an_operation_that_dies_cuts_its_callers_off() {
        let coalescer: Coalescer<(), ()> =
            Coalescer::spawn(1, 1, |_| async { panic!("a test lets the operation die") });
        assert_eq!(coalescer.call(()).await, Err(CutOff));
        assert_eq!(coalescer.call(()).await, Err(CutOff));
    }
}
