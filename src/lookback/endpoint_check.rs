//! Checks our webhook endpoints: their registration at Stripe, recent deliveries, and a signed ping from
//! outside.

mod address;
mod deliveries;
mod evaluate;
mod finding;
mod probe;
mod scheduler;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use self::evaluate::Listing;
use self::finding::KEY_REFUSED;
use self::probe::Ping;
use crate::clock::Clock;
use crate::queue::Queue;
use crate::store::{KnownTenant, Store, StoreError, WebhookSecrets};
use crate::stripe::api::{Client, StripeError};

pub use self::evaluate::USEFUL_EVENTS;
pub use self::finding::{Finding, Severity};
pub use self::probe::PING_EVENT_ID;
pub use self::scheduler::{EndpointCheckError, EndpointCheckScheduler, Findings, last_report};

/// Checks our webhook endpoints.
#[derive(Debug, Clone)]
pub struct EndpointChecker {
    pub client: Client,
    /// Sends pings to our endpoints. It must not follow redirects.
    pub http: reqwest::Client,
    /// The queue `fulfil`, which knows the received events.
    pub purchases: Queue,
    pub clock: Clock,
    /// Our server's public address. `None`: endpoints are recognised by their path, and not pinged.
    pub public_url: Option<Url>,
    /// The signing secrets of endpoints that do not belong to one tenant.
    pub secrets: Vec<SecretString>,
    /// The key's mode, which the ping must contain.
    pub livemode: bool,
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
    #[serde(default)]
    pub created: Option<DateTime<Utc>>,
    /// The event types that it receives; `*`: all.
    pub events: Vec<String>,
    pub api_version: Option<String>,
    /// Whether it answered our signed ping. `None`: not pinged.
    pub answers: Option<bool>,
}

impl Endpoint {
    /// Whether it receives the events of this account. `None`: the key's own.
    fn receives(&self, account: Option<&str>) -> bool {
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
    /// connected account that no endpoint of ours covers. Also one call for the events of each account (at
    /// most 50 connected ones), one for failed deliveries, and one ping to each address.
    ///
    /// # Errors
    /// [`EndpointCheckError`] if Stripe or the store is unavailable. A missing permission is a finding.
    pub async fn check(
        &self,
        tenants: &[KnownTenant],
        store: Option<&Store>,
    ) -> Result<EndpointReport, EndpointCheckError> {
        let mut findings = Vec::new();
        let mut ours = None;
        if let Some(own) = self.listing(None, &mut findings).await? {
            let mut listings = vec![own];
            for account in evaluate::uncovered_accounts(&listings[0], tenants, self.public_url.as_ref()) {
                if let Some(listing) = self.listing(Some(&account), &mut findings).await? {
                    listings.push(listing);
                }
            }
            let mut endpoints =
                evaluate::evaluate(&listings, tenants, self.public_url.as_ref(), &mut findings);
            let owners = self.owners(&endpoints, tenants);
            let secrets = own_secrets(store, &owners).await?;
            self.ping_endpoints(&mut endpoints, &owners, &secrets, &mut findings)
                .await;
            ours = Some(endpoints);
        }
        if findings.iter().all(|finding| finding.code != KEY_REFUSED) {
            self.check_recent_deliveries(tenants, ours.as_deref(), &mut findings)
                .await?;
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok(EndpointReport {
            at: self.clock.now(),
            endpoints: ours.unwrap_or_default(),
            findings,
        })
    }

    /// The endpoints of an account. `None`: the key may not read them, which is a finding.
    async fn listing(
        &self,
        account: Option<&str>,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<Listing>, StripeError> {
        let mut pages = self.client.account(account).webhook_endpoints();
        let mut endpoints = Vec::new();
        loop {
            match pages.next().await {
                Ok(Some(page)) => endpoints.extend(page.items),
                Ok(None) => break,
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    findings.push(Finding::not_permitted("Webhook Endpoints", account, &error));
                    return Ok(None);
                }
            }
        }
        Ok(Some(Listing {
            account: account.map(str::to_owned),
            endpoints,
        }))
    }

    /// The ids of the tenants with an endpoint of their own, by address. Empty if nothing is pinged.
    fn owners(&self, endpoints: &[Endpoint], tenants: &[KnownTenant]) -> HashMap<String, String> {
        let Some(public) = &self.public_url else {
            return HashMap::new();
        };
        let owner = |url: &str| {
            let slug = address::tenant_of(url, Some(public), tenants)?;
            let tenant = tenants.iter().find(|tenant| tenant.slug == slug)?;
            Some((url.to_owned(), tenant.id.clone()))
        };
        let endpoints = endpoints.iter().filter(|endpoint| endpoint.enabled);
        endpoints.filter_map(|endpoint| owner(&endpoint.url)).collect()
    }

    /// Pings each address once.
    async fn ping_endpoints(
        &self,
        endpoints: &mut [Endpoint],
        owners: &HashMap<String, String>,
        secrets: &WebhookSecrets,
        findings: &mut Vec<Finding>,
    ) {
        if self.public_url.is_none() {
            return;
        }
        let mut tried: Vec<(String, bool)> = Vec::new();
        for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.enabled) {
            if let Some((_, answers)) = tried.iter().find(|(url, _)| *url == endpoint.url) {
                endpoint.answers = Some(*answers);
                continue;
            }
            let own = owners.get(&endpoint.url).and_then(|tenant| secrets.get(tenant));
            let secret = own.and_then(|own| own.first()).or_else(|| self.secrets.first());
            let ping = Ping {
                http: &self.http,
                url: &endpoint.url,
                secret,
                now: self.clock.now(),
                livemode: self.livemode,
            };
            let problem = ping.send().await;
            let answers = problem.is_none();
            findings.extend(problem);
            endpoint.answers = Some(answers);
            tried.push((endpoint.url.clone(), answers));
        }
    }
}

/// The signing secrets of these tenants.
async fn own_secrets(
    store: Option<&Store>,
    owners: &HashMap<String, String>,
) -> Result<WebhookSecrets, StoreError> {
    let ids: Vec<&str> = owners.values().map(String::as_str).collect();
    match store {
        Some(store) if !ids.is_empty() => store.catalog().webhook_secrets(Some(&ids)).await,
        _ => Ok(WebhookSecrets::new()),
    }
}
