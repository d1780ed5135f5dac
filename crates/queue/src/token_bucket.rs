//! A token bucket in Redis: limits how often all processes together may do something, by Redis' clock.

use std::time::Duration;

use super::connection::{FailoverConnection, Redis};
use super::error::QueueError;
use super::scripts;

/// The longest pause, whatever is requested: a bound on what one wrong answer can do.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How a token bucket behaves. All processes that share one must use the same options.
#[derive(Debug, Clone)]
pub struct TokenBucketOptions {
    /// The first part of its key, as in [`super::QueueConfig`].
    pub prefix: String,
    /// What it limits.
    pub name: String,
    /// Calls a second, from 1 on.
    pub rate: u32,
    /// Calls that may come at once after a pause, from 1 on. No second ever has more than `burst + rate` calls.
    pub burst: u32,
    /// The longest wait that a caller accepts. Must be shorter than a job's time-out.
    pub patience: Duration,
}

/// A token bucket. Clones share a connection; all processes with the same Redis, prefix and name share its tokens.
///
/// A caller that finds it empty reserves a later turn and waits for it. Turns are one gap apart, so no waiting caller polls,
/// and none overtakes another. A turn that is not used, because its caller died, is lost, and nothing else.
#[derive(Clone)]
pub struct TokenBucket {
    connection: FailoverConnection,
    key: [String; 1],
    tag: String,
    options: TokenBucketOptions,
}

impl std::fmt::Debug for TokenBucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenBucket")
            .field("key", &self.key)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A reserved turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// When the turn is, in µs since 1970 by Redis' clock.
    pub due: u64,
    round: String,
}

/// What [`TokenBucket::take`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The caller has a turn after this wait (zero: now). After the wait it must ask again: a pause voids all turns.
    Reserved(Reservation, Duration),
    /// The wait would be longer than [`TokenBucketOptions::patience`]; nothing was taken.
    TooLong(Duration),
}

impl TokenBucket {
    /// The bucket `options.name` in this Redis. Connects at the first call.
    pub fn new(redis: &Redis, options: TokenBucketOptions) -> Result<Self, QueueError> {
        let tag = format!("{{{}:{}}}:", options.prefix, options.name);
        Ok(Self {
            connection: redis.connection(&tag)?,
            key: [format!("{tag}bucket")],
            tag,
            options,
        })
    }

    /// Takes a token, or reserves the next free turn, or checks the reservation that the caller has. One round trip; a lost
    /// answer costs a turn.
    pub async fn take(&self, reservation: Option<&Reservation>) -> Result<Taken, QueueError> {
        let (round, due) = reservation.map_or(("", 0), |turn| (turn.round.as_str(), turn.due));
        let mut call = scripts::TOKEN_BUCKET_TAKE.on(&self.key);
        call.arg(&self.tag)
            .arg(self.options.rate.max(1))
            .arg(self.options.burst.max(1))
            .arg(micros(self.options.patience))
            .arg(round)
            .arg(due);
        let (has_turn, wait, round, due): (bool, u64, String, u64) =
            call.invoke_async(&mut self.connection.clone()).await?;
        let wait = Duration::from_micros(wait);
        Ok(if has_turn {
            Taken::Reserved(Reservation { due, round }, wait)
        } else {
            Taken::TooLong(wait)
        })
    }

    /// Waits until one call may be made. Answers when that is by Redis' clock, in µs since 1970.
    ///
    /// # Errors
    /// `Ok(Err(wait))` where the wait would be too long; [`QueueError`] where Redis does not answer.
    pub async fn wait(&self) -> Result<Result<u64, Duration>, QueueError> {
        let mut held = None;
        loop {
            match self.take(held.as_ref()).await? {
                Taken::Reserved(turn, Duration::ZERO) => return Ok(Ok(turn.due)),
                Taken::Reserved(turn, wait) => {
                    tokio::time::sleep(wait).await;
                    held = Some(turn);
                }
                Taken::TooLong(wait) => return Ok(Err(wait)),
            }
        }
    }

    /// Stops all calls for `pause`, a minute at most. After it they go on at half of their rate, at least an eighth of the full
    /// one, and are back at the full rate within a minute. All reservations are void.
    pub async fn pause(&self, pause: Duration) -> Result<(), QueueError> {
        let mut call = scripts::TOKEN_BUCKET_SLOW_DOWN.on(&self.key);
        call.arg(&self.tag).arg(micros(pause.min(LONGEST_PAUSE)));
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
