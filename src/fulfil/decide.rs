//! Decides what a purchase becomes: checks it, and finds customer, price and dates. Pure functions. `catalog` finds its tenant
//! and its pass.

use std::borrow::Cow;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Offset, SecondsFormat, TimeDelta, TimeZone, Utc};

use crate::email;
use crate::money::{Currency, Money};
use crate::store::{
    Buyer, Expiry, NewSubscription, Pass, Subscription, SubscriptionType, Tenant, UnmatchedPolicy, Validity,
};
use crate::time_zone::Tz;

use super::catalog::{Catalog, NoTenant, TenantPasses};
use super::error::{Reason, Shown};
use super::is_session_id;
use super::mode::Mode;
use super::purchase::{Purchase, PurchaseKind};

/// What a purchase becomes.
#[derive(Debug)]
pub(super) enum Decision {
    Create {
        new: Box<NewSubscription>,
        /// More was paid than this pass costs.
        is_short: bool,
    },
    /// It names nothing that is sold here: a person must decide.
    Unmatched(Unmatched),
    /// Not a purchase of a pass, for this reason.
    Ignore(&'static str),
}

/// A paid purchase without a pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unmatched {
    pub(super) reason: &'static str,
    pub(super) detail: Cow<'static, str>,
    /// The tenant's id.
    pub(super) tenant: Option<String>,
}

/// The rules beside the catalog.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    pub(super) mode: Mode,
    /// For sessions without our metadata whose tenant is unknown.
    pub(super) unmatched: UnmatchedPolicy,
}

/// The reason of a case that names nothing that is sold here.
pub(crate) const UNMATCHED: &str = "unmatched";
/// The reason of a case in which nothing was paid.
pub(crate) const TRIAL: &str = "trial";
/// Why a paid session without our metadata is ignored.
pub(crate) const NOT_A_PASS: &str = "not_a_pass";

/// Why a purchase at one tenant's endpoint is ignored: another tenant of the same Stripe account sold it.
/// That tenant's endpoint, the platform's or the lookback fulfils it.
pub(super) const ANOTHER_TENANTS: &str = "another_tenants";

/// A hundred years: more is a slip of the keyboard.
const MAX_DAYS: i64 = 36_500;

/// Fields that a pass does not need.
const HARMLESS: [&str; 3] = ["mode", "customer", "customer_details.name"];

/// Fields that matter only if nothing else identifies the buyer.
const EMAILS: [&str; 3] = ["customer_email", "customer_details", "customer_details.email"];

/// Checks the purchase without the catalog.
///
/// # Errors
/// The session cannot be read.
pub(super) fn validate(purchase: &Purchase) -> Result<(), Reason> {
    let has_user = purchase.user().is_some();
    let mut wrong: Vec<&str> = purchase
        .unreadable
        .iter()
        .map(AsRef::as_ref)
        .filter(|field| !HARMLESS.contains(field))
        .filter(|field| !(EMAILS.contains(field) && (has_user || purchase.email.is_some())))
        .collect();
    let checks = [
        ("id", is_session_id(&purchase.session_id)),
        ("created", purchase.created.is_some()),
        ("amount_total", purchase.amount.is_none_or(|amount| amount >= 0)),
        (
            "currency",
            purchase
                .currency
                .as_deref()
                .is_none_or(|code| code.parse::<Currency>().is_ok()),
        ),
    ];
    for (field, is_right) in checks {
        if !is_right && !wrong.contains(&field) {
            wrong.push(field);
        }
    }
    if !wrong.is_empty() {
        return Err(Reason::MalformedSession {
            fields: wrong.join(", "),
        });
    }
    Ok(())
}

/// Decides about a purchase that [`validate`] has accepted.
///
/// # Errors
/// Why it cannot be fulfilled.
pub(super) fn decide(
    purchase: &Purchase,
    catalog: &Catalog,
    rules: Rules,
    now: DateTime<Utc>,
) -> Result<Decision, Reason> {
    let has_our_keys = purchase.has_our_keys();
    let passes_of = match catalog.tenant(purchase) {
        Ok(passes_of) => passes_of,
        Err(NoTenant::Another) => return Ok(Decision::Ignore(ANOTHER_TENANTS)),
        Err(NoTenant::Unresolved(why)) if has_our_keys || catalog.is_known_to_any(purchase) => {
            return if purchase.is_trial {
                Ok(trial(None))
            } else {
                Err(Reason::UnresolvedTenant { why })
            };
        }
        Err(NoTenant::Unresolved(_)) => return unnamed(purchase, None, rules),
    };
    let pass = passes_of.pass(purchase);
    if let Err(none) = &pass
        && !has_our_keys
        && !none.is_ambiguous
        && !catalog.is_identified_by_any(purchase)
    {
        return unnamed(purchase, Some(&passes_of.tenant), rules);
    }
    if purchase.is_trial {
        return Ok(trial(Some(&passes_of.tenant)));
    }
    rules.mode.check(purchase)?;
    check_tenant(purchase, catalog, passes_of)?;
    let tenant = &passes_of.tenant;
    let pass = pass.map_err(|none| Reason::UnresolvedPass {
        tenant: Shown::new(&tenant.id),
        why: none.why,
    })?;
    let new = subscription(purchase, tenant, pass, now)?;
    Ok(Decision::Create {
        is_short: !new.subscription.is_upgrade && is_short(purchase, pass),
        new: Box::new(new),
    })
}

