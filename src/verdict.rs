//! The verdict: whether somebody has paid and has no pass, or has waited too long for one.
//!
//! `doctor`, the first page, `/readyz` and alerts share it, so that they never contradict each other.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::fulfil::session_of;
use crate::queue::{BrokenKey, Overdue, Queue, QueueError};
use crate::store::{Store, StoreError};
use crate::tls;

/// How long a paid purchase may wait for its pass before that is an error.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// The most jobs that are looked at: beyond them a count reads "at least".
const MOST_JOBS: usize = 1_000;
/// How long Redis or the store may take to respond.
const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody has paid and has no pass.
pub const PAID_WITHOUT_PASS: &str = "paid_without_pass";
/// Somebody has paid and has waited for over a minute.
pub const WAITING_TOO_LONG: &str = "waiting_too_long";
/// Redis or the store is not responding.
pub const UNKNOWN: &str = "unknown";

/// The problems that keep customers from what they paid for, the worst first. Empty: nobody waits too long, and every
/// purchase has its pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Verdict {
    pub problems: Vec<Problem>,
    /// The last errors of purchases that are being retried, and how many there are of each.
    pub causes: BTreeMap<String, usize>,
}

/// One reason why customers have not received what they paid for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// [`PAID_WITHOUT_PASS`], [`WAITING_TOO_LONG`] or [`UNKNOWN`].
    pub code: &'static str,
    /// How many of the purchases that were looked at, where that is known.
    pub count: Option<usize>,
    /// For operators: how many, and why.
    pub message: String,
    /// What to do next, usually a command.
    pub next: String,
}

/// The facts behind a verdict.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Overdue jobs of the purchase queue, where Redis was asked.
    pub overdue: Option<Result<Overdue, Unread>>,
    /// Reasons of dead letters whose session has neither a subscription nor an unmatched payment, and how many there are of
    /// each.
    pub dead: BTreeMap<String, usize>,
    /// Reasons of open unmatched payments that were paid for, and how many there are of each.
    pub unmatched: BTreeMap<String, usize>,
    /// Why the unmatched payments could not be read.
    pub store_unread: Option<String>,
    /// How many workers are alive, where that is known.
    pub workers: Option<usize>,
    /// Why the store refuses writes, and what to do next, where that is known.
    pub store: Option<(String, String)>,
}

/// Why the jobs could not be read from Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// Redis is not responding.
    Away(String),
    /// Redis responds, but its data is not what the queue writes.
    Broken { what: String, next: String },
}

impl Unread {
    async fn of(error: &QueueError, queue: &Queue) -> Self {
        if !error.is_broken_data() {
            return Self::Away(error.to_string());
        }
        match tokio::time::timeout(PATIENCE, queue.broken_key()).await {
            Ok(Ok(Some(BrokenKey { key, is, should_be }))) => Self::Broken {
                what: format!("`{key}` is a {is} and should be a {should_be}"),
                next: format!("move it away: `redis-cli RENAME '{key}' '{key}.broken'`"),
            },
            _ => Self::Broken {
                what: error.to_string(),
                next: format!("find what else writes keys that begin with `{}`", queue.prefix()),
            },
        }
    }
}

impl Facts {
    /// For a Redis that is known to be away.
    #[must_use]
    pub fn without_redis(error: &str) -> Self {
        Self {
            overdue: Some(Err(Unread::Away(error.to_owned()))),
            ..Self::default()
        }
    }

    /// Reads Redis, and from the store the sessions of dead letters. What does not respond within 2 s is not known to the
    /// verdict.
    pub async fn gather(purchases: &Queue, store: Option<&Store>) -> Self {
        let overdue = tokio::time::timeout(PATIENCE, purchases.overdue(LONGEST_WAIT, MOST_JOBS)).await;
        let overdue = match overdue {
            Ok(Ok(overdue)) => Ok(overdue),
            Ok(Err(error)) => Err(Unread::of(&error, purchases).await),
            Err(_) => Err(Unread::Away("no response within 2 s".to_owned())),
        };
        let mut facts = Self {
            overdue: Some(overdue),
            ..Self::default()
        };
        if let Some(store) = store {
            match in_time(store.unmatched().count_unmatched()).await {
                Ok(open) => facts.unmatched = open.by_reason,
                Err(error) => facts.store_unread = Some(error),
            }
        }
        if let Some(Ok(overdue)) = &facts.overdue
            && overdue.dead > 0
        {
            facts.dead = without_pass(overdue, store).await;
        }
        facts
    }
}

