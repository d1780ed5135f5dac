//! Stripe's API: the key, what it may read, the clock.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use surepass::fulfil::Mode;
use surepass::stripe::api::{self, Account, Client, ClientOptions, EventFilter, StripeError, Unpaced};
use surepass::tls::next_step;

use super::Patient;
use super::report::Report;
use crate::commands::terminal::span;

/// A person waits: one repetition, and not for long.
const ATTEMPTS: u32 = 2;
const TIMEOUT: Duration = Duration::from_secs(10);
/// An id that nobody has: what is answered tells whether the key may ask.
const NOBODY: &str = "surepass_doctor";
/// The most connected accounts that are tried.
const ACCOUNTS: usize = 20;

pub(super) async fn check(patient: &mut Patient, report: &mut Report) {
    mode(patient, report).await;
    let Some(options) = patient.settings.stripe_options() else {
        report.warn(
            "key",
            "STRIPE_SECRET_KEY is not set: the lookback is off, and a purchase whose webhook is lost stays lost",
            "set it to a restricted key (rk_…) that may read; `surepass doctor` then says what it must be able to read",
        );
        return;
    };
    key(patient, report);
    let http = match api::http() {
        Ok(http) => http,
        Err(error) => {
            report.wrong("connection", error.to_string(), "see the system's TLS set-up");
            return;
        }
    };
    let options = ClientOptions {
        attempts: ATTEMPTS,
        timeout: TIMEOUT,
        ..options
    };
    // Without the shared limit, which needs Redis: these few calls do not count.
    let client = Client::new(http, options, Arc::new(Unpaced));
    let account = client.account(None);
    match account.server_time().await {
        Ok(theirs) => {
            report.good("connection", patient.settings.stripe.api_base.as_str());
            clock(patient.clock.now() - theirs, report);
        }
        Err(error) if is_forbidden(&error) => {
            report.good("connection", patient.settings.stripe.api_base.as_str());
        }
        Err(error) => {
            let mend = match error.status() {
                Some(401) => "copy a valid key into STRIPE_SECRET_KEY (Dashboard, Developers, API keys)",
                Some(_) => "see status.stripe.com, and STRIPE_API_BASE",
                None => "let this machine reach it, or correct STRIPE_API_BASE",
            };
            let told = error.to_string();
            report.wrong("connection", told.as_str(), next_step(&told, mend));
            return;
        }
    }
    permissions(&account, report).await;
    connected(patient, &client, report).await;
    patient.stripe = Some(client);
}

fn key(patient: &Patient, report: &mut Report) {
    let Some(key) = &patient.settings.stripe.secret_key else {
        return;
    };
    let key = key.expose_secret();
    let mode = match patient.settings.stripe.livemode() {
        Some(true) => "live mode",
        Some(false) => "test mode",
        None => {
            report.warn(
                "key",
                "it tells neither live nor test mode (sk_live_…, rk_test_…), so purchases of both would be taken",
                "take a key of one mode",
            );
            return;
        }
    };
    if key.starts_with("rk_") {
        report.good("key", format!("restricted, {mode}"));
    } else {
        report.warn(
            "key",
            format!("{mode}, and it may write: whoever gets hold of it can move money"),
            "Surepass only reads: make a restricted key (rk_…, Dashboard, Developers, API keys) with the permissions below",
        );
    }
}

/// Which purchases are taken, and why.
async fn mode(patient: &Patient, report: &mut Report) {
    let name = "mode";
    let stripe = &patient.settings.stripe;
    let only = |live| {
        if live {
            "live purchases only"
        } else {
            "test purchases only"
        }
    };
    match (stripe.livemode_of_key(), stripe.livemode, &patient.store) {
        (Some(live), ..) => report.good(name, format!("{}, by STRIPE_SECRET_KEY", only(live))),
        (None, Some(live), _) => report.good(name, format!("{}, by stripe.livemode", only(live))),
        // That the store does not answer has been told.
        (None, None, None) => {}
        (None, None, Some(store)) => match Mode::read(store.as_ref(), None).await {
            Ok(Mode::Undecided) => report.warn(
                name,
                "undecided: test and live purchases are both fulfilled until the first live one",
                "set SUREPASS_LIVEMODE to true or false (or STRIPE_SECRET_KEY, which says it, too)",
            ),
            Ok(_) => report.good(name, format!("{}, since the first live one", only(true))),
            Err(error) => report.warn(name, format!("it could not be read: {error}"), "run this again"),
        },
    }
}

/// Signatures are refused when they are 300 s old by our clock.
fn clock(ahead: TimeDelta, report: &mut Report) {
    // Stripe's date is of whole seconds, and the answer took a while.
    let apart = ahead.abs();
    let (ms, way) = (
        u64::try_from(apart.num_milliseconds()).unwrap_or_default(),
        if ahead > TimeDelta::zero() {
            "ahead of"
        } else {
            "behind"
        },
    );
    let message = format!("ours is {} {way} Stripe's", span(ms));
    let mend =
        "set this machine's clock by NTP: when ours is 5 minutes ahead, every webhook is refused as too old";
    if apart <= TimeDelta::seconds(15) {
        report.good("clock", "as Stripe's");
    } else if apart <= TimeDelta::minutes(2) {
        report.warn("clock", message, mend);
    } else {
        report.wrong("clock", message, mend);
    }
}

/// Tries each read that we need once.
async fn permissions(account: &Account, report: &mut Report) {
    let one_event = EventFilter::default();
    let (sessions, events, customers, payments, charges, refunds, endpoints) = tokio::join!(
        async { account.server_time().await.map(drop) },
        async { account.events(one_event).page_size(1).next().await.map(drop) },
        async { account.customers(NOBODY).page_size(1).next().await.map(drop) },
        async { account.payment_intent(&format!("pi_{NOBODY}")).await.map(drop) },
        async { account.charge(&format!("ch_{NOBODY}")).await.map(drop) },
        async { account.refunds(&format!("pi_{NOBODY}")).next().await.map(drop) },
        async { account.webhook_endpoints().page_size(1).next().await.map(drop) },
    );
    let all = [
        (
            "Checkout Sessions",
            sessions,
            Some("no lookback finds a purchase"),
        ),
        (
            "Events",
            events,
            Some("events that were not delivered stay unknown"),
        ),
        ("Customers", customers, None),
        ("PaymentIntents", payments, None),
        ("Charges", charges, None),
        ("Refunds", refunds, None),
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
            format!("{list} cannot be read, by which some checks and `reconcile` know less"),
            format!("give the key the permission to read {list}"),
        );
    }
}

/// The tenants' connected accounts.
async fn connected(patient: &Patient, client: &Client, report: &mut Report) {
    let with_account = patient
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
                "see that the account is connected to this platform, in this mode, and is the tenant's stripeAccount",
            ),
        }
    }
    if reached > 0 {
        let all = with_account.count();
        let of = if all > ACCOUNTS {
            format!("the first {reached} of {all} connected ones can be read")
        } else {
            format!("{reached} connected: can be read")
        };
        report.good("accounts", of);
    }
}

fn is_forbidden(error: &StripeError) -> bool {
    error.status() == Some(403)
}
