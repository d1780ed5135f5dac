//! The keys of the shop's sign-in service.

use surepass::address::masked;
use surepass::identity::Identity;
use surepass::stripe::api;
use surepass::tls::next_step;

use super::Context;
use super::report::Report;

/// Reads the keys as the server does for the first customer.
pub(super) async fn check(context: &Context, report: &mut Report) {
    let customers = &context.settings.customers;
    let (Some(url), Ok(http)) = (&customers.jwks_url, api::http()) else {
        return;
    };
    let identity = Identity::new(customers.identity_options(), http, context.clock.clone());
    match identity.try_jwks().await {
        None => {}
        Some(Ok(1)) => report.good("sign-in keys", "1 key read"),
        Some(Ok(keys)) => report.good("sign-in keys", format!("{keys} keys read")),
        Some(Err(reason)) => report.wrong(
            "sign-in keys",
            format!("{}: {reason}", masked(url.as_str())),
            next_step(
                &reason,
                "correct SUREPASS_JWKS_URL, or allow this machine to reach it; meanwhile customers cannot sign in",
            ),
        ),
    }
}
