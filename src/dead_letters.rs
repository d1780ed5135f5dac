//! Stores dead letters of paid purchases as unmatched payments, since Redis deletes dead letters after 30
//! days.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::fulfil::{Fulfiller, ITEMS_UNREAD, Purchase, session_of};
use crate::queue::{Item, Queue, QueueError};
use crate::store::{Store, StoreError, UnmatchedFilter, UnmatchedState};

const BETWEEN_ROUNDS: Duration = Duration::from_secs(10);
const BETWEEN_CHORES: Duration = Duration::from_hours(1);
/// Rows in one query.
const TOGETHER: u32 = 500;
/// How long closed cases are kept.
const KEEP_CLOSED: TimeDelta = TimeDelta::days(400);
/// When unreadable line items are read again. Sooner at a worker's start, since the key may be new.
const UNREAD: TimeDelta = TimeDelta::days(1);
const UNREAD_AT_START: TimeDelta = TimeDelta::minutes(10);

/// Opens cases for dead letters whose handler could not, closes cases that have a pass by now, reads line
/// items again, and deletes old closed cases.
#[derive(Debug)]
pub struct DeadLetters {
    /// The queue of purchases.
    pub queue: Queue,
    pub store: Arc<Store>,
    pub fulfiller: Arc<Fulfiller>,
    pub clock: Clock,
    /// Whether there is a Stripe key.
    pub has_stripe: bool,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far the dead letters were read.
#[derive(Debug, Default)]
struct Position {
    /// When the last one died, in ms since 1970.
    at: u64,
    /// Those that died in that millisecond.
    seen: HashSet<String>,
}

impl DeadLetters {
    /// Runs until `stop`. Errors are logged, and retried in the next round.
    pub async fn run(self, stop: CancellationToken) {
        let mut position = Position::default();
        let mut unread = UNREAD_AT_START;
        let mut next_chores = tokio::time::Instant::now();
        while !stop.is_cancelled() {
            let turn = async {
                self.open_cases(&mut position).await?;
                let now = self.clock.now();
                self.store.unmatched().close_resolved(now, TOGETHER).await?;
                if tokio::time::Instant::now() >= next_chores {
                    self.read_again(unread).await?;
                    self.forget().await?;
                    unread = UNREAD;
                    next_chores = tokio::time::Instant::now() + BETWEEN_CHORES;
                }
                Ok::<(), Fault>(())
            };
            match stop.run_until_cancelled(turn).await {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "dead letters could not be compared with the store; trying again");
                }
            }
            let _ = stop.run_until_cancelled(tokio::time::sleep(BETWEEN_ROUNDS)).await;
        }
    }

    async fn open_cases(&self, position: &mut Position) -> Result<(), Fault> {
        loop {
            let died = self.queue.died_since(position.at, TOGETHER).await?;
            let fresh: Vec<&str> = died
                .iter()
                .map(|(id, _)| id.as_str())
                .filter(|id| !position.seen.contains(*id))
                .collect();
            self.open_cases_of(&fresh).await?;
            let Some((_, last)) = died.last() else {
                return Ok(());
            };
            let is_last = died.len() < TOGETHER as usize;
            let is_stuck = !is_last && *last == position.at;
            // More jobs died in one millisecond than one query returns: account syncs find the rest.
            position.at = if is_stuck { last + 1 } else { *last };
            position.seen = died
                .into_iter()
                .filter(|(_, at)| *at == position.at)
                .map(|(id, _)| id)
                .collect();
            if is_last {
                return Ok(());
            }
        }
    }

    async fn open_cases_of(&self, jobs: &[&str]) -> Result<(), Fault> {
        if jobs.is_empty() {
            return Ok(());
        }
        let sessions: Vec<&str> = jobs.iter().map(|job| session_of(job).unwrap_or(job)).collect();
        let cases = self.store.unmatched().unmatched_of(&sessions).await?;
        let known: HashSet<&str> = cases
            .iter()
            .filter(|case| case.counts())
            .map(|case| case.session.as_str())
            .collect();
        for (job, session) in jobs.iter().zip(&sessions) {
            if known.contains(session) {
                continue;
            }
            let Some(reason) = self.queue.death(job).await? else {
                continue;
            };
            let Some(purchase) = self.queue.payload::<Purchase>(job).await? else {
                continue;
            };
            let detail = format!("{reason}: its job is a dead letter (`surepass jobs show {job}`)");
            let opened = self
                .fulfiller
                .open_case_of_dead_letter(&purchase, &reason, &detail)
                .await?;
            if let Some(case) = opened {
                tracing::error!(
                    session,
                    reason,
                    reference = case.reference,
                    "unmatched payment: a dead letter was paid for"
                );
            }
        }
        Ok(())
    }

    /// Runs purchases again whose line items could not be read.
    async fn read_again(&self, age: TimeDelta) -> Result<(), Fault> {
        if !self.has_stripe {
            return Ok(());
        }
        let mut after: Option<(DateTime<Utc>, String)> = None;
        loop {
            let filter = UnmatchedFilter {
                state: Some(UnmatchedState::Open),
                reason: Some(ITEMS_UNREAD),
                updated_before: Some(self.clock.now() - age),
                after: after.as_ref().map(|(at, id)| (*at, id.as_str())),
            };
            let cases = self.store.unmatched().list_unmatched(&filter, TOGETHER).await?;
            let items = cases
                .iter()
                .filter_map(Purchase::of_case)
                .map(|purchase| Ok(Item::job(&purchase)?.group(purchase.group())))
                .collect::<Result<Vec<_>, QueueError>>()?;
            self.queue.enqueue(&items).await?;
            match cases.last() {
                Some(last) if cases.len() == TOGETHER as usize => {
                    after = Some((last.opened_at, last.id.clone()));
                }
                _ => return Ok(()),
            }
        }
    }

    async fn forget(&self) -> Result<(), Fault> {
        let before = self.clock.now() - KEEP_CLOSED;
        while self.store.unmatched().drop_unmatched(before, TOGETHER).await? == u64::from(TOGETHER) {}
        Ok(())
    }
}
