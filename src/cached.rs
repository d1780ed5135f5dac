//! A check whose answer is shared by all who ask within a while.

use std::fmt;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Makes a check at most once per `life`, however many ask. Those who ask during a check wait for its answer. A caller that
/// hangs up ends the check that it makes; the next caller makes it again.
pub struct Cached<T> {
    check: Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>,
    life: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone + Send> Cached<T> {
    /// `check` bounds its own time: everybody waits for it.
    pub fn new<Checking>(life: Duration, check: impl Fn() -> Checking + Send + Sync + 'static) -> Self
    where
        Checking: Future<Output = T> + Send + 'static,
    {
        Self {
            check: Box::new(move || check().boxed()),
            life,
            last: Mutex::default(),
        }
    }

    /// The last answer, or a new one where that is older than `life`.
    pub async fn get(&self) -> T {
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < self.life
        {
            return answer.clone();
        }
        let answer = (self.check)().await;
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_within_a_second_share_one_check() {
        let checks = Arc::new(AtomicU32::new(0));
        let counted = checks.clone();
        let cached = Cached::new(Duration::from_secs(1), move || {
            let counted = counted.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                counted.fetch_add(1, Ordering::Relaxed) + 1
            }
        });
        let answers = futures::future::join_all((0..50).map(|_| cached.get())).await;
        assert_eq!(answers, [1; 50]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(cached.get().await, 1);
        tokio::time::advance(Duration::from_millis(2)).await;
        assert_eq!(cached.get().await, 2);
        // A caller who hangs up leaves no check behind that others would wait for.
        tokio::time::advance(Duration::from_secs(1)).await;
        let gone = tokio::time::timeout(Duration::from_millis(10), cached.get()).await;
        assert!(gone.is_err());
        assert_eq!(cached.get().await, 3);
        assert_eq!(checks.load(Ordering::Relaxed), 3);
    }
}
