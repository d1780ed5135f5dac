//! Waiting for news of single jobs: one subscription for a process, however many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Queue;
use super::listen::{Heard, listen};

/// After a gap all who wait look again: so many at once, and then as many after a pause. Redis and the store have just come
/// back, and others ask them, too.
const ROUSED_AT_ONCE: usize = 50;
const BETWEEN_ROUSALS: Duration = Duration::from_millis(25);

/// Hears when a job of a queue stands elsewhere: settled, dead, waiting again. What it says is a hint to look, which may come
/// for nothing; and it may fail to come, as Redis forgets what nobody hears. Clones share one subscription, which begins with
/// the first who waits.
#[derive(Debug, Clone)]
pub struct Told(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Who waits, by job. `None`: closed.
    waiting: Mutex<Option<HashMap<Arc<str>, watch::Sender<()>>>>,
    wanted: Notify,
    closed: CancellationToken,
}

/// Nobody listens any more: the process stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody listens for news of jobs any more: this process stops")]
pub struct Closed;

impl Told {
    /// What is told of this queue's jobs. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn of(queue: &Queue) -> Self {
        let told = Self(Arc::new(Inner {
            waiting: Mutex::new(Some(HashMap::new())),
            wanted: Notify::new(),
            closed: CancellationToken::new(),
        }));
        let (inner, queue) = (told.clone(), queue.clone());
        tokio::spawn(async move {
            let closed = inner.0.closed.clone();
            closed.run_until_cancelled(inner.run(queue)).await;
        });
        told
    }

    /// Begins to wait for news of a job; the job need not be there yet. Look where it stands after this: what comes between
    /// is not missed.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn wait_for(&self, job: &str) -> Result<Waiting, Closed> {
        let mut waiting = self.lock();
        let all = waiting.as_mut().ok_or(Closed)?;
        let job: Arc<str> = job.into();
        let news = all
            .entry(job.clone())
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe();
        self.0.wanted.notify_one();
        Ok(Waiting {
            told: self.clone(),
            job,
            news,
        })
    }

    /// Lets nobody wait any longer.
    pub fn close(&self) {
        self.0.closed.cancel();
        *self.lock() = None;
    }

    async fn run(&self, queue: Queue) {
        self.0.wanted.notified().await;
        let mut rousing: Option<JoinHandle<()>> = None;
        listen(&queue, "told", |heard| match heard {
            Heard::Message(lines) => self.tell(lines),
            Heard::Begun => {
                let told = self.clone();
                let next = tokio::spawn(async move { told.rouse().await });
                if let Some(last) = rousing.replace(next) {
                    last.abort();
                }
            }
        })
        .await;
    }

    /// Wakes those who wait for the jobs that a message names.
    fn tell(&self, lines: &[u8]) {
        let waiting = self.lock();
        let Some(all) = waiting.as_ref().filter(|all| !all.is_empty()) else {
            return;
        };
        for line in lines.split(|byte| *byte == b'\n') {
            // States of newer programs are news, too.
            let id = line.splitn(2, |byte| *byte == b' ').nth(1);
            let id = id.and_then(|id| std::str::from_utf8(id).ok());
            if let Some(news) = id.and_then(|id| all.get(id)) {
                news.send_replace(());
            }
        }
    }

    /// Wakes all, some at a time: nobody knows what was told in the meantime.
    async fn rouse(&self) {
        let jobs: Vec<Arc<str>> = match self.lock().as_ref() {
            Some(all) => all.keys().cloned().collect(),
            None => return,
        };
        for some in jobs.chunks(ROUSED_AT_ONCE) {
            if let Some(all) = self.lock().as_ref() {
                for news in some.iter().filter_map(|job| all.get(job)) {
                    news.send_replace(());
                }
            }
            tokio::time::sleep(BETWEEN_ROUSALS).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<Arc<str>, watch::Sender<()>>>> {
        // Nothing panics while it holds the lock.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits for news of one job, until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    told: Told,
    job: Arc<str>,
    news: watch::Receiver<()>,
}

impl Waiting {
    /// The next news since the last, or since the waiting began. Several in between are one. May be dropped and called again.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn news(&mut self) -> Result<(), Closed> {
        self.news.changed().await.map_err(|_| Closed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.told.lock();
        let Some(all) = waiting.as_mut() else { return };
        // Ours is still there.
        if all.get(&self.job).is_some_and(|news| news.receiver_count() == 1) {
            all.remove(&self.job);
        }
    }
}
