//! The webhook endpoints at Stripe, checked now.

use surepass::ingest::THIN_EVENT;
use surepass::lookback::endpoint_check::{Endpoint, EndpointChecker, EndpointReport, Severity};

use super::Context;
use super::report::Report;

/// How many of the newest events are searched for thin ones.
const NEWEST: u32 = 500;

/// Thin events among the newest: they carry no purchase.
async fn thin_events(context: &Context, report: &mut Report) {
    let Some(store) = &context.store else { return };
    // While it is away, the store's own check reports that.
    let Ok(events) = store.events().list(NEWEST).await else {
        return;
    };
    let mut thin = events.iter().filter(|event| event.outcome.ends_with(THIN_EVENT));
    let Some(newest) = thin.next() else { return };
    report.warn(
        "thin events",
        format!(
            "{} of the newest events carry no object, the last {}: {} ({}); no purchase can be read from them",
            1 + thin.count(),
            context.ago(newest.received_at),
            newest.id,
            newest.kind,
        ),
        "in Stripe's Workbench set this event destination to the payload style \"Snapshot\", with \
         checkout.session.completed and checkout.session.async_payment_succeeded; a ping alone needs no change",
    );
}

pub(super) async fn check(context: &Context, report: &mut Report) {
    thin_events(context, report).await;
    let Some(client) = &context.stripe else {
        report.warn(
            "endpoints",
            "not checked: Stripe cannot be asked",
            "fix Stripe's key and connection above",
        );
        return;
    };
    let checker = EndpointChecker {
        client: client.clone(),
        clock: context.clock.clone(),
        public_url: context.settings.server.public_url.clone(),
    };
    match checker.check(&context.tenants, context.store.as_deref()).await {
        Ok(endpoints) => report_endpoints(&endpoints, report),
        Err(error) => report.warn("endpoints", error.to_string(), "run this again"),
    }
}

fn report_endpoints(endpoints: &EndpointReport, report: &mut Report) {
    for endpoint in &endpoints.endpoints {
        if endpoint.enabled {
            report.good("endpoint", described(endpoint));
        }
    }
    for finding in &endpoints.findings {
        let (message, fix) = (finding.message.as_str(), finding.fix.as_str());
        match finding.severity {
            Severity::Error => report.wrong(name(&finding.code), message, fix),
            Severity::Warning => report.warn(name(&finding.code), message, fix),
        }
    }
}

/// The finding's subject in a word or two.
fn name(code: &str) -> &'static str {
    match code {
        "endpoints_not_readable" => "permissions",
        "endpoint_lacks_events" | "endpoint_lacks_useful_events" => "events",
        "endpoint_api_version" => "API version",
        "events_not_arriving" => "deliveries",
        _ => "endpoint",
    }
}

fn described(endpoint: &Endpoint) -> String {
    let of = match (&endpoint.account, endpoint.connect) {
        (Some(account), _) => format!(", of {account}"),
        (None, true) => ", for connected accounts".to_owned(),
        (None, false) => String::new(),
    };
    let version = endpoint
        .api_version
        .as_ref()
        .map(|version| format!(", API {version}"))
        .unwrap_or_default();
    let events = match endpoint.events.as_slice() {
        [all] if all == "*" => "every event".to_owned(),
        events => format!("{} event types", events.len()),
    };
    format!("{} receives {events}{of}{version}", endpoint.url)
}
