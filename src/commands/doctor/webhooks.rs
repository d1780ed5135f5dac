//! The way in: our webhook endpoints, audited now.

use surepass::config::QueueName;
use surepass::fulfil::THIN_EVENT;
use surepass::lookback::endpoint_check::{Endpoint, EndpointChecker, EndpointReport, Severity};
use surepass::stripe::api;

use super::Patient;
use super::report::Report;

/// So many of the newest events are looked through for thin ones.
const NEWEST: u32 = 500;

/// Thin events among the newest: they tell of no purchase.
async fn thin_events(patient: &Patient, report: &mut Report) {
    let Some(store) = &patient.store else { return };
    // Away: the store's own check says so.
    let Ok(events) = store.events(NEWEST).await else {
        return;
    };
    let mut thin = events.iter().filter(|event| event.outcome.ends_with(THIN_EVENT));
    let Some(newest) = thin.next() else { return };
    report.warn(
        "thin events",
        format!(
            "{} of the newest events came without their object, the last {}: {} ({}); no purchase can be read from these",
            1 + thin.count(),
            patient.ago(newest.received_at),
            newest.id,
            newest.kind,
        ),
        "in Stripe's Workbench give this event destination the payload style \"Snapshot\", with \
         checkout.session.completed and checkout.session.async_payment_succeeded; a ping alone needs nothing",
    );
}

pub(super) async fn check(patient: &Patient, report: &mut Report) {
    thin_events(patient, report).await;
    let (Some(client), Ok(http)) = (&patient.stripe, api::http()) else {
        report.warn(
            "endpoints",
            "not looked at, without Stripe",
            "mend the key and the connection above",
        );
        return;
    };
    let purchases = patient
        .purchases
        .clone()
        .or_else(|| patient.queue(QueueName::Fulfil));
    let Some(purchases) = purchases else {
        report.warn(
            "endpoints",
            "not looked at, without Redis",
            "mend its address above",
        );
        return;
    };
    let settings = &patient.settings;
    let checker = EndpointChecker {
        client: client.clone(),
        http,
        purchases,
        clock: patient.clock.clone(),
        public_url: settings.server.public_url.clone(),
        secrets: settings.stripe.webhook_secrets.clone(),
        livemode: settings.stripe.livemode().unwrap_or(false),
    };
    match checker.check(&patient.tenants, patient.store.as_deref()).await {
        Ok(audit) => tell(&audit, report),
        Err(error) => report.warn("endpoints", error.to_string(), "run this again"),
    }
}

fn tell(audit: &EndpointReport, report: &mut Report) {
    for endpoint in &audit.endpoints {
        if endpoint.enabled {
            report.good("endpoint", described(endpoint));
        }
    }
    for finding in &audit.findings {
        let (message, mend) = (finding.message.as_str(), finding.fix.as_str());
        match finding.severity {
            Severity::Error => report.wrong(name(&finding.code), message, mend),
            Severity::Warning => report.warn(name(&finding.code), message, mend),
        }
    }
}

/// What the finding is about, in a word or two.
fn name(code: &str) -> &'static str {
    match code {
        "endpoints_not_readable" | "events_not_readable" => "permissions",
        "endpoint_lacks_events" | "endpoint_lacks_useful_events" => "events",
        "endpoint_api_version" => "API version",
        "events_not_arriving" | "deliveries_failing" => "deliveries",
        "endpoint_secret_differs" => "webhook secret",
        "endpoint_clock" => "clock",
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
        events => format!("{} types of events", events.len()),
    };
    let tried = match endpoint.answers {
        // It was signed with our own secret: only Stripe's events prove that it is Stripe's.
        Some(true) => "; our own ping came back",
        Some(false) | None => "",
    };
    format!("{} gets {events}{of}{version}{tried}", endpoint.url)
}
