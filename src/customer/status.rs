//! What became of a purchase.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::ask::Word;
use super::{CustomerError, Customers, Support, claim, holds, sync_request};
use crate::fulfil::{ExpectedSubscription, Purchase, job_ids};
use crate::identity::Customer;
use crate::queue::{Enqueued, Item, JobProgress, JobState};
use crate::store::{CreatedVia, KnownTenant, Subscription, SubscriptionFilter};

/// For how long a session's id alone tells that its purchase is active.
const ALONE: TimeDelta = TimeDelta::hours(1);
/// For how long an event that the store has no record of is taken for one on its way there.
const LOGGED: TimeDelta = TimeDelta::minutes(1);
/// A failed purchase makes one sync in this time, however often its page asks.
const BETWEEN_SYNCS: Duration = Duration::from_hours(1);

/// What became of a purchase, as far as this customer may know.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Active(Box<Subscription>),
    Processing(Processing),
    /// Its job is a dead letter.
    Failed {
        /// A sync has been asked for, by this call or by one before: there is a key for Stripe.
        synced: bool,
        support: Support,
    },
    /// The checkout is complete and the bank has not confirmed the money yet.
    Pending,
    /// The checkout is complete, and the bank has refused.
    Declined,
    /// The checkout is open.
    Unpaid,
    /// The checkout ended without a payment.
    Expired,
    /// Paid, and a person must look. Looking again changes nothing.
    Unmatched(Support),
    /// Paid, and a person has closed its case: no pass is due.
    Closed(Support),
    /// Paid, never fulfilled, and all of the money was given back.
    Refunded(Support),
    /// Paid, for something else than a pass.
    NotAPass,
    /// Not known, or not theirs.
    Unknown,
}

/// How far a purchase is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processing {
    /// It waits for its first attempt.
    Queued,
    Running {
        attempt: u32,
    },
    /// Attempts failed for a passing cause, and the next comes then, or (`None`) as soon as a worker is free.
    Retrying {
        attempts: u32,
        next: Option<DateTime<Utc>>,
    },
}

