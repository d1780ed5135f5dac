//! The first user to prove an email gets the passes that guests bought with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::Customers;
use crate::identity::Customer;
use crate::store::EmailProof;

/// How long a customer waits for it: while the store takes no writes, they still see the status of a purchase.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a process caches a proof. Proofs do not change, but a store may be restored from a backup.
const FRESH: TimeDelta = TimeDelta::minutes(10);
/// How many proofs are cached; beyond that the cache is cleared.
const MOST: usize = 10_000;

/// Which user has proved which email, as far as this process knows. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Proofs(Arc<Mutex<HashMap<Pair, Seen>>>);

/// A user and an email.
type Pair = (String, String);
/// Whether the user was the first; `None`: the store did not answer.
type Proving = Shared<BoxFuture<'static, Option<bool>>>;

#[derive(Debug, Clone)]
struct Seen {
    proving: Proving,
    at: DateTime<Utc>,
}

impl Proofs {
    /// The proof of this pair that is cached or under way, or else the one that `begin` starts.
    fn of(&self, pair: &Pair, now: DateTime<Utc>, begin: impl FnOnce() -> Proving) -> Proving {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.get(pair).filter(|seen| (now - seen.at).abs() < FRESH);
        if let Some(seen) = seen.filter(|seen| seen.proving.peek() != Some(&None)) {
            return seen.proving.clone();
        }
        if all.len() >= MOST {
            all.clear();
        }
        let proving = begin();
        let seen = Seen {
            proving: proving.clone(),
            at: now,
        };
        all.insert(pair.clone(), seen);
        proving
    }
}

impl Customers {
    /// Stores that the customer has proved their verified email, which gives them what guests bought with it. If another user
    /// proved it before, the email is removed from the customer: it gives access to nothing.
    pub async fn proven(&self, mut customer: Customer) -> Customer {
        let Some(email) = customer.verified_email.take() else {
            return customer;
        };
        let pair = (customer.id.clone(), email);
        let proving = self
            .proofs
            .of(&pair, self.clock.now(), || self.prove(pair.clone()));
        let is_first = match tokio::time::timeout(PATIENCE, proving).await {
            Ok(Some(is_first)) => is_first,
            // Nobody else has proved it, so it is theirs, even if that cannot be stored yet.
            Ok(None) | Err(_) => self.is_unproved(&pair.1).await,
        };
        customer.verified_email = is_first.then_some(pair.1);
        customer
    }

    /// A task of its own: it finishes even if the client disconnects.
    fn prove(&self, (user, email): Pair) -> Proving {
        let (store, at) = (Arc::clone(&self.store), self.clock.now());
        let proving = tokio::spawn(async move {
            let audit = ulid::Ulid::generate().to_string();
            let proof = EmailProof {
                email: &email,
                user: &user,
                at,
                audit: &audit,
            };
            match store.users().prove_email(&proof).await {
                Ok(first) if first == user => Some(true),
                Ok(_) => {
                    tracing::info!(
                        user,
                        "another user has already claimed this verified email: it gives no access"
                    );
                    Some(false)
                }
                Err(error) => {
                    tracing::warn!(user, %error, "a verified email could not be stored; the next request tries again");
                    None
                }
            }
        });
        proving.map(|proved| proved.ok().flatten()).boxed().shared()
    }

    async fn is_unproved(&self, email: &str) -> bool {
        let verified_owners = self.store.users().verified_owners(&[email]).await;
        verified_owners.is_ok_and(|verified_owners| verified_owners.is_empty())
    }
}
