//! Status streams: the status of a purchase, now and whenever it changes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::Instant;

use super::{CustomerError, Customers, Status};
use crate::fulfil::job_ids;
use crate::identity::Customer;
use crate::queue::{Caller, Closed, JobEvents, JobWatch};
use crate::store::KnownTenant;

/// The status is read this often even without an event: for events that Redis lost, and for what only Stripe knows.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// Each read comes up to this much earlier, so that streams that began together spread out.
const JITTER: Duration = Duration::from_secs(3);
/// The longest that a stream stays open; also how long a session's id alone says anything.
const LONGEST: Duration = Duration::from_hours(1);
/// How many streams one customer, or one address without a customer, may have open on one server.
const MOST_OF_ONE: u32 = 10;
/// An event during a read starts the read again, this often; after that it finishes, and another read follows.
const FRESH_STARTS: u32 = 2;

/// The status streams of this server. Clones share everything.
#[derive(Debug, Clone)]
pub struct StatusStreams {
    events: JobEvents,
    slots: Arc<Slots>,
    /// Each call gives a number from 0 to 1.
    random: fn() -> f64,
}

#[derive(Debug)]
struct Slots {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Of these, the streams without a token.
    anonymous: usize,
    of: HashMap<Caller, u32>,
}

/// Whose stream it is.
#[derive(Debug, Clone)]
pub enum Follower {
    Customer(Customer),
    /// A caller who has only the session's id, from this address.
    Anonymous(Option<IpAddr>),
}

/// The status of a purchase at one moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Snapshot {
    Status(Status),
    /// All that a caller without a token may see: whether it is active.
    Active(bool),
}

/// Why a stream cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// This server has no room for any more.
    #[error("too many status streams are open on this server")]
    Full,
    /// This customer or address has too many.
    #[error("one customer or address has too many status streams open")]
    TooMany,
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What comes next in a stream.
#[derive(Debug)]
pub enum Next {
    /// The status was read.
    Seen(Snapshot),
    /// The status could not be read; it is read again.
    Missed(CustomerError),
    /// There was no event for a while; a read follows, or goes on.
    Quiet,
    /// The token has expired, or the stream has been open for an hour.
    Over,
    /// The server is stopping.
    Stopping,
}

/// The open stream of one purchase. It closes when dropped.
#[derive(Debug)]
pub struct StatusStream {
    follower: Follower,
    tenant: KnownTenant,
    session: String,
    /// Of the jobs that may fulfil it.
    watches: [JobWatch; 2],
    look: bool,
    next_look: Instant,
    until: Instant,
    random: fn() -> f64,
    _slot: Slot,
}

impl StatusStreams {
    /// For `most` streams at a time, driven by these events. `random` returns a number from 0 to 1 at each call.
    #[must_use]
    pub fn new(events: JobEvents, most: usize, random: fn() -> f64) -> Self {
        Self {
            events,
            slots: Arc::new(Slots {
                most,
                taken: Mutex::default(),
            }),
            random,
        }
    }

    /// Ends all streams and opens no more.
    pub fn close(&self) {
        self.events.close();
    }

    /// How many streams are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.slots.lock().total
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn noise(&self) -> f64 {
        (self.random)()
    }
}

impl Customers {
    /// Opens the stream of a session. [`StatusStream::next`] reads the status first.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow(
        &self,
        follower: Follower,
        tenant: KnownTenant,
        session: String,
    ) -> Result<StatusStream, FollowError> {
        let now = Instant::now();
        let left = match &follower {
            Follower::Anonymous(_) => LONGEST,
            Follower::Customer(customer) => {
                let left = customer.expires.saturating_sub(self.clock.now().timestamp());
                // A token that has just expired is good for one read, because clocks differ.
                Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)).min(LONGEST)
            }
        };
        let streams = &self.streams;
        let slot = Slot::take(&streams.slots, &follower)?;
        Ok(StatusStream {
            watches: {
                let [job, own] = job_ids(&session, &tenant.slug);
                [streams.events.watch(&job)?, streams.events.watch(&own)?]
            },
            follower,
            tenant,
            session,
            look: true,
            next_look: now + until_next_look(streams.random),
            until: now + left,
            random: streams.random,
            _slot: slot,
        })
    }
}