async fn in_time<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("the store did not respond within 2 s".to_owned()),
    }
}

/// Dead letters whose session has neither a subscription nor an unmatched payment, by reason: of the others the unmatched
/// payment says whether somebody still has to look. The store away: all of them.
async fn without_pass(overdue: &Overdue, store: Option<&Store>) -> BTreeMap<String, usize> {
    let letters = &overdue.dead_letters;
    let sessions: Vec<&str> = letters
        .iter()
        .map(|(job, _)| session_of(job).unwrap_or(job))
        .collect();
    let mut settled = HashSet::new();
    if let Some(store) = store {
        let held = in_time(store.subscriptions().of(&sessions, &[])).await;
        settled.extend(
            held.unwrap_or_default()
                .into_iter()
                .map(|one| one.stripe_session_id),
        );
        let cases = in_time(store.unmatched().unmatched_of(&sessions)).await;
        settled.extend(cases.unwrap_or_default().into_iter().map(|one| one.session));
    }
    let mut reasons = BTreeMap::new();
    for ((_, reason), session) in letters.iter().zip(sessions) {
        if !settled.contains(session) {
            *reasons.entry(reason.clone()).or_default() += 1;
        }
    }
    reasons
}

impl Verdict {
    /// Judges what was found.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let mut problems = Vec::new();
        let mut causes = BTreeMap::new();
        match &facts.overdue {
            None => {}
            Some(Err(Unread::Broken { what, next })) => problems.push(Problem {
                code: UNKNOWN,
                count: None,
                message: format!(
                    "Redis responds, but the queue's data in it is broken ({what}): purchases are not fulfilled until it is repaired"
                ),
                next: next.clone(),
            }),
            Some(Err(Unread::Away(error))) => problems.push(Problem {
                code: UNKNOWN,
                count: None,
                message: format!(
                    "Redis is not responding ({error}): webhooks get 503, and no purchase is fulfilled until it responds"
                ),
                next: tls::next_step(error, "start Redis, or correct REDIS_URL").to_owned(),
            }),
            Some(Ok(overdue)) => {
                problems.extend(without_any_pass(facts, overdue));
                problems.extend(waiting(facts, overdue));
                causes.clone_from(&overdue.causes);
                if let Some(error) = &facts.store_unread {
                    problems.push(Problem {
                        code: UNKNOWN,
                        count: None,
                        message: format!("unmatched payments could not be read: {error}"),
                        next: tls::next_step(error, "start the database, or correct DATABASE_URL").to_owned(),
                    });
                }
            }
        }
        Self { problems, causes }
    }

    /// Its code in one word: the worst problem's, or `ok`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problems.first().map_or("ok", |problem| problem.code)
    }

    /// How many purchases have this problem; `None` where that is not known.
    #[must_use]
    pub fn count(&self, code: &str) -> Option<usize> {
        if self.code() == UNKNOWN {
            return None;
        }
        let problem = self.problems.iter().find(|problem| problem.code == code);
        problem.map_or(Some(0), |problem| problem.count)
    }

    /// Nobody waits too long, and everybody who paid has a pass.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

fn without_any_pass(facts: &Facts, overdue: &Overdue) -> Option<Problem> {
    let mut reasons = facts.dead.clone();
    for (reason, count) in &facts.unmatched {
        *reasons.entry(reason.clone()).or_default() += count;
    }
    let count: usize = reasons.values().sum();
    let more = overdue.dead > overdue.dead_letters.len();
    (count > 0).then(|| Problem {
        code: PAID_WITHOUT_PASS,
        count: Some(count),
        message: format!(
            "{}{} no pass: {}",
            if more { "at least " } else { "" },
            purchases(count, "has", "have"),
            listed(&reasons)
        ),
        next: if facts.unmatched.is_empty() {
            "`surepass jobs list --state dead`".to_owned()
        } else {
            "`surepass unmatched list`".to_owned()
        },
    })
}

fn waiting(facts: &Facts, overdue: &Overdue) -> Option<Problem> {
    if overdue.jobs == 0 {
        return None;
    }
    let (why, next) = if overdue.paused {
        (
            "the queue is paused".to_owned(),
            "`surepass jobs resume fulfil`".to_owned(),
        )
    } else if facts.workers == Some(0) {
        (
            "no worker is running".to_owned(),
            "start `surepass-worker`".to_owned(),
        )
    } else if let Some((error, next)) = &facts.store {
        (error.clone(), next.clone())
    } else if overdue.causes.is_empty() {
        (
            "the workers cannot keep up".to_owned(),
            "`surepass workers list`; start more workers".to_owned(),
        )
    } else {
        (
            format!("attempts fail with {}", listed(&overdue.causes)),
            "`surepass jobs list --state scheduled`".to_owned(),
        )
    };
    Some(Problem {
        code: WAITING_TOO_LONG,
        count: Some(overdue.jobs),
        message: format!(
            "{}{} waited for up to {}: {why}",
            if overdue.partial { "at least " } else { "" },
            purchases(overdue.jobs, "has", "have"),
            span(overdue.oldest)
        ),
        next,
    })
}

