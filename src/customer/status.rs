//! The status of a purchase, as its customer may see it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::stripe_lookup::SessionState;
use super::{CustomerError, Customers, Support, claim, holds, sync_request};
use crate::fulfil::{ExpectedSubscription, Purchase, job_ids};
use crate::identity::Customer;
use crate::queue::{Enqueued, Item, JobProgress, JobState};
use crate::store::{CreatedVia, KnownTenant, Subscription, SubscriptionFilter};

/// How long after the payment a session's id alone is enough to learn that its purchase is active.
const BY_ID_ALONE: TimeDelta = TimeDelta::hours(1);
/// How long an event that is not in the store's log yet is assumed to be on its way there.
const LOGGED: TimeDelta = TimeDelta::minutes(1);
/// A failed purchase enqueues one sync in this time, however often its page polls.
const BETWEEN_SYNCS: Duration = Duration::from_hours(1);

/// The status of a purchase, as this customer may see it.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Active(Box<Subscription>),
    Processing(Processing),
    /// Its job is a dead letter.
    Failed {
        /// A sync has been enqueued, by this call or an earlier one. `false`: there is no key for Stripe.
        synced: bool,
        support: Support,
    },
    /// The checkout is complete, but the bank has not confirmed the payment yet.
    Pending,
    /// The checkout is complete, but the bank declined.
    Declined,
    /// The checkout is open.
    Unpaid,
    /// The checkout ended without a payment.
    Expired,
    /// Paid, and a person must look at it. Waiting does not help.
    Unmatched(Support),
    /// Paid, and a person has closed its case without a pass.
    Closed(Support),
    /// Paid, never fulfilled, and refunded in full.
    Refunded(Support),
    /// Paid, but not for a pass.
    NotAPass,
    /// Unknown, or another customer's.
    Unknown,
}

/// How far the job of a purchase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Processing {
    /// It is waiting for its first attempt.
    Queued,
    Running {
        attempt: u32,
    },
    /// Attempts failed with a transient error. The next one is at `next`, or (`None`) as soon as a worker is free.
    Retrying {
        attempts: u32,
        next: Option<DateTime<Utc>>,
    },
}

impl Customers {
    /// The status of a session. If it is unknown here, Stripe is asked; if its job failed, a sync is enqueued.
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
            self.subscription_of(session),
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
        // The job may have finished between the two reads.
        if let Some(status) = active(customer, tenant, self.subscription_of(session).await?) {
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

    /// Whether a purchase is active, for a caller who has only the session's id. True for one hour after the payment.
    ///
    /// # Errors
    /// [`CustomerError`].
    pub async fn is_active(&self, tenant: &KnownTenant, session: &str) -> Result<bool, CustomerError> {
        let now = self.clock.now();
        let held = self.subscription_of(session).await?;
        let is_active =
            |held: &Subscription| held.tenant == tenant.id && held.is_active && held.end_date > now;
        let Some(held) = held.filter(is_active) else {
            return Ok(false);
        };
        // A payment is never earlier than the start date: usually this is enough.
        if held.start_date > now - BY_ID_ALONE {
            return Ok(true);
        }
        Ok(self.paid(&held).await?.is_some_and(|at| at > now - BY_ID_ALONE))
    }

    /// When a purchase was paid for: the time of the event that reported it. `None`: no event did.
    async fn paid(&self, held: &Subscription) -> Result<Option<DateTime<Utc>>, CustomerError> {
        let Some(event) = &held.webhook_event_id else {
            return Ok(None);
        };
        let logged = self
            .store
            .events()
            .one(event)
            .await?
            .map(|event| event.created_at);
        // Events reach the store's log a moment after their purchase.
        let fresh = || Some(held.created_at).filter(|at| *at > self.clock.now() - LOGGED);
        Ok(logged.or_else(fresh))
    }

    async fn subscription_of(&self, session: &str) -> Result<Option<Subscription>, CustomerError> {
        let filter = SubscriptionFilter {
            session: Some(session.to_owned()),
            ..SubscriptionFilter::default()
        };
        Ok(self.store.subscriptions().list(&filter, 1).await?.pop())
    }

    /// Neither the store nor the queue has it for this customer: Stripe is asked.
    async fn unknown(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<Status, CustomerError> {
        let answer = self.stripe_answer(customer, tenant, session).await?;
        let theirs = answer
            .purchase
            .and_then(|purchase| claim(customer, tenant, &purchase, self.client_reference));
        let Some(purchase) = theirs else {
            return Ok(Status::Unknown);
        };
        Ok(match answer.state {
            SessionState::Open => Status::Unpaid,
            SessionState::Expired => Status::Expired,
            SessionState::Pending => Status::Pending,
            SessionState::Declined => Status::Declined,
            SessionState::Missing | SessionState::NoAnswer => Status::Unknown,
            SessionState::Other => Status::NotAPass,
            SessionState::Refunded => Status::Refunded(self.support(tenant, None).await?),
            SessionState::Paid => self.enqueue_paid(customer, tenant, session, &purchase).await?,
        })
    }

    /// Enqueues a purchase that Stripe says is paid and that is unknown here: once, however often its page polls. A job that
    /// ended without a pass or a case is not run again by polling.
    async fn enqueue_paid(
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
        let mark = format!("asked:{}:{session}", tenant.slug);
        if !self.single_flight.is_first(&mark, BETWEEN_SYNCS).await? {
            return Ok(Status::Unknown);
        }
        let item = Item::job(purchase)?.group(purchase.group());
        let enqueued = match self.fulfil.enqueue(&[item]).await {
            Ok(enqueued) => enqueued,
            Err(error) => {
                self.single_flight.forget(&mark).await?;
                return Err(error.into());
            }
        };
        match enqueued.first() {
            Some(Enqueued::Dead) => self.failed(customer, tenant, session, None).await,
            _ => Ok(Status::Processing(Processing::Queued)),
        }
    }

    /// Enqueues the sync that a failed purchase needs, once. If the process dies between the mark and the sync, the customer's
    /// own sync or the nightly lookback does it.
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
        let mark = format!("sync:{}:{session}", tenant.slug);
        let request = sync_request(customer, tenant, CreatedVia::Status);
        let (single_flight, lookback, session) = (
            self.single_flight.clone(),
            self.lookback.clone(),
            session.to_owned(),
        );
        // A task of its own: the mark and the sync belong together, even if the client disconnects.
        let requesting = tokio::spawn(async move {
            if !single_flight.is_first(&mark, BETWEEN_SYNCS).await? {
                return Ok(());
            }
            match lookback.request_sync(&request, ulid::Ulid::generate()).await {
                Ok(requested) => {
                    tracing::info!(session, run = %requested.run, "purchase failed: a sync of its customer is enqueued");
                    Ok(())
                }
                Err(error) => {
                    single_flight.forget(&mark).await?;
                    Err(CustomerError::from(error))
                }
            }
        });
        let synced = match requesting.await {
            Ok(requested) => requested.map(|()| true)?,
            // The process is stopping.
            Err(_) => false,
        };
        Ok(Status::Failed { synced, support })
    }
}

fn active(customer: &Customer, tenant: &KnownTenant, held: Option<Subscription>) -> Option<Status> {
    held.filter(|held| holds(customer, tenant, held))
        .map(|held| Status::Active(Box::new(held)))
}

/// `None`: its job is a dead letter.
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
