//! Jobs that run alone: which worker of which process may take one, and when.
//!
//! A job that a worker died with runs alone in its process from then on, so that a second death shows which job it was. Before
//! that, the process finishes the jobs that it holds: those of its other queues, then those of this one.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::Instant;

use super::lease::Lease;

/// How long such jobs run one after the other before other jobs have their turn.
const SLICE: Duration = Duration::from_secs(2);
/// How long the jobs that are held may take to finish; doubled each time that they take longer.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);
const MOST_PATIENCE: Duration = Duration::from_mins(5);
/// How long running claims of other queues may take.
const CLAIMS_END: Duration = Duration::from_millis(500);

/// What the workers of one process share: while a job of one runs alone, the others claim nothing. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ProcessGate {
    /// Read-locked during each claim; write-locked while one queue has the process for itself.
    gate: Arc<RwLock<()>>,
    leases: Arc<Mutex<Vec<Weak<Lease>>>>,
}

impl ProcessGate {
    /// For one process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn join(&self, lease: &Arc<Lease>) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        leases.retain(|other| other.strong_count() > 0);
        leases.push(Arc::downgrade(lease));
    }

    /// Whether no other worker of this process holds a job.
    fn others_hold_nothing(&self, mine: &Arc<Lease>) -> bool {
        let leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = leases
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|lease| !Arc::ptr_eq(lease, mine));
        others.all(|lease| lease.held() == 0)
    }
}

/// What a claim may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Jobs that run beside others.
    Together,
    /// The same; and this worker may be told to run suspects.
    Willing,
    /// One suspect: the process holds no other job.
    Alone,
}

impl Mode {
    /// As `claim.lua` takes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Together => "0",
            Self::Willing => "1",
            Self::Alone => "2",
        }
    }
}

/// One worker's turns at running jobs alone. While other jobs wait, they get half of its time at most.
#[derive(Debug)]
pub(super) struct Turns {
    gate: ProcessGate,
    lease: Arc<Lease>,
    closed: Option<Closed>,
    rest_until: Instant,
    patience: Duration,
}

#[derive(Debug)]
struct Closed {
    _gate: OwnedRwLockWriteGuard<()>,
    since: Instant,
    /// When the process first held no job.
    empty: Option<Instant>,
}

impl Turns {
    pub(super) fn new(gate: ProcessGate, lease: Arc<Lease>) -> Self {
        Self {
            gate,
            lease,
            closed: None,
            rest_until: Instant::now(),
            patience: LEAST_PATIENCE,
        }
    }

    /// Waits until this worker may claim. Returns what it may take, and a guard to hold until the answer is recorded.
    pub(super) async fn next(&mut self) -> (Mode, Option<OwnedRwLockReadGuard<()>>) {
        if let Some(closed) = &mut self.closed {
            let patience_ends = closed.since + self.patience;
            if self.gate.others_hold_nothing(&self.lease) {
                let emptied = tokio::time::timeout_at(patience_ends, self.lease.empty());
                if closed.empty.is_some() || emptied.await.is_ok() {
                    closed.empty.get_or_insert_with(Instant::now);
                    self.patience = LEAST_PATIENCE;
                    return (Mode::Alone, None);
                }
            }
            if Instant::now() < patience_ends {
                return (Mode::Together, None);
            }
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            self.end();
        }
        let claim = self.gate.gate.clone().read_owned().await;
        let mode = if Instant::now() < self.rest_until {
            Mode::Together
        } else {
            Mode::Willing
        };
        (mode, Some(claim))
    }

    /// Suspects wait for this worker: the process claims no other jobs from now on.
    pub(super) async fn begin(&mut self) {
        if self.closed.is_some() {
            return;
        }
        match tokio::time::timeout(CLAIMS_END, self.gate.gate.clone().write_owned()).await {
            Ok(gate) => {
                self.closed = Some(Closed {
                    _gate: gate,
                    since: Instant::now(),
                    empty: None,
                });
            }
            // Another queue of this process has its turn alone.
            Err(_) => self.rest_until = Instant::now() + CLAIMS_END,
        }
    }

    /// Waits until the job that was claimed to run alone has ended; `jobs` is how many the claim returned.
    pub(super) async fn ran_alone(&mut self, jobs: usize) {
        self.lease.empty().await;
        let since = self.closed.as_ref().and_then(|closed| closed.empty);
        if jobs == 0 || since.is_none_or(|since| since.elapsed() >= SLICE) {
            self.end();
        }
    }

    /// Whether this worker waits for the other queues of its process to finish their jobs.
    pub(super) fn waits_for_others(&self) -> bool {
        self.closed.is_some()
    }

    fn end(&mut self) {
        if let Some(closed) = self.closed.take() {
            self.rest_until = Instant::now() + closed.since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(gate: &ProcessGate, name: &str) -> Arc<Lease> {
        let lease = Arc::new(Lease::new(name.to_owned()));
        gate.join(&lease);
        lease
    }

    #[tokio::test]
    async fn while_one_queue_of_a_process_runs_a_job_alone_the_others_claim_nothing() {
        let gate = ProcessGate::new();
        let (fulfil, sync) = (lease(&gate, "w"), lease(&gate, "w"));
        let mut alone = Turns::new(gate.clone(), fulfil);
        let mut other = Turns::new(gate, sync);
        assert_eq!(alone.next().await.0, Mode::Willing);
        alone.begin().await;
        assert_eq!(alone.next().await.0, Mode::Alone);
        let waits = tokio::time::timeout(Duration::from_millis(20), other.next());
        assert!(waits.await.is_err(), "the other claims nothing");
        alone.ran_alone(0).await;
        assert_eq!(other.next().await.0, Mode::Willing);
    }

    #[tokio::test]
    async fn a_process_that_does_not_finish_its_jobs_in_time_continues_with_other_jobs_for_as_long() {
        let gate = ProcessGate::new();
        let (fulfil, sync) = (lease(&gate, "w"), lease(&gate, "w"));
        sync.hold_one_for_test("busy");
        let mut turns = Turns::new(gate, fulfil);
        turns.begin().await;
        let (mode, claim) = turns.next().await;
        assert!(
            mode == Mode::Together && claim.is_none(),
            "the others are at work"
        );
        turns.patience = Duration::from_nanos(1);
        let (_, claim) = turns.next().await;
        assert!(claim.is_some() && turns.closed.is_none(), "others claim again");
        assert_eq!(turns.patience, Duration::from_nanos(2));
    }
}
