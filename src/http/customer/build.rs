//! Builds the [`CustomerApi`] from the settings.

use std::sync::Arc;
use std::time::Duration;

use super::CustomerApi;
use crate::clock::Clock;
use crate::config::Settings;
use crate::customer::{Customers, Proofs, StatusStreams};
use crate::fulfil::Tenants;
use crate::http::{StartError, connections};
use crate::identity::Identity;
use crate::lookback::Lookback;
use crate::queue::{JobEvents, Queue, RateLimiter, Redis, SingleFlight, TokenBucket, TokenBucketOptions};
use crate::store::Store;
use crate::stripe::api::{self, Client, ClientOptions};

/// How long one call of Stripe may take, and how often it is tried: a customer is looking at a page, which polls again.
const PATIENCE: Duration = Duration::from_secs(4);
const ATTEMPTS: u32 = 2;

impl CustomerApi {
    pub(in crate::http) fn build(
        settings: &Settings,
        redis: &Redis,
        fulfil: &Queue,
        sync: &Queue,
        store: &Arc<Store>,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let http = api::http().map_err(|error| StartError::Client(error.to_string()))?;
        let stripe = match settings.stripe_options() {
            None => None,
            Some(options) => {
                let bucket = TokenBucketOptions {
                    patience: PATIENCE,
                    ..settings.stripe_rate_limit()
                };
                let options = ClientOptions {
                    attempts: ATTEMPTS,
                    timeout: PATIENCE,
                    ..options
                };
                Some(Client::new(
                    http.clone(),
                    options,
                    Arc::new(TokenBucket::new(redis, bucket)?),
                ))
            }
        };
        // It enqueues syncs and reads their reports; workers run them.
        let lookback = Lookback::new(
            settings,
            store.clone(),
            fulfil.clone(),
            sync.clone(),
            clock.clone(),
        );
        let customers = Customers {
            store: store.clone(),
            tenants: Arc::new(Tenants::new(store.clone(), clock.clone())),
            fulfil: fulfil.clone(),
            lookback: Arc::new(lookback),
            stripe,
            single_flight: SingleFlight::new(redis, &settings.queue.prefix)?,
            limiter: RateLimiter::new(redis, &settings.queue.prefix)?,
            streams: StatusStreams::new(JobEvents::of(fulfil), streams(settings), rand::random),
            proofs: Proofs::default(),
            client_reference: settings.fulfil.client_reference_id,
            asks_per_minute: *settings.customers.asks_per_minute,
            clock: clock.clone(),
        };
        let identity = Identity::new(settings.customers.identity_options(), http, clock.clone());
        if !identity.is_configured() {
            tracing::info!(
                "customer routes are off: set SUREPASS_JWKS_URL or SUREPASS_JWT_SECRET, so that customers can sign in"
            );
        }
        if identity.is_configured() && settings.server.public_url.is_none() {
            tracing::info!(
                "server.public_url is not set: our own pages are recognised by the headers Host and X-Forwarded-Proto; behind a proxy set SUREPASS_PUBLIC_URL"
            );
        }
        if identity.is_configured() && settings.hides_addresses() {
            tracing::warn!(
                "customers.address_header is empty: behind the proxy of server.public_url all customers have the same address, and share one rate limit"
            );
        }
        Ok(Self {
            customers,
            identity,
            settings: settings.customers.clone(),
            public: settings.server.public_url.clone(),
        })
    }
}

/// How many streams may be open: as many as set, if the limit of open files allows it.
fn streams(settings: &Settings) -> usize {
    let wanted = u64::from(*settings.customers.streams);
    let files = connections::allow(wanted + connections::LEFT_TO_OTHERS);
    let room = files.saturating_sub(connections::LEFT_TO_OTHERS).min(wanted);
    if room < wanted {
        tracing::warn!(
            files,
            streams = room,
            "fewer streams than customers.streams can be open at a time: raise the hard limit of open files (ulimit -Hn)"
        );
    }
    usize::try_from(room).unwrap_or(usize::MAX)
}