/// "Fulfilment" rule 4, for a purchase without our metadata.
fn unnamed(purchase: &Purchase, tenant: Option<&Tenant>, rules: Rules) -> Result<Decision, Reason> {
    let tenant = tenant.filter(|tenant| tenant.stripe_account == purchase.account);
    if tenant.map_or(rules.unmatched, |tenant| tenant.unmatched) == UnmatchedPolicy::Ignore {
        return Ok(Decision::Ignore(NOT_A_PASS));
    }
    if purchase.is_trial {
        return Ok(trial(tenant));
    }
    rules.mode.check(purchase)?;
    Ok(Decision::Unmatched(Unmatched {
        reason: UNMATCHED,
        detail:
            "paid, but the session has no passId, passName or known price: add the price to the catalog and \
                 run `surepass sync --session`, assign a pass, or refund it"
                .into(),
        tenant: tenant.map(|tenant| tenant.id.clone()),
    }))
}

fn trial(tenant: Option<&Tenant>) -> Decision {
    Decision::Unmatched(Unmatched {
        reason: TRIAL,
        detail:
            "a Stripe subscription began without a payment (a trial): no pass was made, and nothing was paid"
                .into(),
        tenant: tenant.map(|tenant| tenant.id.clone()),
    })
}

/// Whether the amount before discounts pays for two passes or more.
fn is_short(purchase: &Purchase, pass: &Pass) -> bool {
    let currency = purchase.currency.as_deref().and_then(|code| code.parse().ok());
    let paid = purchase.subtotal.or(purchase.amount).unwrap_or_default();
    pass.price.amount > 0
        && currency == Some(pass.price.currency)
        && paid >= pass.price.amount.saturating_mul(2)
}

/// "Fulfilment" rule 10.
fn check_tenant(purchase: &Purchase, catalog: &Catalog, passes_of: &TenantPasses) -> Result<(), Reason> {
    let tenant = &passes_of.tenant;
    if purchase.account != tenant.stripe_account {
        return Err(Reason::AccountMismatch {
            tenant: Shown::new(&tenant.id),
            happened_on: purchase.account.as_deref().map(Shown::new),
            sells_on: tenant.stripe_account.as_deref().map(Shown::new),
        });
    }
    let Some(named) = purchase.tenant.as_deref() else {
        return Ok(());
    };
    match catalog.named(named) {
        Some(owner) if owner.id == tenant.id => Ok(()),
        owner => Err(Reason::MetadataTenantMismatch {
            tenant: Shown::new(&tenant.id),
            named: Shown::new(named),
            owner: owner.map(|owner| Shown::new(&owner.id)),
        }),
    }
}

fn subscription(
    purchase: &Purchase,
    tenant: &Tenant,
    pass: &Pass,
    now: DateTime<Utc>,
) -> Result<NewSubscription, Reason> {
    let invalid = |why| Reason::InvalidPass {
        tenant: Shown::new(&tenant.id),
        pass: Shown::new(&pass.id),
        why,
    };
    let malformed = |field: &str| Reason::MalformedSession {
        fields: field.to_owned(),
    };
    let start_date = purchase.created.ok_or_else(|| malformed("created"))?;
    let (kind, remaining_clips) = entitlement(tenant, pass)?;
    let end_date = end(&pass.validity, start_date, &tenant.time_zone).map_err(invalid)?;
    if end_date <= start_date {
        return Err(Reason::ExpiredPass {
            tenant: Shown::new(&tenant.id),
            pass: Shown::new(&pass.id),
            end: end_date.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            bought: start_date.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        });
    }
    // A session without a type that names an old subscription is an upgrade.
    let is_upgrade = purchase.kind == Some(PurchaseKind::Upgrade)
        || (purchase.kind.is_none() && purchase.upgrade_from.is_some());
    if is_upgrade && purchase.upgrade_from.is_none() {
        return Err(Reason::UpgradeSourceMissing);
    }
    // All amounts of a subscription are in one currency, so the catalog's price is used only in that
    // currency.
    let currency = match purchase.currency.as_deref().filter(|_| purchase.amount.is_some()) {
        Some(code) => code.parse().map_err(|_| malformed("currency"))?,
        None => pass.price.currency,
    };
    let paid = purchase.amount.map(|amount| Money { amount, currency });
    let major = |text: &Option<String>| Money::from_major(text.as_deref()?, currency);
    let of_upgrade = |text: &Option<String>| major(text).filter(|_| is_upgrade);
    let subscription = Subscription {
        id: Subscription::id_of(&purchase.session_id),
        user: String::new(),
        tenant: tenant.id.clone(),
        kind,
        start_date,
        end_date,
        remaining_clips,
        pass_id: pass.id.clone(),
        pass_name: pass.name.clone(),
        purchase_price: of_upgrade(&purchase.new_pass_price)
            .or(paid)
            .unwrap_or(pass.price),
        original_price: major(&purchase.original_price).or_else(|| of_upgrade(&purchase.original_pass_price)),
        final_price: major(&purchase.final_price),
        discount_amount: major(&purchase.discount_amount),
        promo_code: purchase.promo_code.clone(),
        currency,
        stripe_payment_id: purchase.payment_intent.clone(),
        stripe_session_id: purchase.session_id.clone(),
        stripe_customer_id: purchase.customer.clone(),
        webhook_event_id: purchase.event_id.clone(),
        is_active: true,
        is_upgrade,
        upgraded_from_subscription_id: purchase.upgrade_from.clone().filter(|_| is_upgrade),
        upgrade_cost: if is_upgrade {
            major(&purchase.upgrade_cost).or(paid)
        } else {
            None
        },
        created_via: purchase.created_via,
        created_at: now,
        updated_at: now,
    };
    Ok(NewSubscription {
        subscription,
        buyer: buyer(purchase),
    })
}

