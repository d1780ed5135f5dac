//! The calls that there are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde_json::value::RawValue;
use url::Url;

use super::error::Problem;
use super::filter::Query;
use super::objects::{Customer, ListedEvent, WebhookEndpoint};
use super::pages::{Pages, Way};
use super::route::Route;
use super::{EventFilter, Pace, SessionFilter, StripeError, livemode};
use crate::stripe::session::line_item_price;
use crate::stripe::{Charge, CheckoutSession, PaymentIntent, Refund};

/// How the API is called.
#[derive(Clone)]
pub struct ClientOptions {
    /// Where it is: `https://api.stripe.com`, or a path below which a proxy has it.
    pub base: Url,
    /// The secret or restricted key.
    pub key: SecretString,
    /// How often one call is made at most, the first one included.
    pub attempts: u32,
    /// How long one attempt may take, from its beginning to the last byte of the answer.
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

/// Stripe's API, as far as Surepass reads it. Clones share connections and pace.
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
    /// A client over `http`, which [`super::http`] makes as it must be.
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

    /// Whether what has this id can be there for the key: live and test payments know nothing of each other.
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
        .from(Way::Back, filter.starting_after)
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

    /// From the first one on: a page has a hundred, so the ten that are there save no call.
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

    /// Events of the last 30 days: the newest first; with `ending_before` the oldest first.
    #[must_use]
    pub fn events(&self, filter: EventFilter) -> Pages<ListedEvent> {
        let pages = Pages::new(
            self.clone(),
            Route::list(EVENTS),
            filter.query(),
            ListedEvent::read,
        );
        match filter.ending_before {
            Some(cursor) => pages.from(Way::On, Some(cursor)),
            None => pages.from(Way::Back, filter.starting_after),
        }
    }

    /// One customer; `None`: this account has none of this id.
    ///
    /// # Errors
    /// [`StripeError`].
    pub async fn customer(&self, id: &str) -> Result<Option<Customer>, StripeError> {
        self.one(CUSTOMERS, id, &[], Customer::read).await
    }

    /// The customers with this email, the newest first. Stripe compares it letter by letter.
    #[must_use]
    pub fn customers(&self, email: &str) -> Pages<Customer> {
        let query = vec![("email", email.to_owned())];
        Pages::new(self.clone(), Route::list(CUSTOMERS), query, |raw, _| {
            Customer::read(raw)
        })
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

    /// What was given back of a payment (`pi_…`), the newest first.
    #[must_use]
    pub fn refunds(&self, payment_intent: &str) -> Pages<Refund> {
        let query = vec![("payment_intent", payment_intent.to_owned())];
        Pages::new(self.clone(), Route::list(REFUNDS), query, |raw, _| {
            Refund::read(raw)
        })
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
            let problem = Problem::Body("does not say when it was made");
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
            let problem = Problem::Body("is not the object that was asked for");
            StripeError::new(route.to_string(), problem, answer.attempts)
        })
    }
}

/// Stripe takes a hundred line items a session at most.
const MOST_LINE_ITEM_PAGES: usize = 10;

const SESSIONS: &str = "checkout/sessions";
const EVENTS: &str = "events";
const CUSTOMERS: &str = "customers";
const PAYMENT_INTENTS: &str = "payment_intents";
const CHARGES: &str = "charges";
const REFUNDS: &str = "refunds";
const ENDPOINTS: &str = "webhook_endpoints";
