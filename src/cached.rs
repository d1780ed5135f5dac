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

    /// A check that counts how often it was made, and answers that.
    fn counting(life: Duration) -> Cached<u32> {
        let made = Arc::new(AtomicU32::new(0));
        Cached::new(life, move || {
            let made = made.clone();
            async move {
                tokio::task::yield_now().await;
                made.fetch_add(1, Ordering::Relaxed) + 1
            }
        })
    }

    #[tokio::test]
    async fn all_who_ask_within_its_life_share_one_check() {
        let cached = counting(Duration::from_hours(1));
        let answers = futures::future::join_all((0..50).map(|_| cached.get())).await;
        assert_eq!(answers, [1; 50]);
        assert_eq!(cached.get().await, 1);
        let short_lived = counting(Duration::ZERO);
        assert_eq!([short_lived.get().await, short_lived.get().await], [1, 2]);
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_leaves_no_check_behind_that_others_would_wait_for() {
        let cached = counting(Duration::from_hours(1));
        assert!(cached.get().now_or_never().is_none());
        assert_eq!(cached.get().await, 1);
    }
}