/// The type of subscription of this pass, and its number of classes (`None`: unlimited).
fn entitlement(tenant: &Tenant, pass: &Pass) -> Result<(SubscriptionType, Option<i64>), Reason> {
    let classes = || match pass.classes_limit {
        Some(limit) if limit >= 1 => Ok(Some(limit)),
        limit => Err(Reason::InvalidPass {
            tenant: Shown::new(&tenant.id),
            pass: Shown::new(&pass.id),
            why: match limit {
                Some(limit) => format!("its `classesLimit` is {limit}, less than 1"),
                None => "it has no `classesLimit`".to_owned(),
            },
        }),
    };
    match pass.kind.as_str() {
        "single" => Ok((SubscriptionType::Single, Some(1))),
        "multi-pass" => Ok((SubscriptionType::MultiPass, classes()?)),
        "multi" => Ok((SubscriptionType::Clipcard, classes()?)),
        "unlimited" => Ok((SubscriptionType::Monthly, None)),
        kind => Err(Reason::InvalidPassType {
            tenant: Shown::new(&tenant.id),
            pass: Shown::new(&pass.id),
            kind: Shown::new(kind),
        }),
    }
}

/// The end of a pass bought at `start`. "Fulfilment" rule 6: its fixed date, else `start` and its days of 24 hours.
///
/// Old catalogs state days without a kind. Where the kind asks for what is not there, nothing is guessed.
///
/// # Errors
/// What is wrong with the pass, in words that end a sentence.
fn end(validity: &Validity, start: DateTime<Utc>, time_zone: &Tz) -> Result<DateTime<Utc>, String> {
    match (validity.kind.as_deref(), validity.days, validity.expiry) {
        (Some("days") | None, Some(days), _) => after_days(start, days),
        (Some("date") | None, _, Some(expiry)) => end_of(expiry, time_zone),
        (Some("days"), None, _) => Err("its validity is in days, but it has no `validityDays`".to_owned()),
        (Some("date"), _, None) => Err("it is valid to a date, but it has no `expiryDate`".to_owned()),
        (None, None, None) => Err("it has neither `validityDays` nor `expiryDate`".to_owned()),
        (Some(_), _, _) => Err("its `validityType` is neither `days` nor `date`".to_owned()),
    }
}

fn after_days(start: DateTime<Utc>, days: i64) -> Result<DateTime<Utc>, String> {
    let out_of_range = || format!("its `validityDays` is {days}, not 1 to {MAX_DAYS}");
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(out_of_range());
    }
    start
        .checked_add_signed(TimeDelta::days(days))
        .ok_or_else(out_of_range)
}

fn end_of(expiry: Expiry, time_zone: &Tz) -> Result<DateTime<Utc>, String> {
    match expiry {
        Expiry::Instant(instant) => Ok(instant),
        Expiry::Date(date) => {
            last_instant(date, time_zone).ok_or_else(|| format!("its `expiryDate` {date} is out of range"))
        }
    }
}

/// The last millisecond of a local day, whatever its clocks do at midnight.
fn last_instant(date: NaiveDate, time_zone: &Tz) -> Option<DateTime<Utc>> {
    let midnight = date.checked_add_days(Days::new(1))?.and_time(NaiveTime::MIN);
    let next_day = if let Some(instant) = time_zone.from_local_datetime(&midnight).earliest() {
        instant.to_utc()
    } else {
        // Clocks that skip midnight do so at what would have been midnight by the time that was in force.
        let noon = date.and_hms_opt(12, 0, 0)?;
        let offset = time_zone.offset_from_local_datetime(&noon).earliest()?.fix();
        offset.from_local_datetime(&midnight).single()?.to_utc()
    };
    next_day.checked_sub_signed(TimeDelta::milliseconds(1))
}

/// "Fulfilment" rule 5: the buyer, as far as the purchase names them.
fn buyer(purchase: &Purchase) -> Buyer {
    Buyer {
        user_id: purchase.user().map(str::to_owned),
        email: purchase
            .email
            .as_deref()
            .map(email::normalize)
            .filter(|email| email::is_address(email)),
        name: purchase
            .name
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
