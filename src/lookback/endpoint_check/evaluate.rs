//! Finds problems in the registered endpoints.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::address::{self, UrlMatch};
use super::finding::Finding;
use super::{API_VERSIONS, Endpoint};
use crate::store::KnownTenant;
use crate::stripe::PURCHASE_EVENTS;
use crate::stripe::api::WebhookEndpoint;

/// The events that report failed payments, refunds and disputes.
pub const USEFUL_EVENTS: [&str; 11] = [
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "charge.refunded",
    "charge.refund.updated",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// The most names in a sentence.
const MAX_NAMED: usize = 3;

/// The registered endpoints of an account.
#[derive(Debug)]
pub(super) struct Listing {
    /// `None`: the key's own.
    pub(super) account: Option<String>,
    pub(super) endpoints: Vec<WebhookEndpoint>,
}

/// One of our endpoints, with the account in which it is registered.
struct OurEndpoint<'a> {
    account: Option<&'a str>,
    endpoint: &'a WebhookEndpoint,
    url: &'a str,
    tenant: Option<String>,
}

impl OurEndpoint<'_> {
    /// A Connect endpoint: Stripe adds the application to which the accounts are connected.
    fn connect(&self) -> bool {
        self.endpoint.application.is_some()
    }

    /// Whether it covers this tenant's purchases, enabled or not.
    fn receives(&self, tenant: Option<&KnownTenant>) -> bool {
        if let Some(slug) = &self.tenant
            && tenant.is_none_or(|tenant| tenant.slug != *slug)
        {
            return false;
        }
        let account = tenant.and_then(|tenant| tenant.stripe_account.as_deref());
        match (self.account, account) {
            (None, None) => !self.connect(),
            (None, Some(_)) => self.connect(),
            (own, wanted) => own == wanted,
        }
    }
}

/// The tenants' connected accounts that no endpoint in the key's own account covers.
pub(super) fn uncovered_accounts(
    own: &Listing,
    tenants: &[KnownTenant],
    public: Option<&Url>,
) -> BTreeSet<String> {
    let ours = ours(std::slice::from_ref(own), tenants, public);
    tenants
        .iter()
        .filter(|tenant| !ours.iter().any(|ours| ours.receives(Some(tenant))))
        .filter_map(|tenant| tenant.stripe_account.clone())
        .collect()
}

/// Returns our endpoints, and adds their problems to `findings`.
pub(super) fn evaluate(
    listings: &[Listing],
    tenants: &[KnownTenant],
    public: Option<&Url>,
    findings: &mut Vec<Finding>,
) -> Vec<Endpoint> {
    let ours = ours(listings, tenants, public);
    missing(&ours, listings, tenants, public, findings);
    let mut enabled_at: BTreeMap<_, u32> = BTreeMap::new();
    for one in &ours {
        check_endpoint(one, findings);
        if is_enabled(one.endpoint) {
            *enabled_at
                .entry((one.account, one.url, one.connect()))
                .or_default() += 1;
        }
    }
    for ((_, url, _), count) in enabled_at.into_iter().filter(|(_, count)| *count > 1) {
        findings.push(Finding::warning(
            "endpoint_doubled",
            format!("Stripe sends each event {count} times to {url}"),
            "delete all but one. Each has its own secret: until then STRIPE_WEBHOOK_SECRET must contain all of them",
        ));
    }
    ours.iter()
        .map(|one| Endpoint {
            id: one.endpoint.id.clone(),
            url: one.url.to_owned(),
            account: one.account.map(str::to_owned),
            connect: one.connect(),
            enabled: is_enabled(one.endpoint),
            events: one.endpoint.enabled_events.clone(),
            api_version: one.endpoint.api_version.clone(),
        })
        .collect()
}

fn ours<'a>(listings: &'a [Listing], tenants: &[KnownTenant], public: Option<&Url>) -> Vec<OurEndpoint<'a>> {
    all(listings)
        .filter_map(
            |(account, endpoint, url)| match address::match_url(url, public, tenants) {
                UrlMatch::Ours(tenant) => Some(OurEndpoint {
                    account,
                    endpoint,
                    url,
                    tenant,
                }),
                UrlMatch::Almost | UrlMatch::Other => None,
            },
        )
        .collect()
}

fn all(listings: &[Listing]) -> impl Iterator<Item = (Option<&str>, &WebhookEndpoint, &str)> {
    listings.iter().flat_map(|listing| {
        let account = listing.account.as_deref();
        let endpoints = listing.endpoints.iter();
        endpoints.filter_map(move |endpoint| Some((account, endpoint, endpoint.url.as_deref()?)))
    })
}

