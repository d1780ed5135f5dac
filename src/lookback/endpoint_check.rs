//! Checks our webhook endpoints: their registration at Stripe, and whether purchases arrive by them.

mod address;
mod arrivals;
mod evaluate;
mod finding;
mod scheduler;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use self::evaluate::Listed;
use crate::clock::Clock;
use crate::store::{KnownTenant, Store};
use crate::stripe::api::{Client, StripeError, WebhookEndpoint};

pub use self::evaluate::USEFUL_EVENTS;
pub use self::finding::{Finding, Severity};
pub use self::scheduler::{EndpointCheckError, EndpointCheckScheduler, Findings, last_report};

/// Checks our webhook endpoints.
#[derive(Debug, Clone)]
pub struct EndpointChecker {
    pub client: Client,
    pub clock: Clock,
    /// Our server's public address. `None`: endpoints are recognised by their path.
    pub public_url: Option<Url>,
}

/// The result of an endpoint check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    pub at: DateTime<Utc>,
    /// Our endpoints in Stripe's lists.
    pub endpoints: Vec<Endpoint>,
    /// The problems, most severe first.
    pub findings: Vec<Finding>,
}

impl EndpointReport {
    /// Whether there is an error: purchases arrive late.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
}

/// One of our endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `we_…`
    pub id: String,
    pub url: String,
    /// The connected account in which it is registered. `None`: the key's own.
    pub account: Option<String>,
    /// It receives the events of connected accounts.
    pub connect: bool,
    pub enabled: bool,
    /// The event types that it receives; `*`: all.
    pub events: Vec<String>,
    pub api_version: Option<String>,
    /// The slug of the tenant whose own endpoint it is.
    #[serde(default)]
    pub tenant: Option<String>,
}

impl Endpoint {
    /// `None`: Stripe did not say where it is.
    fn listed(endpoint: WebhookEndpoint, account: Option<&str>) -> Option<Self> {
        Some(Self {
            id: endpoint.id,
            url: endpoint.url?,
            account: account.map(str::to_owned),
            // Stripe adds the application to which the accounts are connected.
            connect: endpoint.application.is_some(),
            enabled: endpoint.status.as_deref() != Some("disabled"),
            events: endpoint.enabled_events,
            api_version: endpoint.api_version,
            tenant: None,
        })
    }

    /// Whether it covers this tenant's purchases, enabled or not.
    fn covers(&self, tenant: Option<&KnownTenant>) -> bool {
        if let Some(slug) = &self.tenant
            && tenant.is_none_or(|tenant| tenant.slug != *slug)
        {
            return false;
        }
        let account = tenant.and_then(|tenant| tenant.stripe_account.as_deref());
        match (self.account.as_deref(), account) {
            (None, account) => self.connect == account.is_some(),
            (own, account) => own == account,
        }
    }
}

/// The oldest and newest of Stripe's API versions whose events are tested, by date.
const API_VERSIONS: (&str, &str) = ("2020-03-02", "2025-03-31");

impl EndpointChecker {
    /// Checks the endpoints that `tenants` need. Costs one call for the key's own account, and one for each
    /// connected account that no endpoint of ours covers.
    ///
    /// # Errors
    /// [`EndpointCheckError`] if Stripe or the store is unavailable. A missing permission is a finding.
    pub async fn check(
        &self,
        tenants: &[KnownTenant],
        store: Option<&Store>,
    ) -> Result<EndpointReport, EndpointCheckError> {
        let public = self.public_url.as_ref();
        let (mut findings, mut endpoints) = (Vec::new(), Vec::new());
        if let Some(own) = self.list(None, &mut findings).await? {
            let mut listed = Listed::default();
            listed.add(own, public, tenants);
            for account in listed.uncovered_accounts(tenants) {
                if let Some(own) = self.list(Some(&account), &mut findings).await? {
                    listed.add(own, public, tenants);
                }
            }
            listed.evaluate(public, tenants, &mut findings);
            endpoints = listed.ours;
        }
        if let Some(store) = store {
            findings.extend(arrivals::check(store, self.clock.now()).await?);
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok(EndpointReport {
            at: self.clock.now(),
            endpoints,
            findings,
        })
    }

    /// The endpoints of an account. `None`: the key may not read them, which is a finding.
    async fn list(
        &self,
        account: Option<&str>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Vec<Endpoint>>, StripeError> {
        let mut pages = self.client.account(account).webhook_endpoints();
        let mut endpoints = Vec::new();
        loop {
            match pages.next().await {
                Ok(Some(page)) => {
                    let page = page.items.into_iter();
                    endpoints.extend(page.filter_map(|one| Endpoint::listed(one, account)));
                }
                Ok(None) => return Ok(Some(endpoints)),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    findings.push(Finding::not_permitted(account, &error));
                    return Ok(None);
                }
            }
        }
    }
}
