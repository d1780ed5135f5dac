//! Reads tenants and passes, and goes on after an error: who corrects a file wants to know of all of them.

use std::collections::{HashMap, HashSet};

use secrecy::SecretString;
use serde_json::Value;

use super::fields::Fields;
use crate::credentials;
use crate::email;
use crate::money::{Currency, Money};
use crate::store::UnmatchedPolicy;
use crate::store::model::{Contact, Expiry, Pass, Tenant, Validity, WebhookSecrets};
use crate::time_zone::Tz;

/// A hundred years: a longer validity is a slip of the pen.
const MAX_DAYS: i64 = 36_525;
/// The first words of our own addresses: `/{slug}/subscriptions` would be one of them.
const RESERVED_SLUGS: [&str; 7] = [
    "admin", "api", "assets", "healthz", "metrics", "readyz", "webhooks",
];
const PASS_TYPES: [&str; 4] = ["single", "multi-pass", "multi", "unlimited"];

/// So many of a kind are warned of one by one.
const MOST_NEIGHBOURS: usize = 10;

/// What was found in a file beside its tenants, a sentence each with its place.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) secrets: WebhookSecrets,
    /// The ids of tenants whose secrets the file does not name, with how many there were where it was printed.
    pub(super) without_secrets: Vec<(String, i64)>,
}

impl Findings {
    /// Notes the error.
    fn ok<T>(&mut self, read: Result<T, String>) -> Option<T> {
        read.map_err(|error| self.errors.push(error)).ok()
    }
}

pub(super) fn tenants(root: &mut Fields, found: &mut Findings) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    let (mut ids, mut slugs, mut accounts) = (HashSet::new(), HashSet::new(), HashSet::new());
    let list = found.ok(root.required_list("tenants")).unwrap_or_default();
    for (position, value) in list.into_iter().enumerate() {
        let Some(tenant) = tenant(position, value, found) else {
            continue;
        };
        let twice = |what: &str, value: &str| {
            format!("tenant `{}`: {what} `{value}` is in the file twice", tenant.id)
        };
        if !ids.insert(tenant.id.clone()) {
            found.errors.push(twice("`id`", &tenant.id));
        }
        if !slugs.insert(tenant.slug.clone()) {
            found.errors.push(twice("`slug`", &tenant.slug));
        }
        if let Some(account) = &tenant.stripe_account
            && !accounts.insert(account.clone())
        {
            found.errors.push(twice("`stripeAccount`", account));
        }
        tenants.push(tenant);
    }
    warn_of_neighbours(&tenants, found);
    tenants
}

/// Stripe sends each event of an account to all its endpoints. So between tenants that share the platform's account and have
/// endpoints of their own, a purchase that names no tenant is told apart by what only one of them sells.
fn warn_of_neighbours(tenants: &[Tenant], found: &mut Findings) {
    let has_endpoint = |tenant: &&Tenant| {
        let secrets = found.secrets.get(&tenant.id);
        tenant.stripe_account.is_none() && secrets.is_some_and(|secrets| !secrets.is_empty())
    };
    let mut sellers: HashMap<String, &Tenant> = HashMap::new();
    let mut warnings = Vec::new();
    for tenant in tenants.iter().filter(has_endpoint) {
        for pass in &tenant.passes {
            let name = format!("the name `{}`", email::name_key(&pass.name));
            let prices = pass.stripe_price_ids.iter();
            let prices = prices.map(|price| format!("the Stripe price `{price}`"));
            for sold in prices.chain([name]) {
                let other = *sellers.entry(sold.clone()).or_insert(tenant);
                if other.id != tenant.id {
                    warnings.push(format!(
                        "tenants `{}` and `{}` share a Stripe account, and passes of both have {sold}: put `tenantId` into the \
                         metadata of their checkouts, else the wrong one may get a purchase",
                        other.id, tenant.id
                    ));
                }
            }
        }
    }
    let more = warnings.len().saturating_sub(MOST_NEIGHBOURS);
    warnings.truncate(MOST_NEIGHBOURS);
    if more > 0 {
        warnings.push(format!("{more} more names and prices are shared in this way"));
    }
    found.warnings.extend(warnings);
}

