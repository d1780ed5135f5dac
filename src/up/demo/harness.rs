//! What the demo's scenes have in common: ways to send to the running system, and to wait for what comes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use super::{DemoError, Outcome};
use crate::clock::Clock;
use crate::config::{QueueName, Settings};
use crate::queue::{Queue, QueueConfig, Redis, RedisOptions};
use crate::store::{Store, Subscription, SubscriptionFilter, UnmatchedPayment};
use crate::stripe::signature::sign;
use crate::up::layout::{DemoLayout, Layout};
use crate::up::sample::SampleSession;

pub(super) const COMPLETED: &str = "checkout.session.completed";
/// How long an outcome may take before it counts as missing.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How often a webhook is sent that gets no answer.
const ATTEMPTS: u32 = 4;

pub(super) struct Harness<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) layout: &'a Layout,
    pub(super) demo: &'a DemoLayout,
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Arc<Store>,
    /// Of purchases.
    pub(super) queue: Queue,
    /// Of lookbacks.
    pub(super) sync: Queue,
    pub(super) clock: Clock,
}

impl<'a> Harness<'a> {
    pub(super) fn new(
        client: &'a reqwest::Client,
        layout: &'a Layout,
        demo: &'a DemoLayout,
        store: &'a Arc<Store>,
        settings: &'a Settings,
    ) -> Result<Self, DemoError> {
        let redis = Redis::open(&layout.redis_url, RedisOptions::default())?;
        let queue = |name| {
            let config = QueueConfig {
                prefix: layout.prefix.clone(),
                ..settings.queue_config_of(name)
            };
            Queue::new(&redis, config)
        };
        Ok(Self {
            client,
            layout,
            demo,
            settings,
            store,
            queue: queue(QueueName::Fulfil)?,
            sync: queue(QueueName::Sync)?,
            clock: Clock::system(),
        })
    }

    pub(super) fn sample(&self) -> SampleSession {
        SampleSession::ten_classes(ulid::Ulid::generate().to_string(), self.now())
    }

    /// In whole seconds, as Stripe's times are.
    pub(super) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.now().timestamp(), 0).unwrap_or_default()
    }

    /// Sends an event that is signed with `secret` as of `age` seconds ago. Returns the status and the body of the response.
    pub(super) async fn send(
        &self,
        path: &str,
        body: Vec<u8>,
        secret: &SecretString,
        age: i64,
    ) -> Result<(u16, String), DemoError> {
        let url = format!("http://{}{path}", self.layout.address);
        let header = sign(secret, self.now().timestamp() - age, &body);
        let (body, mut attempt) = (Bytes::from(body), 1);
        let response = loop {
            let request = self.client.post(&url).header("Stripe-Signature", &header);
            match request.body(body.clone()).send().await {
                // Stripe retries these, too. A slow machine opens 500 connections faster than it uses them, and the server
                // closes those of one address that are over its limit.
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                response => break response?,
            }
        };
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Sends the `nth` event of a session, as Stripe does.
    pub(super) async fn post(
        &self,
        session: &SampleSession,
        kind: &str,
        nth: u32,
    ) -> Result<(u16, String), DemoError> {
        let body = session.event(kind, nth);
        self.send("/webhooks/stripe", body, &self.layout.webhook_secret, 0)
            .await
    }

    /// Sends the event of a purchase and waits for its subscription, which should be as `expected`.
    pub(super) async fn buy(
        &self,
        session: &SampleSession,
        expected: impl Fn(&Subscription) -> bool,
    ) -> Result<Outcome, DemoError> {
        let (status, _) = self.post(session, COMPLETED, 1).await?;
        let created = self.created(session).await?;
        Ok(Outcome {
            text: describe(status, created.as_ref()),
            right: status == 200 && created.is_some_and(|one| one.is_active && expected(&one)),
        })
    }

    pub(super) async fn subscriptions(
        &self,
        session: &SampleSession,
    ) -> Result<Vec<Subscription>, DemoError> {
        let filter = SubscriptionFilter {
            session: Some(session.session_id()),
            ..SubscriptionFilter::default()
        };
        Ok(self.store.subscriptions().list(&filter, 10).await?)
    }

    /// Waits for the subscription of a session.
    pub(super) async fn created(&self, session: &SampleSession) -> Result<Option<Subscription>, DemoError> {
        eventually(async || Ok(self.subscriptions(session).await?.pop())).await
    }

    /// Waits for the unmatched payment of a session.
    pub(super) async fn unmatched(
        &self,
        session: &SampleSession,
    ) -> Result<Option<UnmatchedPayment>, DemoError> {
        let id = session.session_id();
        eventually(async || Ok(self.store.unmatched().unmatched_of(&[&id]).await?.pop())).await
    }

    /// Waits until the queue has nothing to do.
    pub(super) async fn idle(&self) -> Result<(), DemoError> {
        let idle = async || {
            let counts = self.queue.counts().await?;
            Ok((counts.waiting + counts.scheduled + counts.running == 0).then_some(()))
        };
        eventually(idle).await?;
        Ok(())
    }
}

/// Looks again and again until something is there; `None`: it was not within [`PATIENCE`].
pub(super) async fn eventually<T>(
    look: impl AsyncFn() -> Result<Option<T>, DemoError>,
) -> Result<Option<T>, DemoError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = look().await?;
        if found.is_some() || Instant::now() > end {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// The response to a webhook, and the subscription that was created for it.
pub(super) fn describe(status: u16, created: Option<&Subscription>) -> String {
    let Some(one) = created else {
        return format!("{status} → no subscription");
    };
    let classes = match one.remaining_clips {
        None => "unlimited".to_owned(),
        Some(1) => "1 class".to_owned(),
        Some(clips) => format!("{clips} classes"),
    };
    let until = one.end_date.format("%Y-%m-%d");
    format!("{status} → {}, {classes}, until {until}", one.kind.as_str())
}
