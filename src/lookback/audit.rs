//! Whether Stripe can tell us of a purchase: our webhook endpoints as Stripe knows them, tried from outside.

mod address;
mod arrivals;
mod finding;
mod judge;
mod probe;
mod rounds;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use self::finding::KEY_REFUSED;
use self::judge::Listing;
use self::probe::Ping;
use crate::clock::Clock;
use crate::queue::Queue;
use crate::store::{KnownTenant, Store, StoreError, WebhookSecrets};
use crate::stripe::api::{Client, StripeError};

pub use self::finding::{Finding, Severity};
pub use self::judge::{NEEDED, WANTED};
pub use self::probe::ID as PING;
pub use self::rounds::{Findings, RoundError, Rounds, last};

/// Looks at our webhook endpoints.
#[derive(Debug, Clone)]
pub struct Auditor {
    pub client: Client,
    /// For trying our own endpoint. It must follow no redirect.
    pub http: reqwest::Client,
    /// The queue of purchases: which events have come in.
    pub purchases: Queue,
    pub clock: Clock,
    /// Where the world reaches our server; `None`: what is ours is told by its path, and nothing is tried.
    pub public_url: Option<Url>,
    /// The signing secrets of endpoints that are not a tenant's own.
    pub secrets: Vec<SecretString>,
    /// The key's mode, which a ping must name.
    pub livemode: bool,
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    pub at: DateTime<Utc>,
    /// Our endpoints, as Stripe knows them.
    pub endpoints: Vec<Endpoint>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// Whether purchases come late.
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
    /// The connected account that it stands in; `None`: the key's own.
    pub account: Option<String>,
    /// It hears of connected accounts.
    pub connect: bool,
    pub enabled: bool,
    #[serde(default)]
    pub created: Option<DateTime<Utc>>,
    /// The types of events that it gets; `*`: all.
    pub events: Vec<String>,
    pub api_version: Option<String>,
    /// Whether our own signed ping came back, where it was tried.
    pub answers: Option<bool>,
}

impl Endpoint {
    /// Whether events of this account come to it; `None`: of the key's own.
    fn hears(&self, account: Option<&str>) -> bool {
        match (self.account.as_deref(), account) {
            (None, account) => self.connect == account.is_some(),
            (own, account) => own == account,
        }
    }
}

/// Stripe's API versions, by their dates, whose events we have tested: the oldest and the newest.
const API_VERSIONS: (&str, &str) = ("2020-03-02", "2025-03-31");

impl Auditor {
    /// Looks at the endpoints that `tenants` need: one call for the key's own account and one for each connected account
    /// that no endpoint of ours hears of; one for the events of each, of 50 connected ones at most, and one for those that
    /// failed; and a ping to each of our addresses, signed with the tenant's own secret of the
    /// store, where it has one.
    ///
    /// # Errors
    /// [`RoundError`] where Stripe or the store could not be asked now. What the key may not see is a finding.
    pub async fn audit(
        &self,
        tenants: &[KnownTenant],
        store: Option<&dyn Store>,
    ) -> Result<Audit, RoundError> {
        let mut findings = Vec::new();
        let mut ours = None;
        if let Some(own) = self.listing(None, &mut findings).await? {
            let mut listings = vec![own];
            for account in judge::unheard(&listings[0], tenants, self.public_url.as_ref()) {
                if let Some(listing) = self.listing(Some(&account), &mut findings).await? {
                    listings.push(listing);
                }
            }
            let mut endpoints = judge::judge(&listings, tenants, self.public_url.as_ref(), &mut findings);
            let owners = self.owners(&endpoints, tenants);
            let secrets = own_secrets(store, &owners).await?;
            self.try_out(&mut endpoints, &owners, &secrets, &mut findings)
                .await;
            ours = Some(endpoints);
        }
        if findings.iter().all(|finding| finding.code != KEY_REFUSED) {
            self.arrivals(tenants, ours.as_deref(), &mut findings).await?;
        }
        findings.sort_by_key(|finding| finding.severity);
        Ok(Audit {
            at: self.clock.now(),
            endpoints: ours.unwrap_or_default(),
            findings,
        })
    }

    /// The endpoints of an account; `None`: the key may not see them, which is a finding.
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

    /// The ids of the tenants whose own the endpoints' addresses are; none where nothing is tried.
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
    async fn try_out(
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

/// The secrets of these tenants' own endpoints.
async fn own_secrets(
    store: Option<&dyn Store>,
    owners: &HashMap<String, String>,
) -> Result<WebhookSecrets, StoreError> {
    let ids: Vec<&str> = owners.values().map(String::as_str).collect();
    match store {
        Some(store) if !ids.is_empty() => store.webhook_secrets(Some(&ids)).await,
        _ => Ok(WebhookSecrets::new()),
    }
}
