//! Stripe's API: the key, its permissions, the clock.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use surepass::fulfil::Mode;
use surepass::stripe::api::{self, Account, Client, ClientOptions, EventFilter, StripeError, Unpaced};
use surepass::tls::next_step;

use super::Context;
use super::report::Report;
use crate::commands::terminal::span;

/// A person is waiting: one retry, soon.
const ATTEMPTS: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(10);
/// An id that does not exist: the response shows whether the key may read.
const NOBODY: &str = "surepass_doctor";
/// How many connected accounts are tested at most.
const ACCOUNTS: usize = 20;

pub(super) async fn check(context: &mut Context, report: &mut Report) {
    mode(context, report).await;
    let Some(options) = context.settings.stripe_options() else {
        report.warn(
            "key",
            "STRIPE_SECRET_KEY is not set: the lookback is off, so a purchase whose webhook is lost gets no pass",
            "set it to a restricted key with read access (rk_…), and run `surepass doctor` again to check its permissions",
        );
        return;
    };
    key(context, report);
    let http = match api::http() {
        Ok(http) => http,
        Err(error) => {
            report.wrong("connection", error.to_string(), "check the system's TLS setup");
            return;
        }
    };
    let options = ClientOptions {
        attempts: ATTEMPTS,
        timeout: TIMEOUT,
        ..options
    };
    // Without the shared rate limit, which needs Redis: these are few calls.
    let client = Client::new(http, options, Arc::new(Unpaced));
    let account = client.account(None);
    match account.server_time().await {
        Ok(theirs) => {
            report.good("connection", context.settings.stripe.api_base.as_str());
            clock(context.clock.now() - theirs, report);
        }
        Err(error) if is_forbidden(&error) => {
            report.good("connection", context.settings.stripe.api_base.as_str());
        }
        Err(error) => {
            let fix = match error.status() {
                Some(401) => {
                    "copy a valid key into STRIPE_SECRET_KEY (Stripe Dashboard → Developers → API keys)"
                }
                Some(_) => "see status.stripe.com, and check STRIPE_API_BASE",
                None => "allow this machine to reach it, or correct STRIPE_API_BASE",
            };
            let message = error.to_string();
            report.wrong("connection", message.as_str(), next_step(&message, fix));
            return;
        }
    }
    permissions(&account, report).await;
    connected(context, &client, report).await;
    context.stripe = Some(client);
}

fn key(context: &Context, report: &mut Report) {
    let Some(key) = &context.settings.stripe.secret_key else {
        return;
    };
    let key = key.expose_secret();
    let mode = match context.settings.stripe.livemode() {
        Some(true) => "live mode",
        Some(false) => "test mode",
        None => {
            report.warn(
                "key",
                "not recognisable as a live or a test key (sk_live_…, rk_test_…): purchases of both modes would be fulfilled",
                "use a key of one mode",
            );
            return;
        }
    };
    if key.starts_with("rk_") {
        report.good("key", format!("restricted, {mode}"));
    } else {
        report.warn(
            "key",
            format!("{mode}, with write access: anyone who gets this key can move money"),
            "Surepass only reads: create a restricted key with the permissions below (rk_…, Stripe Dashboard → Developers → API keys)",
        );
    }
}

/// Which purchases are fulfilled, live or test, and why.
async fn mode(context: &Context, report: &mut Report) {
    let name = "mode";
    let stripe = &context.settings.stripe;
    let only = |live| {
        if live {
            "live purchases only"
        } else {
            "test purchases only"
        }
    };
    match (stripe.livemode_of_key(), stripe.livemode, &context.store) {
        (Some(live), ..) => report.good(name, format!("{}, because of STRIPE_SECRET_KEY", only(live))),
        (None, Some(live), _) => report.good(name, format!("{}, because of stripe.livemode", only(live))),
        // The check of the store has reported that it is away.
        (None, None, None) => {}
        (None, None, Some(store)) => match Mode::read(store.as_ref(), None).await {
            Ok(Mode::Undecided) => report.warn(
                name,
                "undecided: test and live purchases are both fulfilled until the first live one arrives",
                "set SUREPASS_LIVEMODE to true or false, or set STRIPE_SECRET_KEY",
            ),
            Ok(_) => report.good(name, format!("{}, since the first live one arrived", only(true))),
            Err(error) => report.warn(name, format!("could not be read: {error}"), "run this again"),
        },
    }
}

