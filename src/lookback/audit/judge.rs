//! What is wrong with the endpoints that Stripe lists.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::address::{self, Place};
use super::finding::Finding;
use super::{API_VERSIONS, Endpoint};
use crate::store::KnownTenant;
use crate::stripe::api::WebhookEndpoint;

/// The events that bring a purchase. Without them only the lookback does.
pub const NEEDED: [&str; 2] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
];

/// The events that tell what else becomes of one: a payment that failed, a refund, a dispute.
pub const WANTED: [&str; 11] = [
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

/// The most names in one sentence.
const NAMED: usize = 3;

/// The endpoints of one account.
#[derive(Debug)]
pub(super) struct Listing {
    /// `None`: the key's own.
    pub(super) account: Option<String>,
    pub(super) endpoints: Vec<WebhookEndpoint>,
}

/// One of our endpoints, and whom it hears of.
struct Ours<'a> {
    account: Option<&'a str>,
    endpoint: &'a WebhookEndpoint,
    url: &'a str,
    tenant: Option<String>,
}

impl Ours<'_> {
    /// An endpoint that hears of connected accounts names the application that they are connected to.
    fn connect(&self) -> bool {
        self.endpoint.application.is_some()
    }

    /// Enabled or not, it is there for this tenant's purchases.
    fn hears(&self, tenant: Option<&KnownTenant>) -> bool {
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

/// The connected accounts of tenants of which no endpoint in our own account hears.
pub(super) fn unheard(own: &Listing, tenants: &[KnownTenant], public: Option<&Url>) -> BTreeSet<String> {
    let ours = ours(std::slice::from_ref(own), tenants, public);
    tenants
        .iter()
        .filter(|tenant| !ours.iter().any(|ours| ours.hears(Some(tenant))))
        .filter_map(|tenant| tenant.stripe_account.clone())
        .collect()
}

/// Our endpoints among those listed; what is wrong with them goes to `findings`.
pub(super) fn judge(
    listings: &[Listing],
    tenants: &[KnownTenant],
    public: Option<&Url>,
    findings: &mut Vec<Finding>,
) -> Vec<Endpoint> {
    let ours = ours(listings, tenants, public);
    missing(&ours, listings, tenants, public, findings);
    let mut enabled_at: BTreeMap<_, u32> = BTreeMap::new();
    for one in &ours {
        of_one(one, findings);
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
            "delete all but one; each has a secret of its own, and all of them must stand in STRIPE_WEBHOOK_SECRET \
             meanwhile",
        ));
    }
    ours.iter()
        .map(|one| Endpoint {
            id: one.endpoint.id.clone(),
            url: one.url.to_owned(),
            account: one.account.map(str::to_owned),
            connect: one.connect(),
            enabled: is_enabled(one.endpoint),
            created: one.endpoint.created,
            events: one.endpoint.enabled_events.clone(),
            api_version: one.endpoint.api_version.clone(),
            answers: None,
        })
        .collect()
}

fn ours<'a>(listings: &'a [Listing], tenants: &[KnownTenant], public: Option<&Url>) -> Vec<Ours<'a>> {
    all(listings)
        .filter_map(
            |(account, endpoint, url)| match address::place(url, public, tenants) {
                Place::Ours(tenant) => Some(Ours {
                    account,
                    endpoint,
                    url,
                    tenant,
                }),
                Place::Nearly | Place::Other => None,
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

/// Those whose purchases no endpoint hears of, and the addresses that are nearly ours.
fn missing(
    ours: &[Ours<'_>],
    listings: &[Listing],
    tenants: &[KnownTenant],
    public: Option<&Url>,
    findings: &mut Vec<Finding>,
) {
    let wanted = address::wanted(public);
    let near: Vec<_> = all(listings)
        .map(|(_, _, url)| url)
        .filter(|url| address::place(url, public, tenants) == Place::Nearly)
        .collect();
    for url in &near {
        findings.push(Finding::error(
            "endpoint_wrong_url",
            format!("a webhook endpoint at Stripe is registered as {url}, which is not quite ours"),
            format!("change its URL to {wanted}: Stripe follows no redirect, and takes one for a failure"),
        ));
    }
    let heard = |tenant| ours.iter().any(|ours| ours.hears(tenant));
    if tenants.is_empty() && !heard(None) && near.is_empty() {
        findings.push(Finding::error(
            "endpoint_missing",
            "no webhook endpoint of ours is registered at Stripe".to_owned(),
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
            format!("no webhook endpoint at Stripe hears of {}", names(&own)),
            register(&wanted),
        ));
    }
    if !connected.is_empty() {
        findings.push(Finding::error(
            "connect_endpoint_missing",
            format!("no webhook endpoint at Stripe hears of the connected accounts of {}", names(&connected)),
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
        NEEDED.join(" and ")
    )
}

fn of_one(one: &Ours<'_>, findings: &mut Vec<Finding>) {
    let url = one.url;
    if !is_enabled(one.endpoint) {
        findings.push(Finding::error(
            "endpoint_disabled",
            format!("Stripe has disabled the webhook endpoint {url}: it sends nothing there"),
            "enable it (Dashboard, Developers, Webhooks). Stripe disables an endpoint that has failed for days",
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
    let (needed, wanted) = (lacks(&NEEDED), lacks(&WANTED));
    if !needed.is_empty() {
        findings.push(Finding::error(
            "endpoint_lacks_events",
            format!("the webhook endpoint {url} does not get {}", needed.join(", ")),
            "add them to its events (Dashboard, Developers, Webhooks): they bring the purchases",
        ));
    }
    if !wanted.is_empty() {
        let more = match wanted.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let first = wanted[..wanted.len().min(NAMED)].join(", ");
        findings.push(Finding::warning(
            "endpoint_lacks_useful_events",
            format!("the webhook endpoint {url} does not get {first}{more}"),
            "add the events of checkout.session, charge.refund, refund and charge.dispute: they tell what becomes of a \
             purchase, and the event log keeps them",
        ));
    }
    if let Some(version) = &one.endpoint.api_version {
        let date = version.get(..10).unwrap_or(version);
        let (oldest, newest) = API_VERSIONS;
        if !(oldest..=newest).contains(&date) {
            findings.push(Finding::warning(
                "endpoint_api_version",
                format!("the webhook endpoint {url} gets events of Stripe's API {version}"),
                format!(
                    "Surepass is tested with {oldest} to {newest}, and reads others loosely. If purchases become dead letters, \
                     make a new endpoint with a version in between"
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
        .take(NAMED)
        .map(|tenant| tenant.slug.as_str())
        .collect();
    match tenants.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
