//! Asks Stripe about a session that neither the store nor the queue knows: one call, however many requests wait for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{CustomerError, Customers};
use crate::fulfil::{Purchase, SessionSource};
use crate::identity::Customer;
use crate::ingest::{Triage, draft, of_another_type, triage_session};
use crate::queue::{Lookup, RateLimit};
use crate::store::{CreatedVia, KnownTenant};
use crate::stripe::api::{Account, Client};
use crate::stripe::{CheckoutSession, SessionStatus};

/// How long Stripe may take for a call, all attempts together: a customer is looking at a page. Two calls at most.
const PATIENCE: Duration = Duration::from_secs(8);
/// If the process that asks dies, another one asks after this time.
const LEASE: Duration = Duration::from_secs(18);
/// How long to wait for the answer that another process is fetching, and how often to look.
const WAIT: Duration = Duration::from_secs(9);
const LOOK: Duration = Duration::from_millis(100);

/// What Stripe said about a session. It is cached for all processes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StripeAnswer {
    pub(super) state: SessionState,
    /// Says whose session it is and, if it is paid, what to fulfil.
    pub(super) purchase: Option<Purchase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SessionState {
    /// The account has no such session, or the session is not ours.
    Missing,
    Open,
    Expired,
    /// Complete, but the bank has not confirmed the payment yet (SEPA, Klarna).
    Pending,
    /// The bank declined, or the payment was cancelled.
    Declined,
    Paid,
    /// Paid, but its `type` is not a pass.
    Other,
    /// Paid, and refunded in full.
    Refunded,
    /// Stripe did not answer.
    NoAnswer,
}

impl StripeAnswer {
    fn nothing(state: SessionState) -> Self {
        Self {
            state,
            purchase: None,
        }
    }

    fn read(session: &CheckoutSession, account: Option<&str>) -> Self {
        let source = SessionSource::api(account, CreatedVia::Status);
        // A full refund before the pass was created: none is created now.
        if session.is_refunded() {
            return Self::drafted(SessionState::Refunded, session, &source);
        }
        let state = match triage_session(session, &source) {
            Triage::Fulfil(purchase) => {
                return Self {
                    state: SessionState::Paid,
                    purchase: Some(purchase),
                };
            }
            Triage::Ignore(_) => match session.status {
                Some(SessionStatus::Open) => SessionState::Open,
                Some(SessionStatus::Expired) => SessionState::Expired,
                Some(SessionStatus::Complete) => SessionState::Pending,
                Some(SessionStatus::Other) | None => SessionState::Missing,
            },
        };
        if let Some(purchase) = of_another_type(session, &source) {
            return Self {
                state: SessionState::Other,
                purchase: Some(purchase),
            };
        }
        Self::drafted(state, session, &source)
    }

    /// Not to be enqueued; the purchase only says whose session it is.
    fn drafted(state: SessionState, session: &CheckoutSession, source: &SessionSource<'_>) -> Self {
        match draft(session, source) {
            Some(purchase) => Self {
                state,
                purchase: Some(purchase),
            },
            None => Self::nothing(SessionState::Missing),
        }
    }

    /// How long it is cached. Expired and declined are final; otherwise the buyer may pay at any moment.
    fn time_to_live(&self) -> Duration {
        Duration::from_secs(match self.state {
            SessionState::NoAnswer => 3,
            SessionState::Open => 5,
            SessionState::Missing | SessionState::Pending | SessionState::Paid => 30,
            SessionState::Expired | SessionState::Declined | SessionState::Other | SessionState::Refunded => {
                600
            }
        })
    }
}

