//! Purchases in Stripe's sandbox, with webhooks and without.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::harness::{Harness, PATIENCE, eventually};
use super::{DemoError, Outcome};
use crate::lookback::reconciliation;
use crate::lookback::{AccountSyncRequest, Lookback};
use crate::store::{Subscription, UnmatchedPolicy};
use crate::stripe::api::{self, Client, Unpaced};
use crate::up::layout::DEMO_KEY;

/// How many purchases have no webhook.
const LOST: usize = 20;

impl Harness<'_> {
    pub(super) async fn webhook_from_stripe(&self) -> Result<Outcome, DemoError> {
        let sessions = self.buy_at_stripe(1, "deliver").await?;
        let count = self.all_created(&sessions).await?.len();
        Ok(Outcome {
            text: format!("signed by it, 200 → {count} subscription"),
            right: count == 1,
        })
    }

    /// Without webhooks nothing comes; the lookback lists the purchases at Stripe.
    pub(super) async fn lost_webhooks(&self) -> Result<Outcome, DemoError> {
        let sessions = self.buy_at_stripe(LOST, "drop").await?;
        self.idle().await?;
        let before = self.store.subscriptions().of(&ids(&sessions), &[]).await?.len();
        // What the schedule enqueues every ten minutes, now.
        let lookback = Lookback::new(
            self.settings,
            self.store.clone(),
            self.queue.clone(),
            self.sync.clone(),
            self.clock.clone(),
        );
        let to = self.now() + TimeDelta::seconds(1);
        let request = AccountSyncRequest::new("demo", None, to - TimeDelta::hours(3), to);
        lookback.request_account_sync(&request).await?;
        let all = self.all_created(&sessions).await?;
        let found = all
            .iter()
            .filter(|one| one.created_via.as_str() == "lookback")
            .count();
        Ok(Outcome {
            text: format!("nothing came; the lookback found {found} → {found} subscriptions"),
            right: before == 0 && found == LOST && all.len() == LOST,
        })
    }

    /// Compares Stripe's list with the store, whatever the queue knows.
    pub(super) async fn reconciliation(&self) -> Result<Outcome, DemoError> {
        let to = self.now() + TimeDelta::seconds(1);
        let options = reconciliation::Options {
            unmatched: UnmatchedPolicy::Park,
            from: to - TimeDelta::days(1),
            to,
            grace: Duration::ZERO,
            tenant: None,
            livemode: Some(false),
            client_reference: self.settings.fulfil.client_reference_id,
        };
        let of_client = api::ClientOptions {
            base: self.demo.stripe().parse()?,
            key: DEMO_KEY.into(),
            attempts: 3,
            timeout: PATIENCE,
            noise: rand::random,
        };
        let client = Client::new(api::http()?, of_client, std::sync::Arc::new(Unpaced));
        let balance = reconciliation::reconcile(&client, self.store.as_ref(), options, |_| {}).await?;
        let (paid, missing, doubled) = (balance.paid, balance.missing.count, balance.doubled.count);
        Ok(Outcome {
            text: format!("{paid} paid there, {missing} missing, {doubled} doubled"),
            right: balance.ok && paid == LOST as u64 + 1,
        })
    }

    /// The address of a page on which a person can buy ten classes by hand.
    pub(super) async fn hosted_page(&self) -> Result<String, DemoError> {
        let order = json!({
            "outcome": "open", "guests": true, "email": "", "metadata": {"type": "pass_purchase", "passId": "pass-10",
                "tenantId": "tenant-1"},
            "success_url": format!("http://{}/", self.layout.address),
        });
        let sessions = self.order(order).await?;
        let id = sessions.first().map(String::as_str).unwrap_or_default();
        Ok(format!("{}/pay/{id}", self.demo.stripe()))
    }

    /// Buys ten classes so many times. Returns the sessions.
    async fn buy_at_stripe(&self, count: usize, webhooks: &str) -> Result<Vec<String>, DemoError> {
        let unique = ulid::Ulid::generate();
        let order = json!({
            "count": count, "webhooks": webhooks, "email": format!("{unique}-{{c}}@example.com"),
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "tenantId": "tenant-1",
                "userId": format!("user_{unique}_{{c}}")},
        });
        self.order(order).await
    }

    async fn order(&self, order: Value) -> Result<Vec<String>, DemoError> {
        let url = format!("{}/_sandbox/purchases", self.demo.stripe());
        let answer = self.client.post(url).json(&order).send().await?;
        let made: Value = answer.error_for_status()?.json().await?;
        let sessions = made["sessions"].as_array();
        let ids = sessions
            .into_iter()
            .flatten()
            .filter_map(|one| one["id"].as_str());
        Ok(ids.map(str::to_owned).collect())
    }

    /// Waits until all of them have their subscription. Returns those that have one, all or not.
    async fn all_created(&self, sessions: &[String]) -> Result<Vec<Subscription>, DemoError> {
        let look = async || Ok(self.store.subscriptions().of(&ids(sessions), &[]).await?);
        let all = eventually(async || {
            let found = look().await?;
            Ok((found.len() >= sessions.len()).then_some(found))
        });
        match all.await? {
            Some(all) => Ok(all),
            None => look().await,
        }
    }
}

fn ids(sessions: &[String]) -> Vec<&str> {
    sessions.iter().map(String::as_str).collect()
}
