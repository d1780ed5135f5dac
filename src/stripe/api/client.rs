//! The calls of the API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::value::RawValue;
use url::Url;

use super::error::Problem;
use super::filter::Query;
use super::objects::{ListedEvent, WebhookEndpoint};
use super::pages::Pages;
use super::route::Route;
use super::{EventFilter, Pace, SessionFilter, StripeError, livemode};
use crate::stripe::session::line_item_price;
use crate::stripe::{Charge, CheckoutSession, PaymentIntent};

/// How the API is called.
#[derive(Clone)]
pub struct ClientOptions {
    /// `https://api.stripe.com`, or a proxy's address and path.
    pub base: Url,
    /// The secret or restricted key.
    pub key: SecretString,
    /// The most attempts of one call, including the first.
    pub attempts: u32,
    /// The time limit of one attempt, to the last byte of the response.
    pub timeout: Duration,
    /// Randomness for the jitter of retries: each call gives a number from 0 to 1.
    pub noise: fn() -> f64,
}

impl fmt::Debug for ClientOptions {
    /// The key is left out, and so is the address: it may carry a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("attempts", &self.attempts)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A client of Stripe's API. Clones share connections and the rate limit.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

pub(super) struct Inner {
    pub(super) http: reqwest::Client,
    pub(super) options: ClientOptions,
    pub(super) pace: Arc<dyn Pace>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

impl Client {
    /// A client over `http`, which [`super::http`] creates.
    #[must_use]
    pub fn new(http: reqwest::Client, options: ClientOptions, pace: Arc<dyn Pace>) -> Self {
        Self(Arc::new(Inner { http, options, pace }))
    }

    /// Whether its key is for live payments or for test ones, as [`livemode`] says.
    #[must_use]
    pub fn livemode(&self) -> Option<bool> {
        livemode(&self.0.options.key)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    /// The API as one account sees it: a connected one (`acct_…`, sent as `Stripe-Account`), or the key's own.
    #[must_use]
    pub fn account(&self, account: Option<&str>) -> Account {
        Account {
            client: self.clone(),
            account: account.map(Arc::from),
        }
    }
}

/// The API as one account sees it.
#[derive(Debug, Clone)]
pub struct Account {
    pub(super) client: Client,
    account: Option<Arc<str>>,
}

impl Account {
    /// `acct_…` of a connected account; `None`: the key's own.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// Whether the key can read this session: a live key sees no test sessions, and the reverse.
    #[must_use]
    pub fn can_know(&self, session: &str) -> bool {
        match self.client.livemode() {
            Some(true) => !session.starts_with("cs_test_"),
            Some(false) => !session.starts_with("cs_live_"),
            None => true,
        }
    }

    /// Checkout Sessions, the newest first.
    #[must_use]
    pub fn sessions(&self, filter: SessionFilter) -> Pages<CheckoutSession> {
        Pages::new(self.clone(), Route::list(SESSIONS), filter.query(), |raw, _| {
            CheckoutSession::read(raw)
        })
        .starting_after(filter.starting_after)
    }

    /// One Checkout Session with the prices of all its line items, and with what became of its payment where the key may
    /// read that; `None`: this account has none of this id.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn session(&self, id: &str) -> Result<Option<CheckoutSession>, StripeError> {
        let expand = ["line_items", "payment_intent.latest_charge"].map(|what| ("expand[]", what.to_owned()));
        let found = match self.one(SESSIONS, id, &expand, CheckoutSession::read).await {
            Err(error) if error.is_about_permission() => {
                self.one(SESSIONS, id, &expand[..1], CheckoutSession::read)
                    .await?
            }
            found => found?,
        };
        let Some(mut session) = found else {
            return Ok(None);
        };
        if session.more_line_items {
            self.read_line_items(id, &mut session).await?;
        }
        Ok(Some(session))
    }

    /// From the first one on: a page has a hundred, so the ten that were expanded save no call.
    async fn read_line_items(&self, id: &str, session: &mut CheckoutSession) -> Result<(), StripeError> {
        let route = Route::below(SESSIONS, id, "line_items");
        let mut pages = Pages::new(self.clone(), route.clone(), Query::new(), |raw, _| {
            line_item_price(raw).ok()
        });
        session.price_ids.clear();
        for _ in 0..MOST_LINE_ITEM_PAGES {
            let Some(page) = pages.next().await? else {
                session.more_line_items = false;
                return Ok(());
            };
            session.price_ids.extend(page.items.into_iter().flatten());
            if page.unreadable > 0 && !session.unreadable.contains(&"line_items") {
                session.unreadable.push("line_items");
            }
        }
        let problem = Problem::Cursor("has no end");
        Err(StripeError::new(route.to_string(), problem, 1))
    }

    /// Events of the last 30 days, the newest first.
    #[must_use]
    pub fn events(&self, filter: EventFilter) -> Pages<ListedEvent> {
        Pages::new(
            self.clone(),
            Route::list(EVENTS),
            filter.query(),
            ListedEvent::read,
        )
        .starting_after(filter.starting_after)
    }

    /// One payment intent with its newest charge; `None`: this account has none of this id.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn payment_intent(&self, id: &str) -> Result<Option<PaymentIntent>, StripeError> {
        let expand = [("expand[]", "latest_charge".to_owned())];
        self.one(PAYMENT_INTENTS, id, &expand, PaymentIntent::read).await
    }

    /// One charge; `None`: this account has none of this id.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn charge(&self, id: &str) -> Result<Option<Charge>, StripeError> {
        self.one(CHARGES, id, &[], Charge::read).await
    }

    /// Where Stripe sends this account's webhooks to.
    #[must_use]
    pub fn webhook_endpoints(&self) -> Pages<WebhookEndpoint> {
        Pages::new(self.clone(), Route::list(ENDPOINTS), Query::new(), |raw, _| {
            WebhookEndpoint::read(raw)
        })
    }

    /// Stripe's clock, in whole seconds, at the moment of its answer. It costs a list of one session.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn server_time(&self) -> Result<DateTime<Utc>, StripeError> {
        let route = Route::list(SESSIONS);
        let answer = self.get(&route, &[("limit", "1".to_owned())]).await?;
        answer.date.ok_or_else(|| {
            let problem = Problem::Body("has no Date header");
            StripeError::new(route.to_string(), problem, answer.attempts)
        })
    }

    async fn one<T>(
        &self,
        kind: &'static str,
        id: &str,
        query: &[(&'static str, String)],
        read: fn(&RawValue) -> Option<T>,
    ) -> Result<Option<T>, StripeError> {
        let route = Route::one(kind, id);
        let answer = match self.get(&route, query).await {
            Err(error) if error.status() == Some(404) && error.code() == Some("resource_missing") => {
                return Ok(None);
            }
            answer => answer?,
        };
        let object = serde_json::from_slice::<&RawValue>(&answer.body)
            .ok()
            .and_then(read);
        object.map(Some).ok_or_else(|| {
            let problem = Problem::Body("is not the requested object");
            StripeError::new(route.to_string(), problem, answer.attempts)
        })
    }
}

/// Stripe takes a hundred line items a session at most.
const MOST_LINE_ITEM_PAGES: usize = 10;

const SESSIONS: &str = "checkout/sessions";
const EVENTS: &str = "events";
const PAYMENT_INTENTS: &str = "payment_intents";
const CHARGES: &str = "charges";
const ENDPOINTS: &str = "webhook_endpoints";
