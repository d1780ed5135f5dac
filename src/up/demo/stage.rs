//! Where the demo's scenes are played: the running system, and ways to send to it and to look into its store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::PATIENCE;
use crate::clock::Clock;
use crate::config::Settings;
use crate::queue::Queue;
use crate::store::{Store, Subscription, SubscriptionFilter, UnmatchedPayment};
use crate::stripe::signature::sign;
use crate::unmatched::{Assignment, CaseWorker};
use crate::up::sample::SampleSession;
use crate::up::{Place, UpError};

/// How often a webhook is sent that gets no answer.
const ATTEMPTS: u32 = 4;

pub(super) struct Stage<'a> {
    pub(super) client: &'a reqwest::Client,
    pub(super) place: &'a Place,
    pub(super) settings: &'a Settings,
    pub(super) store: &'a Arc<Store>,
    /// Of purchases.
    pub(super) queue: Queue,
    /// Of lookbacks.
    pub(super) sync: Queue,
    pub(super) clock: Clock,
}

impl Stage<'_> {
    pub(super) fn sample(&self) -> SampleSession {
        SampleSession::ten_classes(ulid::Ulid::generate().to_string(), self.now())
    }

    /// In whole seconds, as Stripe tells time.
    pub(super) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.now().timestamp(), 0).unwrap_or_default()
    }

    pub(super) async fn send(&self, body: Vec<u8>, header: String) -> Result<(u16, String), UpError> {
        self.send_to("/webhooks/stripe", body, header).await
    }

    pub(super) async fn send_to(
        &self,
        path: &str,
        body: Vec<u8>,
        header: String,
    ) -> Result<(u16, String), UpError> {
        let url = format!("http://{}{path}", self.place.address);
        let (body, mut attempt) = (Bytes::from(body), 1);
        let response = loop {
            let request = self.client.post(&url).header("Stripe-Signature", &header);
            match request.body(body.clone()).send().await {
                // Stripe sends again what got no answer, too. A slow machine opens 500 connections faster than it uses
                // them, and the server closes those of one address that are over its limit.
                Err(_) if attempt < ATTEMPTS => attempt += 1,
                answer => break answer?,
            }
        };
        Ok((response.status().as_u16(), response.text().await?))
    }

    pub(super) async fn post(&self, body: Vec<u8>) -> Result<(u16, String), UpError> {
        let header = sign(&self.place.webhook_secret, self.now().timestamp(), &body);
        self.send(body, header).await
    }

    pub(super) async fn held(&self, session: &SampleSession) -> Result<Vec<Subscription>, UpError> {
        let filter = SubscriptionFilter {
            session: Some(session.session_id()),
            ..SubscriptionFilter::default()
        };
        Ok(self.store.subscriptions().list(&filter, 10).await?)
    }

    /// Waits for the subscription of a session.
    pub(super) async fn granted(&self, session: &SampleSession) -> Result<Option<Subscription>, UpError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(one) = self.held(session).await?.pop() {
                return Ok(Some(one));
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(None)
    }

    /// Waits for the unmatched payment of a session.
    pub(super) async fn parked(&self, session: &SampleSession) -> Result<Option<UnmatchedPayment>, UpError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut cases = self
                .store
                .unmatched()
                .unmatched_of(&[&session.session_id()])
                .await?;
            if let Some(case) = cases.pop() {
                return Ok(Some(case));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(None)
    }

    /// Assigns it a pass, as `surepass unmatched assign` does, once its job has ended.
    pub(super) async fn assign(
        &self,
        case: &UnmatchedPayment,
        tenant: &str,
        pass: &str,
    ) -> Result<(), UpError> {
        self.idle().await?;
        let worker = CaseWorker {
            store: self.store.as_ref(),
            queue: &self.queue,
            clock: self.clock.clone(),
            who: "demo",
            why: "the buyer wrote which pass it was",
        };
        let wanted = Assignment {
            pass,
            user: None,
            tenant: Some(tenant),
        };
        worker.assign(case, wanted).await?;
        Ok(())
    }

    /// Waits until the queue has nothing to do.
    pub(super) async fn idle(&self) -> Result<(), UpError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let counts = self.queue.counts().await?;
            if counts.waiting + counts.scheduled + counts.running == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// What a webhook was answered with, and what came of it.
pub(super) fn told(status: u16, granted: Option<&Subscription>) -> String {
    let Some(one) = granted else {
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