fn tenant(position: usize, value: Value, found: &mut Findings) -> Option<Tenant> {
    let mut fields = found.ok(Fields::new(format!("tenant {}", position + 1), value))?;
    let id = found.ok(fields.required_text("id"));
    if let Some(id) = &id {
        fields.name(format!("tenant `{id}`"));
    }
    let slug = found.ok(slug(&mut fields));
    let name = found.ok(fields.required_text("name"));
    let time_zone = found.ok(time_zone(&mut fields));
    let color = found.ok(color(&mut fields));
    let printed = found
        .ok(fields.integer("webhookSecretsCount", 0..=i64::MAX))
        .flatten();
    let is_silent = !fields.has("webhookSecrets");
    let secrets = found.ok(webhook_secrets(&mut fields));
    match id.clone() {
        Some(id) if is_silent => found.without_secrets.push((id, printed.unwrap_or_default())),
        Some(id) => found.secrets.extend(secrets.map(|secrets| (id, secrets))),
        None => {}
    }
    let stripe_account = found.ok(stripe_account(&mut fields));
    let contact = found.ok(contact(&mut fields));
    let unmatched = found.ok(unmatched(&mut fields));
    let mut passes: Vec<Pass> = Vec::new();
    let list = found.ok(fields.list("passes")).unwrap_or_default();
    for (position, value) in list.into_iter().enumerate() {
        let Some(pass) = pass(&fields, position, value, found) else {
            continue;
        };
        if passes.iter().any(|other| other.id == pass.id) {
            found.errors.push(format!(
                "{}, pass `{}`: its `id` is there twice",
                fields.place(),
                pass.id
            ));
            continue;
        }
        warn_of_likeness(&fields, &passes, &pass, &mut found.warnings);
        passes.push(pass);
    }
    fields.finish(&mut found.warnings);
    Some(Tenant {
        id: id?,
        slug: slug?,
        name: name?,
        time_zone: time_zone?,
        color: color?,
        stripe_account: stripe_account?,
        contact: contact?,
        unmatched: unmatched?,
        passes,
    })
}

fn slug(fields: &mut Fields) -> Result<String, String> {
    let slug = fields.required_text("slug")?;
    let is_slug = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if slug.len() > 63 || !slug.bytes().all(is_slug) {
        return Err(fields.refusal("slug", "expected at most 63 of a-z, 0-9 and -"));
    }
    if RESERVED_SLUGS.contains(&slug.as_str()) {
        return Err(fields.refusal(
            "slug",
            &format!("`{slug}` begins addresses of Surepass' own, as in /{slug}/…: choose another one"),
        ));
    }
    Ok(slug)
}

fn time_zone(fields: &mut Fields) -> Result<Tz, String> {
    let Some(zone) = fields.text("timeZone")? else {
        return Ok(Tz::UTC);
    };
    zone.parse().map_err(|_| {
        fields.refusal(
            "timeZone",
            &format!("`{zone}` is not in the IANA time zone database (Europe/Oslo is)"),
        )
    })
}