impl Customers {
    /// What became of a session. Where nobody here knows it, Stripe is asked; where it failed, a sync is asked for.
    ///
    /// # Errors
    /// [`CustomerError`]; asking again is safe.
    pub async fn status(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<Status, CustomerError> {
        let [job, own] = job_ids(session, &tenant.slug);
        let (held, shared, own) = tokio::join!(
            self.held(session),
            self.fulfil.job_progress::<Purchase>(&job),
            self.fulfil.job_progress::<Purchase>(&own)
        );
        if let Some(status) = active(customer, tenant, held?) {
            return Ok(status);
        }
        let mut is_dead = false;
        for progress in [shared?, own?].into_iter().flatten() {
            let purchase = progress.job.as_ref();
            if purchase
                .is_some_and(|purchase| claim(customer, tenant, purchase, self.client_reference).is_some())
            {
                match under_way(&progress) {
                    Some(processing) => return Ok(Status::Processing(processing)),
                    None => is_dead = true,
                }
            }
        }
        // It may have been done between the two looks.
        if let Some(status) = active(customer, tenant, self.held(session).await?) {
            return Ok(status);
        }
        match self.case(customer, tenant, session).await? {
            Some(case) if is_dead && case.is_open() => {
                let reference = case.is_paid.then_some(case.reference);
                self.failed(customer, tenant, session, reference).await
            }
            Some(case) => self.status_of_case(tenant, case).await,
            None if is_dead => self.failed(customer, tenant, session, None).await,
            None => self.unknown(customer, tenant, session).await,
        }
    }

    /// Whether a purchase is active, for who has only the session's id: for an hour after the payment.
    ///
    /// # Errors
    /// [`CustomerError`].
    pub async fn is_active(&self, tenant: &KnownTenant, session: &str) -> Result<bool, CustomerError> {
        let now = self.clock.now();
        let held = self.held(session).await?;
        let is_active =
            |held: &Subscription| held.tenant == tenant.id && held.is_active && held.end_date > now;
        let Some(held) = held.filter(is_active) else {
            return Ok(false);
        };
        // Nobody pays before the checkout has begun: mostly that is answer enough.
        if held.start_date > now - ALONE {
            return Ok(true);
        }
        Ok(self.paid(&held).await?.is_some_and(|at| at > now - ALONE))
    }

    /// When a purchase was paid for: when Stripe made the event that told of it. `None`: no event has.
    async fn paid(&self, held: &Subscription) -> Result<Option<DateTime<Utc>>, CustomerError> {
        let Some(event) = &held.webhook_event_id else {
            return Ok(None);
        };
        let logged = self.store.event(event).await?.map(|event| event.created_at);
        // The log comes to the store a moment later than the purchase that it tells of.
        let fresh = || Some(held.created_at).filter(|at| *at > self.clock.now() - LOGGED);
        Ok(logged.or_else(fresh))
    }

    async fn held(&self, session: &str) -> Result<Option<Subscription>, CustomerError> {
        let filter = SubscriptionFilter {
            session: Some(session.to_owned()),
            ..SubscriptionFilter::default()
        };
        Ok(self.store.subscriptions(&filter, 1).await?.pop())
    }

    /// Neither the store nor the queue has it for this customer. Stripe knows.
    async fn unknown(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<Status, CustomerError> {
        let heard = self.ask(customer, tenant, session).await?;
        let theirs = heard
            .purchase
            .and_then(|purchase| claim(customer, tenant, &purchase, self.client_reference));
        let Some(purchase) = theirs else {
            return Ok(Status::Unknown);
        };
        Ok(match heard.state {
            Word::Open => Status::Unpaid,
            Word::Expired => Status::Expired,
            Word::Pending => Status::Pending,
            Word::Declined => Status::Declined,
            Word::Missing | Word::Silent => Status::Unknown,
            Word::Other => Status::NotAPass,
            Word::Refunded => Status::Refunded(self.support(tenant, None).await?),
            Word::Paid => self.hand_in(customer, tenant, session, &purchase).await?,
        })
    }

    /// Hands in what Stripe says is paid and nobody here knows: once, however often its page asks. A job that has ended and
    /// has left neither a pass nor a case is not run again by looking.
    async fn hand_in(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
        purchase: &Purchase,
    ) -> Result<Status, CustomerError> {
        let due = self.tenants.expected(purchase, self.lookback.unmatched).await?;
        if matches!(due, ExpectedSubscription::NotAPass(_)) {
            return Ok(Status::NotAPass);
        }
        let note = format!("asked:{}:{session}", tenant.slug);
        if !self.memo.is_first(&note, BETWEEN_SYNCS).await? {
            return Ok(Status::Unknown);
        }
        let item = Item::job(purchase)?.group(purchase.group());
        let answers = match self.fulfil.enqueue(&[item]).await {
            Ok(answers) => answers,
            Err(error) => {
                self.memo.forget(&note).await?;
                return Err(error.into());
            }
        };
        match answers.first() {
            Some(Enqueued::Dead) => self.failed(customer, tenant, session, None).await,
            _ => Ok(Status::Processing(Processing::Queued)),
        }
    }

    /// Asks for the sync that a failed purchase needs, once. If we die between the note and the sync, the customer's own sync
    /// or the night's lookback does it.
    async fn failed(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
        reference: Option<String>,
    ) -> Result<Status, CustomerError> {
        let support = self.support(tenant, reference).await?;
        if self.stripe.is_none() {
            return Ok(Status::Failed {
                synced: false,
                support,
            });
        }
        let note = format!("sync:{}:{session}", tenant.slug);
        let request = sync_request(customer, tenant, CreatedVia::Status);
        let (memo, lookback, session) = (self.memo.clone(), self.lookback.clone(), session.to_owned());
        // Who asked may hang up: the note and the sync belong together.
        let asking = tokio::spawn(async move {
            if !memo.is_first(&note, BETWEEN_SYNCS).await? {
                return Ok(());
            }
            match lookback.request_sync(&request, ulid::Ulid::generate()).await {
                Ok(asked) => {
                    tracing::info!(session, run = %asked.run, "purchase failed: a sync of its customer is enqueued");
                    Ok(())
                }
                Err(error) => {
                    memo.forget(&note).await?;
                    Err(CustomerError::from(error))
                }
            }
        });
        match asking.await {
            Ok(asked) => asked.map(|()| Status::Failed {
                synced: true,
                support,
            }),
            // The process stops.
            Err(_) => Ok(Status::Failed {
                synced: false,
                support,
            }),
        }
    }
}

fn active(customer: &Customer, tenant: &KnownTenant, held: Option<Subscription>) -> Option<Status> {
    held.filter(|held| holds(customer, tenant, held))
        .map(|held| Status::Active(Box::new(held)))
}

/// `None`: it is a dead letter.
fn under_way(progress: &JobProgress<Purchase>) -> Option<Processing> {
    let attempts = progress.attempts;
    Some(match progress.state {
        JobState::Dead | JobState::Done => return None,
        JobState::Running => Processing::Running { attempt: attempts },
        JobState::Waiting | JobState::Scheduled if attempts == 0 => Processing::Queued,
        JobState::Waiting | JobState::Scheduled => Processing::Retrying {
            attempts,
            next: progress.next_run,
        },
    })
}