/// Signatures are rejected when they are 300 s old by our clock.
fn clock(ahead: TimeDelta, report: &mut Report) {
    // Stripe's date has whole seconds, and the response took a while.
    let apart = ahead.abs();
    let (ms, direction) = (
        u64::try_from(apart.num_milliseconds()).unwrap_or_default(),
        if ahead > TimeDelta::zero() {
            "ahead of"
        } else {
            "behind"
        },
    );
    let message = format!("ours is {} {direction} Stripe's", span(ms));
    let fix = "synchronise this machine's clock (NTP): if it is 5 minutes ahead, every webhook is rejected as too old";
    if apart <= TimeDelta::seconds(15) {
        report.good("clock", "same as Stripe's");
    } else if apart <= TimeDelta::minutes(2) {
        report.warn("clock", message, fix);
    } else {
        report.wrong("clock", message, fix);
    }
}

/// Tries each needed read once.
async fn permissions(account: &Account, report: &mut Report) {
    let one_event = EventFilter::default();
    let (sessions, events, payments, charges, endpoints) = tokio::join!(
        async { account.server_time().await.map(drop) },
        async { account.events(one_event).page_size(1).next().await.map(drop) },
        async { account.payment_intent(&format!("pi_{NOBODY}")).await.map(drop) },
        async { account.charge(&format!("ch_{NOBODY}")).await.map(drop) },
        async { account.webhook_endpoints().page_size(1).next().await.map(drop) },
    );
    let all = [
        (
            "Checkout Sessions",
            sessions,
            Some("the lookback finds no purchases"),
        ),
        ("Events", events, Some("undelivered events are not found")),
        ("PaymentIntents", payments, None),
        ("Charges", charges, None),
        ("Webhook Endpoints", endpoints, None),
    ];
    let (mut may, mut must, mut should) = (Vec::new(), Vec::new(), Vec::new());
    for (resource, answer, without) in all {
        match answer {
            Err(error) if is_forbidden(&error) => match without {
                Some(without) => must.push((resource, without)),
                None => should.push(resource),
            },
            Err(error) if error.is_transient() => {
                report.warn("permissions", format!("{resource}: {error}"), "run this again");
            }
            _ => may.push(resource),
        }
    }
    if !may.is_empty() {
        report.good("permissions", format!("reads {}", may.join(", ")));
    }
    for (resource, without) in must {
        report.wrong(
            "permissions",
            format!("{resource} cannot be read: {without}"),
            format!("give the key the permission \"{resource}: Read\""),
        );
    }
    if !should.is_empty() {
        let list = should.join(", ");
        report.warn(
            "permissions",
            format!("{list} cannot be read: some checks and `reconcile` know less"),
            format!("give the key read permission for {list}"),
        );
    }
}

/// The tenants' connected accounts.
async fn connected(context: &Context, client: &Client, report: &mut Report) {
    let with_account = context
        .tenants
        .iter()
        .filter_map(|tenant| Some((tenant, tenant.stripe_account.as_deref()?)));
    let mut reached = 0;
    for (tenant, id) in with_account.clone().take(ACCOUNTS) {
        match client.account(Some(id)).server_time().await {
            Ok(_) => reached += 1,
            Err(error) => report.wrong(
                "account",
                format!("{id} of {}: {error}", tenant.slug),
                "check that the account is connected to this platform in this mode, and is the tenant's stripeAccount",
            ),
        }
    }
    if reached > 0 {
        let all = with_account.count();
        let of = if all > ACCOUNTS {
            format!("the first {reached} of {all} connected accounts are readable")
        } else {
            format!("{reached} connected, readable")
        };
        report.good("accounts", of);
    }
}

fn is_forbidden(error: &StripeError) -> bool {
    error.status() == Some(403)
}
