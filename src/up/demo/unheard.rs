//! Purchases in Stripe's sandbox: those that a webhook tells of, and those that none does.

use std::time::Instant;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::stage::Stage;
use super::{PATIENCE, Scene};
use crate::lookback::reconciliation;
use crate::lookback::{AccountSyncRequest, Lookback};
use crate::store::{Subscription, UnmatchedPolicy};
use crate::stripe::api::{self, Client, Unpaced};
use crate::up::{DEMO_KEY, UpError};

/// How many purchases no webhook tells of.
const UNHEARD: usize = 20;

impl Stage<'_> {
    pub(super) async fn told_by_stripe(&self) -> Result<Scene, UpError> {
        let begun = Instant::now();
        let sessions = self.bought_at_stripe(1, "deliver").await?;
        let held = self.all_held(&sessions).await?;
        Ok(Scene {
            sent: "paid in the Stripe sandbox; its webhook comes",
            came_out: format!("signed by it, 200 → {} subscription", held.len()),
            right: held.len() == 1,
            took: begun.elapsed(),
        })
    }

    /// Nobody tells of them, so nothing comes; the lookback lists them at Stripe.
    pub(super) async fn told_by_nobody(&self) -> Result<Scene, UpError> {
        let sessions = self.bought_at_stripe(UNHEARD, "drop").await?;
        self.idle().await?;
        let before = self.store.subscriptions().of(&names(&sessions), &[]).await?.len();
        let begun = Instant::now();
        self.look_back().await?;
        let held = self.all_held(&sessions).await?;
        let found = held
            .iter()
            .filter(|one| one.created_via.as_str() == "lookback")
            .count();
        Ok(Scene {
            sent: "20 paid there, and every webhook lost",
            came_out: format!("nothing came; the lookback found {found} → {found} subscriptions"),
            right: before == 0 && found == UNHEARD && held.len() == UNHEARD,
            took: begun.elapsed(),
        })
    }

    /// Stripe's list against the store, whatever the queue thinks.
    pub(super) async fn reconciled(&self) -> Result<Scene, UpError> {
        let begun = Instant::now();
        let to = self.now() + TimeDelta::seconds(1);
        let options = reconciliation::Options {
            unmatched: UnmatchedPolicy::Park,
            from: to - TimeDelta::days(1),
            to,
            grace: std::time::Duration::ZERO,
            tenant: None,
            livemode: Some(false),
            client_reference: self.settings.fulfil.client_reference_id,
        };
        let client = self.stripe()?;
        let balance = reconciliation::reconcile(&client, self.store.as_ref(), options, |_| {}).await?;
        let (paid, missing, doubled) = (balance.paid, balance.missing.count, balance.doubled.count);
        Ok(Scene {
            sent: "the ledger: Stripe against the store",
            came_out: format!("{paid} paid there, {missing} missing, {doubled} doubled"),
            right: balance.ok && paid == UNHEARD as u64 + 1,
            took: begun.elapsed(),
        })
    }

    /// The address of a page on which a person can buy ten classes by hand.
    pub(super) async fn hosted_page(&self) -> Result<String, UpError> {
        let order = json!({
            "outcome": "open", "guests": true, "email": "", "metadata": {"type": "pass_purchase", "passId": "pass-10",
                "tenantId": "tenant-1"},
            "success_url": format!("http://{}/", self.place.address),
        });
        let made = self.order(order).await?;
        let id = made.first().map(String::as_str).unwrap_or_default();
        Ok(format!("{}/pay/{id}", self.place.stripe()))
    }

    /// The sessions of so many purchases of ten classes, made and paid at once.
    async fn bought_at_stripe(&self, count: usize, webhooks: &str) -> Result<Vec<String>, UpError> {
        let unique = ulid::Ulid::generate();
        let order = json!({
            "count": count, "webhooks": webhooks, "email": format!("{unique}-{{c}}@example.com"),
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "tenantId": "tenant-1",
                "userId": format!("user_{unique}_{{c}}")},
        });
        self.order(order).await
    }

    async fn order(&self, order: Value) -> Result<Vec<String>, UpError> {
        let url = format!("{}/_sandbox/purchases", self.place.stripe());
        let answer = self.client.post(url).json(&order).send().await?;
        let made: Value = answer.error_for_status()?.json().await?;
        let sessions = made["sessions"].as_array();
        let ids = sessions
            .into_iter()
            .flatten()
            .filter_map(|one| one["id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// What the schedule enqueues every ten minutes, now.
    async fn look_back(&self) -> Result<(), UpError> {
        let (fulfil, sync) = (self.queue.clone(), self.sync.clone());
        let lookback = Lookback::new(
            self.settings,
            self.store.clone(),
            fulfil,
            sync,
            self.clock.clone(),
        );
        let to = self.now() + TimeDelta::seconds(1);
        let request = AccountSyncRequest::new("demo", None, to - TimeDelta::hours(3), to);
        lookback.request_account_sync(&request).await?;
        Ok(())
    }

    fn stripe(&self) -> Result<Client, UpError> {
        let options = api::ClientOptions {
            base: self.place.stripe().parse()?,
            key: DEMO_KEY.into(),
            attempts: 3,
            timeout: PATIENCE,
            noise: rand::random,
        };
        Ok(Client::new(api::http()?, options, std::sync::Arc::new(Unpaced)))
    }

    /// Waits until all of them have their subscription, or long enough.
    async fn all_held(&self, sessions: &[String]) -> Result<Vec<Subscription>, UpError> {
        let end = Instant::now() + PATIENCE;
        loop {
            let held = self.store.subscriptions().of(&names(sessions), &[]).await?;
            if held.len() >= sessions.len() || Instant::now() > end {
                return Ok(held);
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

fn names(sessions: &[String]) -> Vec<&str> {
    sessions.iter().map(String::as_str).collect()
}
