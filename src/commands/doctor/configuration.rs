//! The settings themselves.

use std::collections::HashSet;
use std::path::Path;

use secrecy::ExposeSecret;
use surepass::config::{Settings, VARIABLES};

use super::Context;
use super::report::Report;

pub(super) fn check(context: &Context, report: &mut Report) {
    sources(report);
    webhook_secrets(context, report);
    public_url(context, report);
    admin(context, report);
    customers(context, report);
    data_dir(context, report);
}

/// Whether no setting names anything to check, so that everything would be a default.
pub(super) fn is_nothing_set(settings: &Settings) -> bool {
    let nowhere = settings.redis.url.is_none() && settings.database.url.is_none();
    nowhere && settings.stripe.secret_key.is_none() && settings.stripe.webhook_secrets.is_empty()
}

pub(super) fn nothing_here(settings: &Settings, report: &mut Report) {
    report.wrong(
        "settings",
        format!(
            "nothing is configured here: neither the environment nor the config folder names a Redis, a store or a Stripe key, \
             no `surepass up` runs in {}, and no Redis responds at the default address",
            settings.data_dir.display()
        ),
        "run `surepass up --demo` to see the whole system, or `surepass up` to run it on this machine; to check one elsewhere, \
         set REDIS_URL, DATABASE_URL, STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET as its programs have them",
    );
}

fn sources(report: &mut Report) {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set = VARIABLES.iter().filter(|(name, _)| is_set(name));
    let set: Vec<_> = set.map(|(name, _)| *name).collect();
    let environment = std::env::var("SUREPASS_ENV").unwrap_or_default();
    let environment = if environment.is_empty() {
        "development"
    } else {
        &environment
    };
    let from = if set.is_empty() {
        "no variable is set".to_owned()
    } else {
        format!("from {}", set.join(", "))
    };
    report.good(
        "settings",
        format!("all keys are known and in range; environment {environment}; {from}"),
    );
}

fn webhook_secrets(context: &Context, report: &mut Report) {
    let name = "webhook secret";
    let secrets = &context.settings.stripe.webhook_secrets;
    if secrets.is_empty() {
        report.wrong(
            name,
            "not set: `surepass serve` does not start",
            "set STRIPE_WEBHOOK_SECRET to the endpoint's signing secret (Stripe Dashboard → Developers → Webhooks)",
        );
        return;
    }
    let different: HashSet<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    if different.len() < secrets.len() {
        report.warn(name, "the same secret is set twice", "remove one of them");
    } else {
        let while_rolled = if secrets.len() > 1 { "; each is tried" } else { "" };
        report.good(name, format!("{} set{while_rolled}", secrets.len()));
    }
}

fn public_url(context: &Context, report: &mut Report) {
    let live = context.settings.stripe.livemode() == Some(true);
    match &context.settings.server.public_url {
        None => report.advise(
            "public address",
            "server.public_url is not set: Stripe's endpoints are recognised by their path, and not tested",
            "set it to the address that Stripe and customers use, such as https://passes.example.com",
        ),
        Some(url) if live && url.scheme() != "https" => report.wrong(
            "public address",
            format!("{url} is not https, which Stripe requires in live mode"),
            "set server.public_url to an https address",
        ),
        Some(url) => report.good("public address", url.as_str()),
    }
}

fn admin(context: &Context, report: &mut Report) {
    match &context.settings.admin.token {
        None => {}
        Some(_) => report.good("admin", "token is set"),
    }
}

fn customers(context: &Context, report: &mut Report) {
    let customers = &context.settings.customers;
    match (&customers.jwt_secret, &customers.jwks_url) {
        (None, None) => report.advise(
            "customers",
            "customers' tokens cannot be verified: customer routes respond with 503",
            "set SUREPASS_JWT_SECRET (HS256) or SUREPASS_JWKS_URL (RS256, ES256)",
        ),
        _ if context.settings.hides_addresses() => report.warn(
            "customers",
            "behind the proxy of server.public_url all customers have the same address, and share one rate limit",
            "set customers.address_header to the header in which the proxy sends the client's address, such as x-forwarded-for",
        ),
        (Some(_), Some(url)) => report.good("customers", format!("tokens verified with a shared secret, and with {url}")),
        (Some(_), None) => report.good("customers", "tokens verified with a shared secret"),
        (None, Some(url)) => report.good("customers", format!("tokens verified with {url}")),
    }
}

fn data_dir(context: &Context, report: &mut Report) {
    let folder = &context.settings.data_dir;
    let shown = folder.display();
    // If it does not exist yet, its nearest parent that does.
    let nearest = folder.ancestors().find(|folder| folder.exists());
    let nearest = nearest.filter(|folder| !folder.as_os_str().is_empty());
    if is_writable(nearest.unwrap_or(Path::new("."))) {
        let yet = if folder.exists() {
            ""
        } else {
            " (does not exist yet)"
        };
        report.good("data folder", format!("{shown}{yet}: writable for `surepass up`"));
    } else {
        report.advise(
            "data folder",
            format!("{shown} is not writable, and `surepass up` needs it"),
            "make it writable for this user, or set SUREPASS_DATA_DIR; `serve` and `surepass-worker` do not need it",
        );
    }
}

fn is_writable(folder: &Path) -> bool {
    folder.is_dir() && nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_ok()
}
