//! Asking Stripe about a session that nobody here knows: once, however many wait for the answer.

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

/// How long Stripe may take for a call, all attempts together: somebody looks at a page meanwhile. Two calls at most.
const PATIENCE: Duration = Duration::from_secs(8);
/// If the process dies that asks, another one asks after so long.
const LEASE: Duration = Duration::from_secs(18);
/// How long to wait for what another process is asking, and how often to look.
const WAIT: Duration = Duration::from_secs(9);
const LOOK: Duration = Duration::from_millis(100);

/// What Stripe said of a session, as all processes remember it for a while.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Heard {
    pub(super) state: Word,
    /// Tells whose it is; and what to fulfil, where it is paid.
    pub(super) purchase: Option<Purchase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// The account has no such session, or it is none of ours.
    Missing,
    Open,
    Expired,
    /// Complete, and the bank has not confirmed the money yet (SEPA, Klarna).
    Pending,
    /// The bank has refused, or the payment was cancelled.
    Declined,
    Paid,
    /// Paid, and its `type` says that it is something else.
    Other,
    /// Paid, and all of the money was given back.
    Refunded,
    /// Stripe did not say.
    Silent,
}

impl Heard {
    fn nothing(state: Word) -> Self {
        Self {
            state,
            purchase: None,
        }
    }

    fn read(session: &CheckoutSession, account: Option<&str>) -> Self {
        let source = SessionSource::api(account, CreatedVia::Status);
        // Who has all of the money back and never had the pass does not get it now.
        if session.is_refunded() {
            return Self::drafted(Word::Refunded, session, &source);
        }
        let state = match triage_session(session, &source) {
            Triage::Fulfil(purchase) => {
                return Self {
                    state: Word::Paid,
                    purchase: Some(purchase),
                };
            }
            Triage::Ignore(_) => match session.status {
                Some(SessionStatus::Open) => Word::Open,
                Some(SessionStatus::Expired) => Word::Expired,
                Some(SessionStatus::Complete) => Word::Pending,
                Some(SessionStatus::Other) | None => Word::Missing,
            },
        };
        if let Some(purchase) = of_another_type(session, &source) {
            return Self {
                state: Word::Other,
                purchase: Some(purchase),
            };
        }
        Self::drafted(state, session, &source)
    }

    /// Not to be handed in; the purchase tells whose it is.
    fn drafted(state: Word, session: &CheckoutSession, source: &SessionSource<'_>) -> Self {
        match draft(session, source) {
            Some(purchase) => Self {
                state,
                purchase: Some(purchase),
            },
            None => Self::nothing(Word::Missing),
        }
    }

    /// For how long it is taken for true. What is expired or declined stays so; else a buyer may pay any moment.
    fn life(&self) -> Duration {
        Duration::from_secs(match self.state {
            Word::Silent => 3,
            Word::Open => 5,
            Word::Missing | Word::Pending | Word::Paid => 30,
            Word::Expired | Word::Declined | Word::Other | Word::Refunded => 600,
        })
    }
}

impl Customers {
    /// What Stripe says of a session of the tenant's account. Who asked may hang up: the answer is for all who wait. Who has
    /// asked too often about sessions that nobody knew hears nothing new.
    pub(super) async fn ask(
        &self,
        customer: &Customer,
        tenant: &KnownTenant,
        session: &str,
    ) -> Result<Heard, CustomerError> {
        let Some(stripe) = self.stripe.clone() else {
            return Ok(Heard::nothing(Word::Silent));
        };
        let (this, customer, session) = (self.clone(), customer.clone(), session.to_owned());
        let account = tenant.stripe_account.clone();
        // Cut off after the memo has told it to ask, it would let all others wait for nothing.
        let asking = tokio::spawn(async move { this.ask_all(stripe, &customer, account, &session).await });
        asking.await.unwrap_or_else(|_| Ok(Heard::nothing(Word::Silent)))
    }

    /// The memo, and Stripe where it does not know.
    async fn ask_all(
        &self,
        stripe: Client,
        customer: &Customer,
        account: Option<String>,
        session: &str,
    ) -> Result<Heard, CustomerError> {
        let name = format!("session:{}:{session}", account.as_deref().unwrap_or("own"));
        let give_up = Instant::now() + WAIT;
        loop {
            match self.memo.lookup(&name, LEASE).await? {
                Lookup::Known(answer) => {
                    // One that an older or newer program wrote.
                    return Ok(serde_json::from_slice(&answer).unwrap_or(Heard::nothing(Word::Silent)));
                }
                Lookup::InFlight if Instant::now() < give_up => tokio::time::sleep(LOOK).await,
                Lookup::InFlight => return Ok(Heard::nothing(Word::Silent)),
                Lookup::Fetch if self.has_asked_enough(customer).await? => {
                    self.memo.forget(&name).await?;
                    return Ok(Heard::nothing(Word::Silent));
                }
                Lookup::Fetch => {
                    let heard = hear(&stripe, account.as_deref(), session).await;
                    let answer = serde_json::to_vec(&heard).unwrap_or_default();
                    self.memo.publish(&name, &answer, heard.life()).await?;
                    return Ok(heard);
                }
            }
        }
    }
}

impl Customers {
    async fn has_asked_enough(&self, customer: &Customer) -> Result<bool, CustomerError> {
        let asks = RateLimit {
            name: "asks",
            per_minute: self.asks_per_minute,
        };
        Ok(self.limit(customer, asks).await?.is_some())
    }
}

async fn hear(stripe: &Client, account: Option<&str>, session: &str) -> Heard {
    let api = stripe.account(account);
    match tokio::time::timeout(PATIENCE, api.session(session)).await {
        Ok(Ok(Some(found))) if found.id.as_deref() == Some(session) => {
            let mut heard = Heard::read(&found, account);
            if heard.state == Word::Pending && is_declined(&api, &found).await {
                heard.state = Word::Declined;
            }
            heard
        }
        Ok(Ok(_)) => Heard::nothing(Word::Missing),
        Ok(Err(error)) => {
            tracing::warn!(%error, session, "a purchase could not be read from Stripe");
            Heard::nothing(Word::Silent)
        }
        Err(_) => {
            tracing::warn!(session, "Stripe did not respond within 8 s about a purchase");
            Heard::nothing(Word::Silent)
        }
    }
}

/// Whether the payment of a session that waits for the bank has come to nothing: the session itself does not say so. Where
/// that cannot be told, it still waits.
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
