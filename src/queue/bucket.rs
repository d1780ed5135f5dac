//! A token bucket in Redis: how often all processes together may do something, by Redis' clock.

use std::time::Duration;

use async_trait::async_trait;

use super::connection::{Connection, Redis};
use super::error::QueueError;
use super::scripts;
use crate::stripe::api::{Pace, StripeError};

/// The longest that one 429 stops all for, whatever it asks: a bound on what a wrong answer can do.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How a bucket behaves. All who share one should agree on it.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// The first word of its key, as in [`super::QueueConfig`].
    pub prefix: String,
    /// What it limits.
    pub name: String,
    /// Calls a second, from 1 on.
    pub rate: u32,
    /// How many may come at once after a silence, from 1 on. No second ever sees more than `burst + rate`.
    pub burst: u32,
    /// Who would wait for longer gets no place, and comes again: below the time that a job may take.
    pub patience: Duration,
}

impl BucketOptions {
    /// The bucket of the calls to Stripe. No second sees more than a quarter above the rate: at the default of 20 that is
    /// 25, which Stripe allows.
    #[must_use]
    pub fn stripe(prefix: &str, rate: u32) -> Self {
        Self {
            prefix: prefix.to_owned(),
            name: "stripe".to_owned(),
            rate,
            burst: (rate / 4).max(1),
            patience: Duration::from_secs(10),
        }
    }
}

/// A token bucket. Clones share a connection; everyone who has the same Redis, prefix and name shares its tokens.
///
/// Who finds it empty gets a place in line and waits there; each place is one gap behind the one before, so however many
/// wait, nobody asks in vain and nobody overtakes. A place that is not used (its caller died) is lost, not more.
#[derive(Clone)]
pub struct Bucket {
    connection: Connection,
    key: [String; 1],
    tag: String,
    options: BucketOptions,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("key", &self.key)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A place in line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Until then its holder waits, in µs since 1970 by Redis' clock.
    pub due: u64,
    round: String,
}

/// What the bucket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The caller has a place: after this wait (zero: now). Who has waited asks again, as a 429 voids all places.
    Place(Place, Duration),
    /// The wait would be longer than [`BucketOptions::patience`]; nothing was taken.
    TooLong(Duration),
}

impl Bucket {
    /// The bucket `options.name` in this Redis. Connects at the first call.
    ///
    /// # Errors
    /// [`QueueError::Redis`] where the client cannot be set up.
    pub fn new(redis: &Redis, options: BucketOptions) -> Result<Self, QueueError> {
        let tag = format!("{{{}:{}}}:", options.prefix, options.name);
        Ok(Self {
            connection: redis.connection(&tag)?,
            key: [format!("{tag}bucket")],
            tag,
            options,
        })
    }

    /// Takes a place, or asks after the one that the caller has. One round trip; lost answers cost a place.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn take(&self, place: Option<&Place>) -> Result<Taken, QueueError> {
        let (round, due) = place.map_or(("", 0), |place| (place.round.as_str(), place.due));
        let mut call = scripts::BUCKET_TAKE.on(&self.key);
        call.arg(&self.tag)
            .arg(self.options.rate.max(1))
            .arg(self.options.burst.max(1))
            .arg(micros(self.options.patience))
            .arg(round)
            .arg(due);
        let (has_place, wait, round, due): (bool, u64, String, u64) =
            call.invoke_async(&mut self.connection.clone()).await?;
        let wait = Duration::from_micros(wait);
        Ok(if has_place {
            Taken::Place(Place { due, round }, wait)
        } else {
            Taken::TooLong(wait)
        })
    }

    /// Waits until one call may be made: zero or more than one round trip, with the wait in between. Answers by Redis'
    /// clock when that is, in µs since 1970.
    ///
    /// # Errors
    /// `Ok(Err(wait))` where the line is too long; [`QueueError`] where Redis does not answer.
    pub async fn wait(&self) -> Result<Result<u64, Duration>, QueueError> {
        let mut held = None;
        loop {
            match self.take(held.as_ref()).await? {
                Taken::Place(place, Duration::ZERO) => return Ok(Ok(place.due)),
                Taken::Place(place, wait) => {
                    tokio::time::sleep(wait).await;
                    held = Some(place);
                }
                Taken::TooLong(wait) => return Ok(Err(wait)),
            }
        }
    }

    /// Nobody calls for `pause` (a minute at most); then all do, at half the rate they had, an eighth of the full one at
    /// least, and back at the full one within a minute. Who waits in line waits anew.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn pause(&self, pause: Duration) -> Result<(), QueueError> {
        let mut call = scripts::BUCKET_SLOW.on(&self.key);
        call.arg(&self.tag).arg(micros(pause.min(LONGEST_PAUSE)));
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Pace for Bucket {
    async fn turn(&self) -> Result<(), StripeError> {
        match self.wait().await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(wait)) => Err(StripeError::busy(wait)),
            Err(error) => Err(StripeError::no_pace(&error.to_string())),
        }
    }

    async fn slow_down(&self, retry_after: Duration) {
        if let Err(error) = self.pause(retry_after).await {
            tracing::warn!(%error, "Stripe asks for fewer calls, and the others cannot be told");
        }
    }
}