/// Waits for an event of either job. Cancel safe.
async fn changed([one, other]: &mut [JobWatch; 2]) -> Result<(), Closed> {
    tokio::select! {
        changed = one.changed() => changed,
        changed = other.changed() => changed,
    }
}

fn until_next_look(random: fn() -> f64) -> Duration {
    BETWEEN_LOOKS.saturating_sub(JITTER.mul_f64(random().clamp(0.0, 1.0)))
}

impl StatusStream {
    /// Its checkout session.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// What comes next: the status now, then the status whenever it may have changed. Cancel safe. [`Next::Over`] and
    /// [`Next::Stopping`] are the last.
    pub async fn next(&mut self, customers: &Customers) -> Next {
        let mut starts = 0;
        loop {
            if self.look {
                starts += 1;
                // Boxed: a stream waits most of its life, and should be small then.
                let reading = read(customers, &self.follower, &self.tenant, &self.session).boxed();
                let read = tokio::select! {
                    biased;
                    changed = changed(&mut self.watches), if starts <= FRESH_STARTS => match changed {
                        Ok(()) => continue,
                        Err(Closed) => return Next::Stopping,
                    },
                    read = reading => read,
                    () = tokio::time::sleep_until(self.next_look.min(self.until)) => return self.quiet(),
                };
                self.look = false;
                return match read {
                    Ok(snapshot) => Next::Seen(snapshot),
                    Err(error) => Next::Missed(error),
                };
            }
            tokio::select! {
                biased;
                changed = changed(&mut self.watches) => match changed {
                    Ok(()) => self.look = true,
                    Err(Closed) => return Next::Stopping,
                },
                () = tokio::time::sleep_until(self.next_look.min(self.until)) => return self.quiet(),
            }
        }
    }

    fn quiet(&mut self) -> Next {
        let now = Instant::now();
        if now >= self.until {
            return Next::Over;
        }
        self.next_look = now + until_next_look(self.random);
        self.look = true;
        Next::Quiet
    }
}

async fn read(
    customers: &Customers,
    follower: &Follower,
    tenant: &KnownTenant,
    session: &str,
) -> Result<Snapshot, CustomerError> {
    Ok(match follower {
        Follower::Customer(customer) => Snapshot::Status(customers.status(customer, tenant, session).await?),
        Follower::Anonymous(_) => Snapshot::Active(customers.is_active(tenant, session).await?),
    })
}

/// One of the server's slots for streams. Freed when dropped.
#[derive(Debug)]
struct Slot {
    slots: Arc<Slots>,
    caller: Caller,
    is_anonymous: bool,
}

impl Slot {
    fn take(slots: &Arc<Slots>, follower: &Follower) -> Result<Self, FollowError> {
        let caller = match follower {
            Follower::Customer(customer) => Caller::user(&customer.id),
            Follower::Anonymous(address) => Caller::address(address.unwrap_or(IpAddr::from([0, 0, 0, 0]))),
        };
        let is_anonymous = matches!(follower, Follower::Anonymous(_));
        let mut taken = slots.lock();
        // Callers without a token may have many addresses: most slots are kept for customers.
        if taken.total >= slots.most || is_anonymous && taken.anonymous >= slots.most.div_ceil(4) {
            return Err(FollowError::Full);
        }
        let of = taken.of.entry(caller.clone()).or_default();
        if *of >= MOST_OF_ONE {
            return Err(FollowError::TooMany);
        }
        *of += 1;
        taken.total += 1;
        taken.anonymous += usize::from(is_anonymous);
        Ok(Self {
            slots: slots.clone(),
            caller,
            is_anonymous,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        taken.total = taken.total.saturating_sub(1);
        taken.anonymous = taken.anonymous.saturating_sub(usize::from(self.is_anonymous));
        if let Some(of) = taken.of.get_mut(&self.caller) {
            *of -= 1;
            if *of == 0 {
                taken.of.remove(&self.caller);
            }
        }
    }
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
