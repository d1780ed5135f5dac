//! A worker's lease on its jobs: one lease for all of them, renewed on a separate thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::client::{Queue, millis};
use super::error::QueueError;
use super::metrics::{KindId, Operation};
use super::scripts;
use super::workers::{self, About};

/// Old jobs are trimmed once in so many renewals.
const RENEWALS_PER_TRIM: u32 = 3;

/// One term of a worker's lease. A worker that loses it begins another under a new token; what it still does under the old
/// token is fenced.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) token: String,
    /// Cancelled when the lease is lost: the handlers stop.
    pub(super) lost: CancellationToken,
}

/// How a job came to its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    /// The claim's number within the term.
    pub(super) number: u64,
    /// The attempt that it began; counts from 1.
    pub(super) attempt: u32,
    /// When, by Redis' clock, in ms since 1970.
    pub(super) at: i64,
    pub(super) kind: KindId,
    /// How long the job had been in Redis then.
    pub(super) waited: Option<Duration>,
    /// When the answer arrived, by our clock.
    pub(super) claimed: Instant,
}

/// What a worker holds.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) name: String,
    state: Mutex<State>,
    /// Notified when a job is released.
    pub(super) freed: Notify,
}

#[derive(Debug)]
struct State {
    term: Arc<Term>,
    terms: u32,
    /// The term has been registered with Redis by a claim.
    registered: bool,
    /// Redis may hold more jobs for this worker than it knows: return them before the next claim.
    resync: bool,
    held: HashMap<String, Held>,
    claims: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    claim: Claim,
    /// A handler has it, or it is being acknowledged without one.
    begun: bool,
}

impl Lease {
    pub(super) fn new(name: String) -> Self {
        let term = Arc::new(Term {
            token: format!("{name}:1"),
            lost: CancellationToken::new(),
        });
        let state = State {
            term,
            terms: 1,
            registered: false,
            resync: false,
            held: HashMap::new(),
            claims: 0,
        };
        Self {
            name,
            state: Mutex::new(state),
            freed: Notify::new(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn term(&self) -> Arc<Term> {
        self.state().term.clone()
    }

    /// How many jobs are held.
    pub(super) fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Waits until nothing is held.
    pub(super) async fn empty(&self) {
        loop {
            let freed = self.freed.notified();
            if self.held() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// The present term, and whether it is new to Redis.
    pub(super) fn registered(&self) -> (Arc<Term>, bool) {
        let state = self.state();
        (state.term.clone(), state.registered)
    }

    /// A number for the next claim: together with the token it fences what the claim brings.
    pub(super) fn next_claim(&self) -> u64 {
        let mut state = self.state();
        state.claims += 1;
        state.claims
    }

    /// Records claimed jobs. `false`: the term has ended in the meantime, and the jobs are not ours.
    pub(super) fn take(&self, term: &Arc<Term>, jobs: impl Iterator<Item = (String, Claim)>) -> bool {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.term, term) {
            return false;
        }
        state.registered = true;
        let held = jobs.map(|(id, claim)| (id, Held { claim, begun: false }));
        state.held.extend(held);
        true
    }

    /// Begins a held job. Returns how it was claimed, and under which term.
    pub(super) fn begin(&self, id: &str) -> Option<(Claim, Arc<Term>)> {
        let mut state = self.state();
        let held = state.held.get_mut(id)?;
        held.begun = true;
        let claim = held.claim;
        Some((claim, state.term.clone()))
    }

    /// Releases all jobs that have not begun: they cannot begin any more. Returns what is still held, for [`resync`].
    pub(super) fn release_unbegun(&self) -> (Arc<Term>, Vec<String>) {
        let mut state = self.state();
        state.held.retain(|_, held| held.begun);
        (state.term.clone(), state.held.keys().cloned().collect())
    }

    /// Releases jobs that were acknowledged or lost. A job that was claimed again in the meantime stays held: its
    /// acknowledgement arrived, but the answer did not.
    pub(super) fn release<'a>(&self, term: &Arc<Term>, jobs: impl Iterator<Item = (&'a str, u64)>) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.term, term) {
            for (id, number) in jobs {
                if state.held.get(id).is_some_and(|held| held.claim.number == number) {
                    state.held.remove(id);
                }
            }
        }
        drop(state);
        self.freed.notify_one();
    }

    /// The lease of `term` is lost: its handlers stop, and a new term begins. `false`: that was known.
    pub(super) fn lose(&self, term: &Arc<Term>) -> bool {
        tracing::warn!(
            worker = term.token,
            jobs = self.held(),
            "lease lost: its jobs run elsewhere"
        );
        self.end(term)
    }

    /// Ends `term`: its handlers stop, and later claims belong to a new term.
    pub(super) fn end(&self, term: &Arc<Term>) -> bool {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.term, term) {
            return false;
        }
        state.terms += 1;
        let token = format!("{}:{}", self.name, state.terms);
        state.term = Arc::new(Term {
            token,
            lost: CancellationToken::new(),
        });
        state.registered = false;
        state.resync = false;
        state.held.clear();
        drop(state);
        term.lost.cancel();
        self.freed.notify_one();
        true
    }

    /// An answer was lost, or Redis counts more jobs than this worker.
    pub(super) fn doubt(&self) {
        self.state().resync = true;
    }

    /// What this worker holds, if Redis may hold more for it.
    pub(super) fn doubted(&self) -> Option<(Arc<Term>, Vec<String>)> {
        let mut state = self.state();
        // Before the first answered claim, too: one whose answer was lost may have brought jobs.
        let doubted = std::mem::take(&mut state.resync);
        doubted.then(|| (state.term.clone(), state.held.keys().cloned().collect()))
    }
}

