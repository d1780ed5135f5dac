//! The keys of the shop's sign-in service.

use surepass::address::masked;
use surepass::identity::Identity;
use surepass::stripe::api;
use surepass::tls::next_step;

use super::Patient;
use super::report::Report;

/// Reads the keys as the server does when the first customer comes.
pub(super) async fn check(patient: &Patient, report: &mut Report) {
    let customers = &patient.settings.customers;
    let (Some(url), Ok(http)) = (&customers.jwks_url, api::http()) else {
        return;
    };
    let identity = Identity::new(customers.identity_options(), http, patient.clock.clone());
    match identity.try_jwks().await {
        None => {}
        Some(Ok(1)) => report.good("sign-in keys", "1 key read"),
        Some(Ok(keys)) => report.good("sign-in keys", format!("{keys} keys read")),
        Some(Err(reason)) => report.wrong(
            "sign-in keys",
            format!("{}: {reason}", masked(url.as_str())),
            next_step(
                &reason,
                "correct SUREPASS_JWKS_URL, or let this machine reach it; meanwhile customers cannot sign in",
            ),
        ),
    }
}