fn color(fields: &mut Fields) -> Result<Option<String>, String> {
    let color = fields.text("color")?;
    let is_color = |text: &String| {
        text.strip_prefix('#')
            .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if color.as_ref().is_some_and(|color| !is_color(color)) {
        return Err(fields.refusal("color", "expected #RRGGBB"));
    }
    Ok(color)
}

fn webhook_secrets(fields: &mut Fields) -> Result<Vec<SecretString>, String> {
    let mut secrets = Vec::new();
    for (index, secret) in fields.texts("webhookSecrets")?.into_iter().enumerate() {
        if let Err(misfit) = credentials::check_webhook_secret(&secret) {
            let what = format!("secret {} {misfit}", index + 1);
            return Err(fields.refusal("webhookSecrets", &what));
        }
        secrets.push(SecretString::from(secret));
    }
    Ok(secrets)
}

fn stripe_account(fields: &mut Fields) -> Result<Option<String>, String> {
    let account = fields.text("stripeAccount")?;
    let is_account = |account: &String| account.strip_prefix("acct_").is_some_and(|rest| !rest.is_empty());
    if account.as_ref().is_some_and(|account| !is_account(account)) {
        return Err(fields.refusal(
            "stripeAccount",
            "the id of a connected account begins with `acct_`",
        ));
    }
    Ok(account)
}

fn unmatched(fields: &mut Fields) -> Result<UnmatchedPolicy, String> {
    match fields.text("unmatched")? {
        None => Ok(UnmatchedPolicy::default()),
        Some(word) => word
            .parse()
            .map_err(|_| fields.refusal("unmatched", "expected `park` or `ignore`")),
    }
}

fn contact(fields: &mut Fields) -> Result<Contact, String> {
    let support_email = fields.text("supportEmail")?;
    let is_address = |text: &String| {
        let is_safe = |c: char| !c.is_whitespace() && !c.is_control() && !"<>\"'?&,;".contains(c);
        text.split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
            && text.chars().all(is_safe)
    };
    if support_email.as_ref().is_some_and(|email| !is_address(email)) {
        return Err(fields.refusal("supportEmail", "expected an email address"));
    }
    let mut link = |field| {
        let link = fields.text(field)?;
        // Customers follow it: nothing but an address of the web.
        let is_link = |text: &String| {
            text.parse::<url::Url>()
                .is_ok_and(|url| matches!(url.scheme(), "https" | "http") && url.has_host())
        };
        if link.as_ref().is_some_and(|link| !is_link(link)) {
            return Err(fields.refusal(field, "expected an address that begins with https://"));
        }
        Ok(link)
    };
    Ok(Contact {
        support_url: link("supportUrl")?,
        shop_url: link("shopUrl")?,
        support_email,
    })
}

/// Passes are also told by name and by price: two that share one cannot be told apart by it.
fn warn_of_likeness(tenant: &Fields, others: &[Pass], pass: &Pass, warnings: &mut Vec<String>) {
    for other in others {
        let place = format!("{}: the passes `{}` and `{}`", tenant.place(), other.id, pass.id);
        if email::name_key(&other.name) == email::name_key(&pass.name) {
            warnings.push(format!("{place} share the name `{}`", pass.name));
        }
        if let Some(price) = pass
            .stripe_price_ids
            .iter()
            .find(|price| other.stripe_price_ids.contains(price))
        {
            warnings.push(format!("{place} share the Stripe price `{price}`"));
        }
    }
}

fn pass(tenant: &Fields, position: usize, value: Value, found: &mut Findings) -> Option<Pass> {
    let mut fields = found.ok(Fields::new(
        format!("{}, pass {}", tenant.place(), position + 1),
        value,
    ))?;
    let id = found.ok(fields.required_text("id"));
    if let Some(id) = &id {
        fields.name(format!("{}, pass `{id}`", tenant.place()));
    }
    let name = found.ok(fields.required_text("name"));
    let kind = found.ok(kind(&mut fields));
    let classes_limit = found.ok(classes_limit(&mut fields, kind.as_deref()));
    let price = found.ok(price(&mut fields));
    let currency = found.ok(currency(&mut fields));
    let validity = validity(&mut fields, found);
    let stripe_price_ids = found.ok(fields.texts("stripePriceIds"));
    let is_active = found.ok(fields.flag("isActive"));
    fields.finish(&mut found.warnings);
    let price = Money {
        amount: price?,
        currency: currency?,
    };
    Some(Pass {
        id: id?,
        name: name?,
        kind: kind?,
        classes_limit: classes_limit?,
        price,
        validity: validity?,
        stripe_price_ids: stripe_price_ids?,
        is_active: is_active?.unwrap_or(true),
    })
}

fn kind(fields: &mut Fields) -> Result<String, String> {
    let kind = fields.required_text("type")?;
    if !PASS_TYPES.contains(&kind.as_str()) {
        let what = format!("`{kind}` is none of {}", PASS_TYPES.join(", "));
        return Err(fields.refusal("type", &what));
    }
    Ok(kind)
}

/// Without it a pass of several classes would be one without a limit.
fn classes_limit(fields: &mut Fields, kind: Option<&str>) -> Result<Option<i64>, String> {
    let limit = fields.integer("classesLimit", 1..=1_000_000)?;
    match kind {
        Some(kind) if limit.is_none() && kind.starts_with("multi") => Err(fields.refusal(
            "classesLimit",
            &format!("it is missing: a pass of type `{kind}` has a number of classes"),
        )),
        _ => Ok(limit),
    }
}

fn price(fields: &mut Fields) -> Result<i64, String> {
    let price = fields.integer("price", 0..=i64::MAX)?;
    price.ok_or_else(|| fields.refusal("price", "it is missing"))
}

fn currency(fields: &mut Fields) -> Result<Currency, String> {
    let code = fields.required_text("currency")?;
    let currency = code.parse::<Currency>().ok().filter(Currency::is_listed);
    currency.ok_or_else(|| fields.refusal("currency", &format!("`{code}` is not in ISO 4217")))
}

fn validity(fields: &mut Fields, found: &mut Findings) -> Option<Validity> {
    let kind = found.ok(validity_type(fields));
    let days = found.ok(fields.integer("validityDays", 1..=MAX_DAYS));
    let expiry = found.ok(expiry(fields));
    let (kind, days, expiry) = (kind?, days?, expiry?);
    let missing = match kind.as_deref() {
        Some("days") => days.is_none().then_some("validityDays"),
        Some("date") => expiry.is_none().then_some("expiryDate"),
        _ => (days.is_none() && expiry.is_none()).then_some("validityDays"),
    };
    if let Some(field) = missing {
        let what = "it is missing: nothing says when the pass ends (`validityDays`, or `validityType` `date` with `expiryDate`)";
        found.errors.push(fields.refusal(field, what));
        return None;
    }
    Some(Validity { kind, days, expiry })
}

fn validity_type(fields: &mut Fields) -> Result<Option<String>, String> {
    let kind = fields.text("validityType")?;
    if kind.as_ref().is_some_and(|kind| kind != "days" && kind != "date") {
        return Err(fields.refusal("validityType", "expected `days` or `date`"));
    }
    Ok(kind)
}

fn expiry(fields: &mut Fields) -> Result<Option<Expiry>, String> {
    let Some(text) = fields.text("expiryDate")? else {
        return Ok(None);
    };
    text.parse()
        .map(Some)
        .map_err(|error| fields.refusal("expiryDate", &format!("{error}")))
}
