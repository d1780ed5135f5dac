//! Finds problems in the registered endpoints.

use std::collections::{BTreeMap, BTreeSet};

use url::Url;

use super::address::{self, UrlMatch};
use super::finding::Finding;
use super::{API_VERSIONS, Endpoint};
use crate::store::KnownTenant;
use crate::stripe::PURCHASE_EVENTS;

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

/// The endpoints of Stripe's lists that concern us.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) ours: Vec<Endpoint>,
    /// Addresses that are almost ours.
    near: Vec<String>,
}

impl Listed {
    pub(super) fn add(&mut self, listed: Vec<Endpoint>, public: Option<&Url>, tenants: &[KnownTenant]) {
        for endpoint in listed {
            match address::match_url(&endpoint.url, public, tenants) {
                UrlMatch::Ours(tenant) => self.ours.push(Endpoint { tenant, ..endpoint }),
                UrlMatch::Almost => self.near.push(endpoint.url),
                UrlMatch::Other => {}
            }
        }
    }

    /// The tenants' connected accounts that no endpoint covers.
    pub(super) fn uncovered_accounts(&self, tenants: &[KnownTenant]) -> BTreeSet<String> {
        let uncovered = tenants.iter().filter(|tenant| !self.covers(Some(tenant)));
        uncovered
            .filter_map(|tenant| tenant.stripe_account.clone())
            .collect()
    }

    fn covers(&self, tenant: Option<&KnownTenant>) -> bool {
        self.ours.iter().any(|endpoint| endpoint.covers(tenant))
    }

    /// Adds the problems of our endpoints to `findings`.
    pub(super) fn evaluate(
        &self,
        public: Option<&Url>,
        tenants: &[KnownTenant],
        findings: &mut Vec<Finding>,
    ) {
        self.add_missing(public, tenants, findings);
        let mut enabled_at: BTreeMap<_, u32> = BTreeMap::new();
        for one in &self.ours {
            check_endpoint(one, findings);
            if one.enabled {
                *enabled_at
                    .entry((&one.account, &one.url, one.connect))
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
    }

    /// Adds tenants that no endpoint covers, and addresses that are almost ours.
    fn add_missing(&self, public: Option<&Url>, tenants: &[KnownTenant], findings: &mut Vec<Finding>) {
        let wanted = address::expected_url(public);
        for url in &self.near {
            findings.push(Finding::error(
                "endpoint_wrong_url",
                format!("a webhook endpoint at Stripe is registered as {url}, which is almost our address"),
                format!(
                    "change its URL to {wanted}. Stripe does not follow redirects and counts them as failures"
                ),
            ));
        }
        if tenants.is_empty() && !self.covers(None) && self.near.is_empty() {
            findings.push(Finding::error(
                "endpoint_missing",
                "no webhook endpoint at Stripe points to our server".to_owned(),
                register(&wanted),
            ));
        }
        let (connected, own): (Vec<&KnownTenant>, Vec<&KnownTenant>) = tenants
            .iter()
            .filter(|tenant| !self.covers(Some(tenant)))
            .partition(|tenant| tenant.stripe_account.is_some());
        if !own.is_empty() && self.near.is_empty() {
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
}

fn register(wanted: &str) -> String {
    format!(
        "register {wanted} with the events {} (Dashboard, Developers, Webhooks), and set STRIPE_WEBHOOK_SECRET to its secret",
        PURCHASE_EVENTS.join(" and ")
    )
}

fn check_endpoint(one: &Endpoint, findings: &mut Vec<Finding>) {
    let url = &one.url;
    if !one.enabled {
        findings.push(Finding::error(
            "endpoint_disabled",
            format!("Stripe has disabled the webhook endpoint {url} and sends nothing to it"),
            "enable it (Dashboard, Developers, Webhooks). Stripe disables endpoints that fail for days",
        ));
        return;
    }
    let events = &one.events;
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
    if let Some(version) = &one.api_version {
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