fn purchases(count: usize, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 paid purchase {one}")
    } else {
        format!("{count} paid purchases {many}")
    }
}

/// `unresolved_pass (2), poison (1)`: the most frequent ones first.
fn listed(counts: &BTreeMap<String, usize>) -> String {
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let words = counts.iter().map(|(word, count)| format!("{word} ({count})"));
    words.take(4).collect::<Vec<_>>().join(", ")
}

/// `90 s`, `12 min`, `3 h`, `5 days`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(overdue: Overdue) -> Facts {
        Facts {
            overdue: Some(Ok(overdue)),
            ..Facts::default()
        }
    }

    fn first(facts: &Facts) -> String {
        let verdict = Verdict::of(facts);
        let first = verdict.problems.first();
        first.map_or_else(String::new, |one| format!("{}; next: {}", one.message, one.next))
    }

    #[test]
    fn nobody_waits_and_nobody_is_without_a_pass() {
        let young = Overdue {
            oldest: Duration::from_secs(59),
            paused: true,
            ..Overdue::default()
        };
        assert!(Verdict::of(&facts(young)).is_good());
    }

    #[test]
    fn who_has_paid_and_has_no_pass_comes_first_and_who_waits_second() {
        let mut facts = facts(Overdue {
            jobs: 2,
            oldest: Duration::from_secs(185),
            paused: true,
            dead: 3,
            ..Overdue::default()
        });
        facts.dead = BTreeMap::from([("poison".to_owned(), 1), ("unresolved_pass".to_owned(), 2)]);
        facts.workers = Some(0);
        let verdict = Verdict::of(&facts);
        let codes: Vec<_> = verdict.problems.iter().map(|one| one.code).collect();
        assert_eq!(codes, ["paid_without_pass", "waiting_too_long"]);
        assert_eq!(
            verdict.problems[1].message,
            "2 paid purchases have waited for up to 3 min: the queue is paused"
        );
    }

    #[test]
    fn why_a_purchase_waits_is_told_by_the_first_cause_that_explains_it() {
        let overdue = Overdue {
            jobs: 1,
            oldest: Duration::from_secs(90),
            causes: BTreeMap::from([("store_unavailable".to_owned(), 1)]),
            ..Overdue::default()
        };
        let mut facts = facts(overdue);
        assert_eq!(
            first(&facts),
            "1 paid purchase has waited for up to 90 s: attempts fail with store_unavailable (1); next: `surepass jobs list \
             --state scheduled`"
        );
        facts.store = Some(("the disk is full".to_owned(), "free space".to_owned()));
        assert!(first(&facts).ends_with("90 s: the disk is full; next: free space"));
        facts.workers = Some(0);
        assert!(first(&facts).ends_with("no worker is running; next: start `surepass-worker`"));
    }

    #[test]
    fn a_redis_that_is_away_is_never_a_good_verdict() {
        let facts = Facts::without_redis("refused");
        assert_eq!(Verdict::of(&facts).problems[0].code, "unknown");
    }

    #[test]
    fn a_store_that_cannot_be_asked_is_never_a_good_verdict_and_comes_after_what_is_known() {
        let mut facts = facts(Overdue {
            jobs: 1,
            ..Overdue::default()
        });
        facts.store_unread = Some("no connection".to_owned());
        let verdict = Verdict::of(&facts);
        let codes: Vec<_> = verdict.problems.iter().map(|one| one.code).collect();
        assert_eq!(codes, ["waiting_too_long", "unknown"]);
    }

    #[test]
    fn unmatched_payments_are_counted_by_reason_together_with_dead_letters() {
        let mut facts = facts(Overdue::default());
        facts.dead = BTreeMap::from([("poison".to_owned(), 1)]);
        facts.unmatched = BTreeMap::from([("poison".to_owned(), 1), ("unresolved_pass".to_owned(), 3)]);
        assert_eq!(
            first(&facts),
            "5 paid purchases have no pass: unresolved_pass (3), poison (2); next: `surepass unmatched list`"
        );
    }
}
