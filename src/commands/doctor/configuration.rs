//! The settings by themselves.

use std::collections::HashSet;
use std::path::Path;

use secrecy::ExposeSecret;
use surepass::config::{Settings, VARIABLES};

use super::Patient;
use super::report::Report;

pub(super) fn check(patient: &Patient, report: &mut Report) {
    sources(report);
    webhook_secrets(patient, report);
    public_url(patient, report);
    admin(patient, report);
    customers(patient, report);
    data_dir(patient, report);
}

/// Whether no source names anything that this could look at, so that all of it would be defaults.
pub(super) fn is_nothing_set(settings: &Settings) -> bool {
    let nowhere = settings.redis.url.is_none() && settings.database.url.is_none();
    nowhere && settings.stripe.secret_key.is_none() && settings.stripe.webhook_secrets.is_empty()
}

pub(super) fn nothing_here(settings: &Settings, report: &mut Report) {
    report.wrong(
        "settings",
        format!(
            "nothing is configured here: neither the environment nor a file in the config folder names a Redis, a store or a key \
             for Stripe, no `surepass up` runs on {}, and no Redis answers at the default address",
            settings.data_dir.display()
        ),
        "`surepass up --demo` shows the whole system, `surepass up` runs it on this machine; to examine one that runs elsewhere set \
         REDIS_URL, DATABASE_URL, STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET as its programs have them",
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
        set.join(", ")
    };
    report.good(
        "settings",
        format!("all keys are known and in range; environment {environment}; {from}"),
    );
}

fn webhook_secrets(patient: &Patient, report: &mut Report) {
    let name = "webhook secret";
    let secrets = &patient.settings.stripe.webhook_secrets;
    if secrets.is_empty() {
        report.wrong(
            name,
            "none is set: `surepass serve` does not start",
            "set STRIPE_WEBHOOK_SECRET to the endpoint's signing secret (Dashboard, Developers, Webhooks)",
        );
        return;
    }
    let different: HashSet<_> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    if different.len() < secrets.len() {
        report.warn(name, "the same one is set twice", "leave one out");
    } else {
        let while_rolled = if secrets.len() > 1 {
            ", all of which are tried"
        } else {
            ""
        };
        report.good(name, format!("{} set{while_rolled}", secrets.len()));
    }
}

fn public_url(patient: &Patient, report: &mut Report) {
    let live = patient.settings.stripe.livemode() == Some(true);
    match &patient.settings.server.public_url {
        None => report.advise(
            "public address",
            "server.public_url is not set: our endpoints at Stripe are told by their path, and not tried out",
            "set it to where the world reaches the server, such as https://passes.example.com",
        ),
        Some(url) if live && url.scheme() != "https" => report.wrong(
            "public address",
            format!("{url} is not https, which Stripe asks for in live mode"),
            "set server.public_url to an https address",
        ),
        Some(url) => report.good("public address", url.as_str()),
    }
}

fn admin(patient: &Patient, report: &mut Report) {
    match &patient.settings.admin.token {
        None => {}
        Some(_) => report.good("admin", "a token is set"),
    }
}

fn customers(patient: &Patient, report: &mut Report) {
    let customers = &patient.settings.customers;
    match (&customers.jwt_secret, &customers.jwks_url) {
        (None, None) => report.advise(
            "customers",
            "nothing verifies customers' tokens: their routes answer 503",
            "set SUREPASS_JWT_SECRET (HS256) or SUREPASS_JWKS_URL (RS256, ES256)",
        ),
        _ if patient.settings.hides_addresses() => report.warn(
            "customers",
            "behind the proxy of server.public_url all customers count as one address, and share its limits",
            "set customers.address_header to the header in which the proxy tells who connects, such as x-forwarded-for",
        ),
        (Some(_), Some(url)) => report.good("customers", format!("tokens by a shared secret, and by {url}")),
        (Some(_), None) => report.good("customers", "tokens by a shared secret"),
        (None, Some(url)) => report.good("customers", format!("tokens by {url}")),
    }
}

fn data_dir(patient: &Patient, report: &mut Report) {
    let folder = &patient.settings.data_dir;
    let shown = folder.display();
    // Of one that is not there yet, the nearest that is.
    let nearest = folder.ancestors().find(|folder| folder.exists());
    let nearest = nearest.filter(|folder| !folder.as_os_str().is_empty());
    if is_writable(nearest.unwrap_or(Path::new("."))) {
        let yet = if folder.exists() {
            ""
        } else {
            ", which is not there yet"
        };
        report.good(
            "data folder",
            format!("{shown}{yet}: `surepass up` can write to it"),
        );
    } else {
        report.advise(
            "data folder",
            format!("{shown} cannot be written to, as `surepass up` must"),
            "let this user write there, or set SUREPASS_DATA_DIR; `serve` and `surepass-worker` do not need it",
        );
    }
}

fn is_writable(folder: &Path) -> bool {
    folder.is_dir() && nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK).is_ok()
}
