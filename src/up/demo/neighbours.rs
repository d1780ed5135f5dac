//! Two tenants that share one Stripe account, each with a webhook endpoint: Stripe sends every event to both.

use std::time::Instant;

use secrecy::SecretString;
use serde_json::json;

use super::Scene;
use super::scenes::COMPLETED;
use super::stage::Stage;
use crate::store::{Store, catalog};
use crate::stripe::signature::sign;
use crate::up::UpError;

const SLUGS: [&str; 2] = ["north", "south"];

/// Loads both, with secrets that no other process knows.
pub(super) async fn import(store: &Store) -> Result<(), UpError> {
    let tenants = SLUGS.map(|slug| {
        json!({
            "id": tenant_of(slug), "slug": slug, "name": format!("Studio {slug}"), "timeZone": "Europe/Oslo",
            "webhookSecrets": [format!("whsec_{}", hex::encode(rand::random::<[u8; 24]>()))],
            "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
                "currency": "nok", "validityType": "days", "validityDays": 90}],
        })
    });
    let catalogue = catalog::Catalog::parse(&json!({ "tenants": tenants }).to_string())?;
    store
        .catalog()
        .import(&catalogue.tenants, &catalogue.secrets)
        .await?;
    Ok(())
}

fn tenant_of(slug: &str) -> String {
    format!("tenant-{slug}")
}

impl Stage<'_> {
    /// A purchase at each tenant, told to its own endpoint first; then one of each told to the other's first.
    pub(super) async fn shared_account(&self) -> Result<Scene, UpError> {
        let ids = SLUGS.map(tenant_of);
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let secrets = self.store.catalog().webhook_secrets(Some(&ids)).await?;
        let secret = |slug: &str| secrets.get(&tenant_of(slug))?.first().cloned();
        let [Some(north), Some(south)] = SLUGS.map(secret) else {
            return Ok(Scene::of(
                SENT,
                "the tenants are not there".to_owned(),
                false,
                Instant::now(),
            ));
        };
        let endpoints = [(SLUGS[0], north), (SLUGS[1], south)];
        let begun = Instant::now();
        let mut right = 0;
        for owner in SLUGS {
            for first in [0, 1] {
                let order = [&endpoints[first], &endpoints[1 - first]];
                right += usize::from(self.sold_by(owner, order).await?);
            }
        }
        let came_out =
            format!("200 from both, in either order → {right} of 4 passes, each at its own tenant");
        Ok(Scene::of(SENT, came_out, right == 4, begun))
    }

    /// Sends one purchase to both endpoints, and the second time only when the first has been worked off. Whether its owner has
    /// the one pass of it, and nobody has to look at anything.
    async fn sold_by(&self, owner: &str, endpoints: [&(&str, SecretString); 2]) -> Result<bool, UpError> {
        let session = self.sample().with("tenantId", Some(&tenant_of(owner)));
        let body = session.event(COMPLETED, 1);
        for (slug, secret) in endpoints {
            let header = sign(secret, self.now().timestamp(), &body);
            let path = format!("/webhooks/stripe/{slug}");
            let (status, answer) = self.send_to(&path, body.clone(), header).await?;
            if status != 200 || !answer.contains(r#""duplicate":false"#) {
                return Ok(false);
            }
            self.idle().await?;
        }
        let held = self.held(&session).await?;
        let id = session.session_id();
        let cases = self.store.unmatched().unmatched_of(&[&id]).await?;
        let is_owners = matches!(&held[..], [one] if one.tenant == tenant_of(owner) && one.is_active);
        Ok(is_owners && cases.is_empty())
    }
}

const SENT: &str = "two endpoints in one Stripe account: each event to both";
