//! `surepass unmatched assign`

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use surepass::config::Settings;
use surepass::fulfil::job_id;
use surepass::guest;
use surepass::money::Money;
use surepass::queue::Queue;
use surepass::store::{Resolution, Store, UnmatchedPayment};
use surepass::stripe::api::{self, Client, ClientOptions, Unpaced};
use surepass::unmatched::{Assigned, Assignment};

use super::list::paid;
use crate::Failure;
use crate::commands::misuse;
use crate::commands::owner::NO_USER_ID;
use crate::commands::terminal::{print_json, safe};

/// How long it waits for the pass.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// How long Stripe may take to say what was refunded.
const STRIPE: Duration = Duration::from_secs(5);

pub(super) async fn assign(
    settings: &Settings,
    id: &str,
    wanted: Assignment<'_>,
    why: &str,
    json: bool,
) -> Result<ExitCode, Failure> {
    if wanted.user.is_some_and(|user| !guest::is_assignable_user(user)) {
        return Ok(misuse(&format!("{NO_USER_ID}, and not a guest's (guest-…)")));
    }
    let opened = match super::open(settings, id, why).await? {
        Ok(opened) => opened,
        Err(status) => return Ok(status),
    };
    let case = &opened.case;
    let assigned = opened.worker(why).assign(case, wanted).await?;
    let money = Amounts {
        paid: paid(case).filter(|_| case.is_paid),
        price: assigned.price,
        refunded: refunded(settings, case).await,
    };
    if !json {
        money.print(&case.reference);
    }
    let has_pass = fulfilled(opened.store.as_ref(), &opened.queue, case).await?;
    if json {
        print_json(&json!({
            "reference": case.reference, "tenant": assigned.tenant, "pass": assigned.pass, "hasPass": has_pass,
            "paid": money.paid, "price": money.price, "differs": money.differs(), "refunded": money.refunded,
        }))?;
    } else {
        print(&case.reference, &case.session, &assigned, has_pass);
    }
    Ok(if has_pass {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(reference: &str, session: &str, assigned: &Assigned, has_pass: bool) {
    let (pass, tenant) = (safe(&assigned.pass), safe(&assigned.tenant));
    if has_pass {
        println!("{reference}: the buyer has {pass} of {tenant}.");
    } else {
        println!(
            "{reference}: enqueued with {pass} of {tenant}, but not fulfilled yet. Next: surepass jobs show {}",
            safe(session)
        );
    }
}

/// Amounts that the operator may have overlooked.
struct Amounts {
    paid: Option<Money>,
    price: Money,
    /// `None`: nothing, or it is not known.
    refunded: Option<Money>,
}

impl Amounts {
    fn differs(&self) -> bool {
        self.paid.is_some_and(|paid| paid != self.price)
    }

    fn print(&self, reference: &str) {
        if let Some(paid) = self.paid.filter(|_| self.differs()) {
            println!(
                "{reference}: note: {paid} was paid, but the pass costs {}.",
                self.price
            );
        }
        if let Some(refunded) = self.refunded {
            println!("{reference}: note: {refunded} of it was refunded.");
        }
    }
}

/// How much of it was refunded, as Stripe says: a case knows only full refunds, which close it.
async fn refunded(settings: &Settings, case: &UnmatchedPayment) -> Option<Money> {
    let options = ClientOptions {
        attempts: 1,
        timeout: STRIPE,
        ..settings.stripe_options()?
    };
    // Without the shared limit: it is one call, which a person waits for.
    let client = Client::new(api::http().ok()?, options, Arc::new(Unpaced));
    let api = client.account(case.account.as_deref());
    if !api.can_know(&case.session) {
        return None;
    }
    let payment = match api.session(&case.session).await {
        Ok(session) => session?.payment?,
        Err(error) => {
            eprintln!(
                "surepass: refunds could not be read from Stripe: {}",
                safe(&error.to_string())
            );
            return None;
        }
    };
    let amount = payment.amount_refunded.filter(|amount| *amount > 0)?;
    let currency = payment.currency.or_else(|| case.evidence.currency.clone())?;
    let currency = currency.parse().ok()?;
    Some(Money { amount, currency })
}

/// Waits for the subscription, which closes the case; not longer than a person waits, and not for a job that died.
async fn fulfilled(store: &Store, queue: &Queue, case: &UnmatchedPayment) -> Result<bool, Failure> {
    let job = job_id(&case.session, None);
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let cases = store.unmatched().unmatched_of(&[&case.session]).await?;
        let own = cases.iter().find(|one| one.id == case.id);
        if own.is_some_and(|one| one.resolution == Some(Resolution::Subscription)) {
            return Ok(true);
        }
        let is_dead = queue.death(&job).await?.is_some();
        if is_dead || tokio::time::Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}
