//! Two tenants that share one Stripe account, each with a webhook endpoint: Stripe sends every event to both.

use secrecy::SecretString;
use serde_json::json;

use super::harness::{COMPLETED, Harness};
use super::{DemoError, Outcome};
use crate::store::{Store, catalog};

const SLUGS: [&str; 2] = ["north", "south"];

/// Loads both, with secrets that no other process knows.
pub(super) async fn import(store: &Store) -> Result<(), DemoError> {
    let tenants = SLUGS.map(|slug| {
        json!({
            "id": tenant_of(slug), "slug": slug, "name": format!("Studio {slug}"), "timeZone": "Europe/Oslo",
            "webhookSecrets": [format!("whsec_{}", hex::encode(rand::random::<[u8; 24]>()))],
            "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10, "price": 150_000,
                "currency": "nok", "validityType": "days", "validityDays": 90}],
        })
    });
    let catalog = catalog::Catalog::parse(&json!({ "tenants": tenants }).to_string())?;
    store.catalog().import(&catalog.tenants, &catalog.secrets).await?;
    Ok(())
}

fn tenant_of(slug: &str) -> String {
    format!("tenant-{slug}")
}

impl Harness<'_> {
    /// Two purchases at each tenant: one whose event its own endpoint receives first, and one that the other's receives first.
    pub(super) async fn shared_account(&self) -> Result<Outcome, DemoError> {
        let ids = SLUGS.map(tenant_of);
        let secrets = self
            .store
            .catalog()
            .webhook_secrets(Some(&[&*ids[0], &*ids[1]]))
            .await?;
        let mut right = 0;
        for owner in SLUGS {
            for order in [[0, 1], [1, 0]] {
                let endpoints = order.map(|nth| {
                    let secrets = secrets.get(&ids[nth]).map_or(&[][..], Vec::as_slice);
                    (SLUGS[nth], secrets.first().cloned().unwrap_or_default())
                });
                right += usize::from(self.sold_by(owner, &endpoints).await?);
            }
        }
        Ok(Outcome {
            text: format!("200 from both, in either order → {right} of 4 passes, each at its own tenant"),
            right: right == 4,
        })
    }

    /// Sends one purchase to both endpoints, the second time only when the first has been processed. Whether its owner has the
    /// one pass of it, and no person has to look at anything.
    async fn sold_by(&self, owner: &str, endpoints: &[(&str, SecretString)]) -> Result<bool, DemoError> {
        let session = self.sample().with("tenantId", Some(&tenant_of(owner)));
        for (slug, secret) in endpoints {
            let path = format!("/webhooks/stripe/{slug}");
            let (status, answer) = self.send(&path, session.event(COMPLETED, 1), secret, 0).await?;
            if status != 200 || !answer.contains(r#""duplicate":false"#) {
                return Ok(false);
            }
            self.idle().await?;
        }
        let all = self.subscriptions(&session).await?;
        let id = session.session_id();
        let cases = self.store.unmatched().unmatched_of(&[&id]).await?;
        let is_owners = matches!(&all[..], [one] if one.tenant == tenant_of(owner) && one.is_active);
        Ok(is_owners && cases.is_empty())
    }
}
