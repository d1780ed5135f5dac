//! What an operator does to jobs and queues, each action in the audit log.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::clock::Clock;
use crate::queue::inspector::{Act, Filter, InspectError, Inspector, Outcome, Tally};
use crate::store::{AuditRecord, Store, StoreError};

/// The most ids that one record of the audit log names; of more it holds the number.
const MOST_IDS: usize = 1_000;

/// Fields of payloads that hold nothing personal. All others are masked where jobs are shown.
pub const PLAIN_FIELDS: [&str; 36] = [
    "v",
    "cs",
    "evt",
    "at",
    "live",
    "acct",
    "account",
    "path",
    "pi",
    "cus",
    "amount",
    "cur",
    "prices",
    "via",
    "type",
    "pass",
    "passName",
    "tenant",
    "promo",
    "orig",
    "final",
    "disc",
    "from",
    "to",
    "since",
    "oldPrice",
    "newPrice",
    "cost",
    "unreadable",
    "days",
    "run",
    "slice",
    "spread_seconds",
    "session",
    "stripe_customer",
    "after",
];

/// A person who manages jobs, and why.
#[derive(Debug)]
pub struct Operator<'a> {
    pub inspector: &'a Inspector,
    pub store: &'a Store,
    /// `user@host`, or an admin's name.
    pub who: String,
    pub why: Option<String>,
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error("nothing was done, because the audit log cannot be written: {0}")]
    Audit(StoreError),
}

impl Operator<'_> {
    /// Retries or discards these jobs.
    ///
    /// # Errors
    /// [`OperatorError`]; what was done before it stays done.
    pub async fn act(&self, act: Act, ids: &[String]) -> Result<Vec<Outcome>, OperatorError> {
        let audit = self.begin(name(act), &named(ids)).await?;
        let done = self.inspector.act(act, ids).await;
        self.end(&audit, done, |outcomes| count(outcomes)).await
    }

    /// Retries or discards all jobs that match, in portions. Reports its progress after each.
    ///
    /// # Errors
    /// [`OperatorError`]; what was done before it stays done.
    pub async fn act_on_all(
        &self,
        act: Act,
        filter: &Filter,
        progress: impl FnMut(Tally) + Send,
    ) -> Result<Tally, OperatorError> {
        Inspector::check(act, filter)?;
        let audit = self.begin(name(act), &json!({ "filter": filter })).await?;
        let done = self.inspector.act_on_all(act, filter, progress).await;
        self.end(&audit, done, |tally| sum(*tally)).await
    }

    /// Stops workers from taking jobs of a queue.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn pause(&self, queue: &str) -> Result<(), OperatorError> {
        let paused = self.inspector.queue(queue)?;
        let audit = self.begin("queue.pause", &json!({ "queue": queue })).await?;
        let done = paused.pause().await.map_err(InspectError::from);
        self.end(&audit, done, |()| "paused".to_owned()).await
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn resume(&self, queue: &str) -> Result<(), OperatorError> {
        let resumed = self.inspector.queue(queue)?;
        let audit = self.begin("queue.resume", &json!({ "queue": queue })).await?;
        let done = resumed.resume().await.map_err(InspectError::from);
        self.end(&audit, done, |()| "resumed".to_owned()).await
    }

    /// Written before the action, so that even one that is cut off leaves its trace.
    async fn begin(&self, action: &str, target: &Value) -> Result<String, OperatorError> {
        let id = ulid::Ulid::generate().to_string();
        let record = AuditRecord {
            id: id.clone(),
            actor: self.who.clone(),
            action: action.to_owned(),
            target: target.to_string(),
            reason: self.why.clone(),
            began_at: self.clock().await?,
            ended_at: None,
            outcome: None,
        };
        let begun = self.store.audit().begin(&record).await;
        begun.map(|()| id).map_err(OperatorError::Audit)
    }

    async fn end<T>(
        &self,
        id: &str,
        done: Result<T, InspectError>,
        word: impl FnOnce(&T) -> String,
    ) -> Result<T, OperatorError> {
        let outcome = match &done {
            Ok(done) => word(done),
            Err(error) => format!("failed: {error}"),
        };
        // Redis may be what failed: then this machine's time has to do.
        let ended = self.clock().await.unwrap_or_else(|_| Clock::system().now());
        if let Err(error) = self.store.audit().end(id, ended, &outcome).await {
            // The action is done, and its beginning is recorded: an error here would say the opposite.
            tracing::warn!(audit = id, %error, outcome, "the end of an action is missing in the audit log");
        }
        Ok(done?)
    }

    async fn clock(&self) -> Result<DateTime<Utc>, InspectError> {
        let ms = i64::try_from(self.inspector.clock().await?).unwrap_or_default();
        Ok(DateTime::from_timestamp_millis(ms).unwrap_or_default())
    }
}

fn name(act: Act) -> &'static str {
    match act {
        Act::Retry => "jobs.retry",
        Act::Discard => "jobs.discard",
    }
}

fn named(ids: &[String]) -> Value {
    json!({ "ids": &ids[..ids.len().min(MOST_IDS)], "count": ids.len() })
}

fn count(outcomes: &[Outcome]) -> String {
    let done = outcomes.iter().filter(|one| one.is_done()).count();
    format!("{done} of {}", outcomes.len())
}

fn sum(tally: Tally) -> String {
    format!("{} of {} that fitted", tally.done, tally.matched)
}
