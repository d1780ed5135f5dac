//! What became of a purchase, followed as it changes.

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

/// Who follows looks this often, even if nothing is told: for what Redis did not pass on, and for what only Stripe knows.
const BETWEEN_LOOKS: Duration = Duration::from_secs(15);
/// Each look comes up to so much earlier, so that those who began together do not stay together.
const JITTER: Duration = Duration::from_secs(3);
/// The longest that one is followed; also how long a session's id alone may tell something.
const LONGEST: Duration = Duration::from_hours(1);
/// How many one customer, or one address without a customer, may follow at a time on one server.
const MOST_OF_ONE: u32 = 10;
/// News that come during a look begin it again, so often; after that it is finished, and another one follows.
const FRESH_STARTS: u32 = 2;

/// Who follow purchases on this server. Clones share everything.
#[derive(Debug, Clone)]
pub struct Live {
    told: JobEvents,
    places: Arc<Places>,
    /// Each call gives a number from 0 to 1.
    random: fn() -> f64,
}

#[derive(Debug)]
struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    /// Of these, who has no token.
    alone: usize,
    of: HashMap<Caller, u32>,
}

/// Who follows a purchase.
#[derive(Debug, Clone)]
pub enum Follower {
    Customer(Customer),
    /// Who has nothing but the session's id, calling from here.
    Alone(Option<IpAddr>),
}

/// What is seen of a purchase.
#[derive(Debug, Clone, PartialEq)]
pub enum Sight {
    Status(Status),
    /// What one without a token may know: whether it is active.
    Active(bool),
}

/// Why a purchase cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// This server has no room for any more.
    #[error("too many status streams are open on this server")]
    Full,
    /// This customer or address follows too many.
    #[error("one customer or address has too many status streams open")]
    TooMany,
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// What comes next for who follows a purchase.
#[derive(Debug)]
pub enum Next {
    /// It was looked at: this is how it stands.
    Seen(Sight),
    /// It could not be looked at, and will be again.
    Missed(CustomerError),
    /// Nothing has been told for a while; a look follows, or goes on.
    Quiet,
    /// The token has expired, or an hour is over.
    Over,
    /// The server stops.
    Stopping,
}

/// A purchase that is followed, until this is dropped.
#[derive(Debug)]
pub struct Following {
    follower: Follower,
    tenant: KnownTenant,
    session: String,
    /// For the jobs that may fulfil it.
    waiting: [JobWatch; 2],
    look: bool,
    next_look: Instant,
    until: Instant,
    random: fn() -> f64,
    _place: Place,
}

impl Live {
    /// For `most` at a time, who hear what is `told`. `random` gives a number from 0 to 1 at each call.
    #[must_use]
    pub fn new(told: JobEvents, most: usize, random: fn() -> f64) -> Self {
        Self {
            told,
            places: Arc::new(Places {
                most,
                taken: Mutex::default(),
            }),
            random,
        }
    }

    /// Ends all that are followed, and lets nobody begin.
    pub fn close(&self) {
        self.told.close();
    }

    /// How many are followed at present.
    #[must_use]
    pub fn open(&self) -> usize {
        self.places.lock().total
    }

    /// A number from 0 to 1.
    #[must_use]
    pub fn noise(&self) -> f64 {
        (self.random)()
    }
}

impl Customers {
    /// Begins to follow a session. Nothing is looked at yet: [`Following::next`] does that at once.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn follow(
        &self,
        follower: Follower,
        tenant: KnownTenant,
        session: String,
    ) -> Result<Following, FollowError> {
        let now = Instant::now();
        let left = match &follower {
            Follower::Alone(_) => LONGEST,
            Follower::Customer(customer) => {
                let left = customer.expires.saturating_sub(self.clock.now().timestamp());
                // One that has just expired is still taken, as clocks differ: for one look.
                Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)).min(LONGEST)
            }
        };
        let live = &self.live;
        let place = Place::take(&live.places, &follower)?;
        Ok(Following {
            waiting: {
                let [job, own] = job_ids(&session, &tenant.slug);
                [live.told.watch(&job)?, live.told.watch(&own)?]
            },
            follower,
            tenant,
            session,
            look: true,
            next_look: now + until_next_look(live.random),
            until: now + left,
            random: live.random,
            _place: place,
        })
    }
}

/// News of any of the jobs. May be dropped and called again.
async fn news([one, other]: &mut [JobWatch; 2]) -> Result<(), Closed> {
    tokio::select! {
        news = one.changed() => news,
        news = other.changed() => news,
    }
}

fn until_next_look(random: fn() -> f64) -> Duration {
    BETWEEN_LOOKS.saturating_sub(JITTER.mul_f64(random().clamp(0.0, 1.0)))
}

impl Following {
    /// The session that is followed.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// What comes next: at first how it stands now, then how it stands whenever that may have changed. May be dropped and
    /// called again. After [`Next::Over`] or [`Next::Stopping`] comes nothing new.
    pub async fn next(&mut self, customers: &Customers) -> Next {
        let mut starts = 0;
        loop {
            if self.look {
                starts += 1;
                // Boxed: most of its life a stream only waits, and is to be small then.
                let looking = look(customers, &self.follower, &self.tenant, &self.session).boxed();
                let looked = tokio::select! {
                    biased;
                    news = news(&mut self.waiting), if starts <= FRESH_STARTS => match news {
                        Ok(()) => continue,
                        Err(Closed) => return Next::Stopping,
                    },
                    looked = looking => looked,
                    () = tokio::time::sleep_until(self.next_look.min(self.until)) => return self.quiet(),
                };
                self.look = false;
                return match looked {
                    Ok(sight) => Next::Seen(sight),
                    Err(error) => Next::Missed(error),
                };
            }
            tokio::select! {
                biased;
                news = news(&mut self.waiting) => match news {
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

async fn look(
    customers: &Customers,
    follower: &Follower,
    tenant: &KnownTenant,
    session: &str,
) -> Result<Sight, CustomerError> {
    Ok(match follower {
        Follower::Customer(customer) => Sight::Status(customers.status(customer, tenant, session).await?),
        Follower::Alone(_) => Sight::Active(customers.is_active(tenant, session).await?),
    })
}

/// One of the server's places, until this is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    whose: Caller,
    is_alone: bool,
}

impl Place {
    fn take(places: &Arc<Places>, follower: &Follower) -> Result<Self, FollowError> {
        let whose = match follower {
            Follower::Customer(customer) => Caller::user(&customer.id),
            Follower::Alone(address) => Caller::address(address.unwrap_or(IpAddr::from([0, 0, 0, 0]))),
        };
        let is_alone = matches!(follower, Follower::Alone(_));
        let mut taken = places.lock();
        // Strangers, who may have many addresses, leave most places to customers.
        if taken.total >= places.most || is_alone && taken.alone >= places.most.div_ceil(4) {
            return Err(FollowError::Full);
        }
        let of = taken.of.entry(whose.clone()).or_default();
        if *of >= MOST_OF_ONE {
            return Err(FollowError::TooMany);
        }
        *of += 1;
        taken.total += 1;
        taken.alone += usize::from(is_alone);
        Ok(Self {
            places: places.clone(),
            whose,
            is_alone,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total = taken.total.saturating_sub(1);
        taken.alone = taken.alone.saturating_sub(usize::from(self.is_alone));
        if let Some(of) = taken.of.get_mut(&self.whose) {
            *of -= 1;
            if *of == 0 {
                taken.of.remove(&self.whose);
            }
        }
    }
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it holds the lock.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