/// Returns the jobs to the queue that Redis holds for `term` beyond `known`.
pub(super) async fn resync(
    queue: &Queue,
    term: &Term,
    known: &[String],
    leave: bool,
) -> Result<usize, QueueError> {
    let mut call = scripts::RESYNC.on(&["wait", "lease"].map(|name| queue.key(name)));
    call.arg(queue.prefix())
        .arg(&term.token)
        .arg(u8::from(leave))
        .arg(known);
    Ok(call.invoke_async(&mut queue.connection.clone()).await?)
}

/// Renews the lease until `stop`, on a separate thread and connection: a handler that blocks every other thread does not cost
/// the worker its jobs. Also trims the queue.
pub(super) fn keep(
    queue: &Queue,
    lease: Arc<Lease>,
    concurrency: usize,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let queue = queue.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("surepass-lease".to_owned())
        .spawn(move || {
            // A worker must not continue without renewals: it ends with an error, and the process restarts.
            let _end = stop.clone().drop_guard();
            runtime.block_on(async {
                // The connection's driver must live on this thread's runtime, too.
                match queue.reconnected() {
                    Ok(queue) => stop
                        .run_until_cancelled(renew(&queue, &lease, concurrency))
                        .await
                        .unwrap_or_default(),
                    Err(error) => tracing::error!(%error, "the lease cannot be renewed"),
                }
            });
        })?;
    Ok(())
}

/// Registers this worker for operators. It works without being registered, too.
async fn announce(queue: &Queue, lease: &Lease, about: &About) {
    if let Err(error) = workers::register(queue, &lease.name, about).await {
        tracing::debug!(%error, "worker not registered");
    }
}

async fn recover(queue: &Queue) {
    match queue.recover().await {
        Ok(0) => {}
        Ok(jobs) => tracing::warn!(jobs, "jobs were in no list and wait again: Redis has lost keys"),
        Err(error) => tracing::debug!(%error, "could not look for jobs that are in no list"),
    }
}

async fn renew(queue: &Queue, lease: &Lease, concurrency: usize) {
    let about = About::this_process(concurrency, queue.config.lease);
    announce(queue, lease, &about).await;
    // A claim has just begun the lease: the first renewal is a third of it later.
    let pace = queue.config.lease / 3;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + pace, pace);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut renewals = 0_u32;
    loop {
        ticks.tick().await;
        renewals = renewals.wrapping_add(1);
        if renewals.is_multiple_of(RENEWALS_PER_TRIM) {
            match queue.trim().await {
                Ok(0) => {}
                Ok(jobs) => tracing::debug!(jobs, "old jobs trimmed"),
                Err(error) => tracing::debug!(%error, "old jobs not trimmed"),
            }
        }
        let (term, registered) = lease.registered();
        if !registered {
            continue;
        }
        let before = lease.held();
        let answer: Result<i64, redis::RedisError> = scripts::RENEW
            .on(&[queue.key("lease")])
            .arg(queue.prefix())
            .arg(&term.token)
            .arg(millis(queue.config.lease))
            .invoke_async(&mut queue.connection.clone())
            .await;
        match answer {
            Ok(-1) => {
                if lease.lose(&term) {
                    queue.metrics.lease_lost();
                }
            }
            Ok(held) => {
                queue.answered();
                // Acknowledgements and claims continue in the meantime, so a difference proves nothing. A resync of a worker
                // that knows all its jobs changes nothing.
                let most = before.max(lease.held());
                if usize::try_from(held).is_ok_and(|held| held > most) {
                    lease.doubt();
                }
                announce(queue, lease, &about).await;
                recover(queue).await;
            }
            Err(error) => {
                queue.failed(&error);
                queue.metrics.redis_failed(Operation::Renew, &error.into());
                // When Redis is back, all leases are extended once: renew ours well before it ends.
                ticks.reset_after(queue.config.lease / 20);
            }
        }
    }
}

#[cfg(test)]
impl Lease {
    pub(super) fn hold_one_for_test(&self, id: &str) {
        let claim = tests::claim(1);
        assert!(self.take(&self.term(), [(id.to_owned(), claim)].into_iter()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn claim(number: u64) -> Claim {
        Claim {
            number,
            attempt: 1,
            at: 0,
            kind: super::super::metrics::Metrics::new(&Arc::default(), "q").kind("work"),
            waited: None,
            claimed: Instant::now(),
        }
    }

    #[test]
    fn a_late_release_of_one_claim_does_not_let_go_of_the_next_claim_of_the_same_job() {
        let lease = Lease::new("w".to_owned());
        let term = lease.term();
        let second = claim(2);
        assert!(lease.take(&term, [("a".to_owned(), claim(1))].into_iter()));
        assert!(lease.take(&term, [("a".to_owned(), second)].into_iter()));
        lease.release(&term, [("a", 1)].into_iter());
        assert_eq!(lease.begin("a").map(|(claim, _)| claim), Some(second));
        lease.release(&term, [("a", 2)].into_iter());
        assert_eq!(lease.held(), 0);
    }
}