/// Adds tenants that no endpoint covers, and addresses that are almost ours.
fn missing(
    ours: &[OurEndpoint<'_>],
    listings: &[Listing],
    tenants: &[KnownTenant],
    public: Option<&Url>,
    findings: &mut Vec<Finding>,
) {
    let wanted = address::expected_url(public);
    let near: Vec<_> = all(listings)
        .map(|(_, _, url)| url)
        .filter(|url| address::match_url(url, public, tenants) == UrlMatch::Almost)
        .collect();
    for url in &near {
        findings.push(Finding::error(
            "endpoint_wrong_url",
            format!("a webhook endpoint at Stripe is registered as {url}, which is almost our address"),
            format!(
                "change its URL to {wanted}. Stripe does not follow redirects and counts them as failures"
            ),
        ));
    }
    let heard = |tenant| ours.iter().any(|ours| ours.receives(tenant));
    if tenants.is_empty() && !heard(None) && near.is_empty() {
        findings.push(Finding::error(
            "endpoint_missing",
            "no webhook endpoint at Stripe points to our server".to_owned(),
            register(&wanted),
        ));
    }
    let (connected, own): (Vec<&KnownTenant>, Vec<&KnownTenant>) = tenants
        .iter()
        .filter(|tenant| !heard(Some(tenant)))
        .partition(|tenant| tenant.stripe_account.is_some());
    if !own.is_empty() && near.is_empty() {
        findings.push(Finding::error(
            "endpoint_missing",
            format!("no webhook endpoint at Stripe covers {}", names(&own)),
            register(&wanted),
        ));
    }
    if !connected.is_empty() {
        findings.push(Finding::error(
            "connect_endpoint_missing",
            format!("no webhook endpoint at Stripe covers the connected accounts of {}", names(&connected)),
            format!(
                "register {wanted} for events on connected accounts (Dashboard, Developers, Webhooks), or an endpoint in each \
                 of these accounts"
            ),
        ));
    }
}

fn register(wanted: &str) -> String {
    format!(
        "register {wanted} with the events {} (Dashboard, Developers, Webhooks), and set STRIPE_WEBHOOK_SECRET to its secret",
        PURCHASE_EVENTS.join(" and ")
    )
}

fn check_endpoint(one: &OurEndpoint<'_>, findings: &mut Vec<Finding>) {
    let url = one.url;
    if !is_enabled(one.endpoint) {
        findings.push(Finding::error(
            "endpoint_disabled",
            format!("Stripe has disabled the webhook endpoint {url} and sends nothing to it"),
            "enable it (Dashboard, Developers, Webhooks). Stripe disables endpoints that fail for days",
        ));
        return;
    }
    let events = &one.endpoint.enabled_events;
    let lacks = |kinds: &[&'static str]| -> Vec<&'static str> {
        kinds
            .iter()
            .filter(|kind| !events.iter().any(|event| event == "*" || event == *kind))
            .copied()
            .collect()
    };
    let (needed, wanted) = (lacks(&PURCHASE_EVENTS), lacks(&USEFUL_EVENTS));
    if !needed.is_empty() {
        findings.push(Finding::error(
            "endpoint_lacks_events",
            format!(
                "the webhook endpoint {url} does not receive {}",
                needed.join(", ")
            ),
            "add them to its events (Dashboard, Developers, Webhooks): without them passes are late",
        ));
    }
    if !wanted.is_empty() {
        let more = match wanted.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let first = wanted[..wanted.len().min(MAX_NAMED)].join(", ");
        findings.push(Finding::warning(
            "endpoint_lacks_useful_events",
            format!("the webhook endpoint {url} does not receive {first}{more}"),
            "add the events of checkout.session, charge.refund, refund and charge.dispute: they report what happens to a \
             purchase, and the event log keeps them",
        ));
    }
    if let Some(version) = &one.endpoint.api_version {
        let date = version.get(..10).unwrap_or(version);
        let (oldest, newest) = API_VERSIONS;
        if !(oldest..=newest).contains(&date) {
            findings.push(Finding::warning(
                "endpoint_api_version",
                format!("the webhook endpoint {url} receives events of Stripe's API version {version}"),
                format!(
                    "Surepass is tested with {oldest} to {newest}. If purchases become dead letters, create a new endpoint \
                     with one of these versions"
                ),
            ));
        }
    }
}

fn is_enabled(endpoint: &WebhookEndpoint) -> bool {
    endpoint.status.as_deref() != Some("disabled")
}

fn names(tenants: &[&KnownTenant]) -> String {
    let first: Vec<_> = tenants
        .iter()
        .take(MAX_NAMED)
        .map(|tenant| tenant.slug.as_str())
        .collect();
    match tenants.len().saturating_sub(MAX_NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
