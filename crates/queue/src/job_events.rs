//! Change notifications for single jobs: one Redis subscription per process, however many jobs are watched.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Queue;
use super::listen::{Notification, listen};

/// After a gap in the subscription all watches wake, in groups of this size with a pause in between: Redis and the store have
/// just come back, and must not get all reads at once.
const WOKEN_AT_ONCE: usize = 50;
const BETWEEN_WAKES: Duration = Duration::from_millis(25);

/// Reports that a job of a queue has changed state: done, dead, scheduled, waiting again. An event is a hint to read the state:
/// it may come without a change, and it may be missing, because Redis pub/sub keeps nothing. Clones share one subscription,
/// which begins with the first watch.
#[derive(Debug, Clone)]
pub struct JobEvents(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The watched jobs. `None`: closed.
    watches: Mutex<Option<HashMap<Arc<str>, watch::Sender<()>>>>,
    wanted: Notify,
    closed: CancellationToken,
}

/// There are no more events: this process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more job events: this process is stopping")]
pub struct Closed;

impl JobEvents {
    /// The events of this queue's jobs. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn of(queue: &Queue) -> Self {
        let events = Self(Arc::new(Inner {
            watches: Mutex::new(Some(HashMap::new())),
            wanted: Notify::new(),
            closed: CancellationToken::new(),
        }));
        let (inner, queue) = (events.clone(), queue.clone());
        tokio::spawn(async move {
            let closed = inner.0.closed.clone();
            closed.run_until_cancelled(inner.run(queue)).await;
        });
        events
    }

    /// Watches a job, which need not exist yet. Read its state after this call: then no change in between is missed.
    pub fn watch(&self, job: &str) -> Result<JobWatch, Closed> {
        let mut watches = self.lock();
        let all = watches.as_mut().ok_or(Closed)?;
        let job: Arc<str> = job.into();
        let changed = all
            .entry(job.clone())
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        self.0.wanted.notify_one();
        Ok(JobWatch {
            events: self.clone(),
            job,
            changed,
        })
    }

    /// Ends all watches.
    pub fn close(&self) {
        self.0.closed.cancel();
        *self.lock() = None;
    }

    async fn run(&self, queue: Queue) {
        self.0.wanted.notified().await;
        let mut waking: Option<JoinHandle<()>> = None;
        listen(&queue, "told", |received| match received {
            Notification::Message(lines) => self.wake(lines),
            Notification::Begun => {
                let events = self.clone();
                let next = tokio::spawn(async move { events.wake_all().await });
                if let Some(last) = waking.replace(next) {
                    last.abort();
                }
            }
        })
        .await;
    }

    /// Wakes the watches of the jobs that a message names.
    fn wake(&self, lines: &[u8]) {
        let watches = self.lock();
        let Some(all) = watches.as_ref().filter(|all| !all.is_empty()) else {
            return;
        };
        for line in lines.split(|byte| *byte == b'\n') {
            // The state may be one that only a newer program knows.
            let id = line.splitn(2, |byte| *byte == b' ').nth(1);
            let id = id.and_then(|id| std::str::from_utf8(id).ok());
            if let Some(changed) = id.and_then(|id| all.get(id)) {
                changed.send_replace(());
            }
        }
    }

    /// Wakes all watches, some at a time: events may have been missed.
    async fn wake_all(&self) {
        let jobs: Vec<Arc<str>> = match self.lock().as_ref() {
            Some(all) => all.keys().cloned().collect(),
            None => return,
        };
        for some in jobs.chunks(WOKEN_AT_ONCE) {
            if let Some(all) = self.lock().as_ref() {
                for changed in some.iter().filter_map(|job| all.get(job)) {
                    changed.send_replace(());
                }
            }
            tokio::time::sleep(BETWEEN_WAKES).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Arc<str>, watch::Sender<()>>>> {
        // Nothing panics while it holds the lock.
        self.0.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A watch on one job, until it is dropped.
#[derive(Debug)]
pub struct JobWatch {
    events: JobEvents,
    job: Arc<str>,
    changed: watch::Receiver<()>,
}

impl JobWatch {
    /// Waits for the next change since the last call, or since the watch began. Several changes may count as one. Safe to cancel.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        self.changed.changed().await.map_err(|_| Closed)
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        let mut watches = self.events.lock();
        let Some(all) = watches.as_mut() else { return };
        // The count still includes our own receiver.
        if all
            .get(&self.job)
            .is_some_and(|changed| changed.receiver_count() == 1)
        {
            all.remove(&self.job);
        }
    }
}