impl Customers {
    /// What Stripe says about a session of the tenant's account. It finishes even if the client disconnects, because others may
    /// wait for it. A customer over their limit gets only what is cached.
    pub(super) async fn stripe_answer(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<StripeAnswer, CustomerError> {
        let Some(stripe) = self.stripe.clone() else {
            return Ok(StripeAnswer::nothing(SessionState::NoAnswer));
        };
        let (this, customer, session) = (self.clone(), customer.clone(), session.to_owned());
        let account = tenant.stripe_account.clone();
        // A task of its own: cancelled between lookup and publish, it would keep all others waiting.
        let asking =
            tokio::spawn(async move { this.shared_answer(stripe, &customer, account, &session).await });
        asking
            .await
            .unwrap_or_else(|_| Ok(StripeAnswer::nothing(SessionState::NoAnswer)))
    }

    /// The cached answer, or else Stripe's.
    async fn shared_answer(
        &self,
        stripe: Client,
        customer: &Customer,
        account: Option<String>,
        session: &str,
    ) -> Result<StripeAnswer, CustomerError> {
        let name = format!("session:{}:{session}", account.as_deref().unwrap_or("own"));
        let give_up = Instant::now() + WAIT;
        loop {
            match self.single_flight.lookup(&name, LEASE).await? {
                Lookup::Known(json) => {
                    // An older or newer version may have written it in another form.
                    return Ok(serde_json::from_slice(&json)
                        .unwrap_or(StripeAnswer::nothing(SessionState::NoAnswer)));
                }
                Lookup::InFlight if Instant::now() < give_up => tokio::time::sleep(LOOK).await,
                Lookup::InFlight => return Ok(StripeAnswer::nothing(SessionState::NoAnswer)),
                Lookup::Fetch if self.is_over_limit(customer).await? => {
                    self.single_flight.forget(&name).await?;
                    return Ok(StripeAnswer::nothing(SessionState::NoAnswer));
                }
                Lookup::Fetch => {
                    let answer = read_from_stripe(&stripe, account.as_deref(), session).await;
                    let json = serde_json::to_vec(&answer).unwrap_or_default();
                    let time_to_live = answer.time_to_live();
                    self.single_flight.publish(&name, &json, time_to_live).await?;
                    return Ok(answer);
                }
            }
        }
    }

    async fn is_over_limit(&self, customer: &Customer) -> Result<bool, CustomerError> {
        let asks = RateLimit {
            name: "asks",
            per_minute: self.asks_per_minute,
        };
        Ok(self.limit(customer, asks).await?.is_some())
    }
}

async fn read_from_stripe(stripe: &Client, account: Option<&str>, session: &str) -> StripeAnswer {
    let api = stripe.account(account);
    match tokio::time::timeout(PATIENCE, api.session(session)).await {
        Ok(Ok(Some(found))) if found.id.as_deref() == Some(session) => {
            let mut answer = StripeAnswer::read(&found, account);
            if answer.state == SessionState::Pending && is_declined(&api, &found).await {
                answer.state = SessionState::Declined;
            }
            answer
        }
        Ok(Ok(_)) => StripeAnswer::nothing(SessionState::Missing),
        Ok(Err(error)) => {
            tracing::warn!(%error, session, "a purchase could not be read from Stripe");
            StripeAnswer::nothing(SessionState::NoAnswer)
        }
        Err(_) => {
            tracing::warn!(session, "Stripe did not respond within 8 s about a purchase");
            StripeAnswer::nothing(SessionState::NoAnswer)
        }
    }
}

/// Whether the bank declined a payment that was pending: the session itself does not say so. `false` if Stripe does not answer.
async fn is_declined(api: &Account, session: &CheckoutSession) -> bool {
    let Some(payment) = &session.payment_intent else {
        return false;
    };
    let intent = tokio::time::timeout(PATIENCE, api.payment_intent(payment)).await;
    let status = match intent {
        Ok(Ok(intent)) => intent.and_then(|intent| intent.status),
        Ok(Err(error)) => {
            tracing::debug!(%error, "whether a bank declined a payment could not be read");
            None
        }
        Err(_) => None,
    };
    matches!(status.as_deref(), Some("requires_payment_method" | "canceled"))
}
