//! Customers who buy while something goes wrong, and Stripe, which sends again what was not answered with 200.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use surepass::up::sample::SampleSession;

use crate::answer::Answer;
use crate::program::eventually;
use crate::shop::{COMPLETED, Shop};

/// Customers who buy one after the other until the shop closes.
#[derive(Default)]
pub struct Customers {
    pub bought: Mutex<Vec<(SampleSession, Option<Answer>)>>,
    pub accepted: AtomicUsize,
    pub refused: AtomicUsize,
    pub closed: AtomicBool,
}

impl Customers {
    /// Six customers; an answer that never came is `None`.
    pub async fn buy(&self, shop: &Shop) {
        let one = async || {
            while !self.closed.load(Ordering::Relaxed) {
                let session = shop.session();
                let answer = shop.try_deliver(0, session.event(COMPLETED, 1)).await.ok();
                let status = answer.as_ref().map(|answer| answer.status);
                let counter = if status == Some(200) {
                    &self.accepted
                } else {
                    &self.refused
                };
                counter.fetch_add(1, Ordering::Relaxed);
                self.bought.lock().unwrap().push((session, answer));
                // The pace of a busy day, not a benchmark's.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::join!(one(), one(), one(), one(), one(), one());
    }

    /// Waits until so many have been accepted, then closes the shop.
    pub async fn close_after(&self, jobs: usize) {
        let waiting = async {
            loop {
                let before = self.accepted.load(Ordering::Relaxed);
                if before >= jobs {
                    return;
                }
                eventually("customers go on", async || {
                    self.accepted.load(Ordering::Relaxed) != before
                })
                .await;
            }
        };
        waiting.await;
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Waits for so many more of what is counted.
    pub async fn wait_for(&self, counter: &AtomicUsize, more: usize) {
        let enough = counter.load(Ordering::Relaxed) + more;
        eventually("customers go on", async || {
            counter.load(Ordering::Relaxed) >= enough
        })
        .await;
    }

    /// Stripe's part: sends again whatever was not answered with 200, and then all must be there, each once. What is sent
    /// again must be taken at once, or within `unsettled` where Redis may still refuse for a good reason.
    pub async fn all_get_their_passes(&self, shop: &Shop, server: usize, unsettled: Duration) {
        let bought = std::mem::take(&mut *self.bought.lock().unwrap());
        let settled = Instant::now() + unsettled;
        for (session, _) in bought
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_none_or(|a| a.status != 200))
        {
            let again = async || {
                shop.try_deliver(server, session.event(COMPLETED, 1))
                    .await
                    .unwrap()
            };
            let mut answer = again().await;
            while answer.status == 503 && Instant::now() < settled {
                tokio::time::sleep(Duration::from_millis(100)).await;
                answer = again().await;
            }
            // Redis may have taken it the first time, with its answer lost.
            assert!(answer.is_taken(), "{answer:?}");
        }
        shop.settled().await;
        let mut sessions: Vec<_> = bought.iter().map(|(session, _)| session.session_id()).collect();
        sessions.sort();
        assert_eq!(shop.fulfilled().await, sessions);
        assert_eq!(shop.counts().await.dead, 0);
    }

    /// A duplicate is among what is right, though each was sent once: where a fault cuts the connection after Redis has
    /// taken an event and before it said so, the server hands it in again over the next one, and meets its own first try.
    /// That such a purchase is there shows in [`Self::all_get_their_passes`].
    pub fn assert_answered_200_or_503(&self) {
        for (_, answer) in &*self.bought.lock().unwrap() {
            let answer = answer.as_ref().expect("an answer");
            assert!(answer.is_taken() || answer.is_come_again(), "{answer:?}");
        }
    }
}
