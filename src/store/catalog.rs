//! The catalogue file: tenants and their passes, in JSON or TOML.

mod fields;

use std::collections::HashSet;
use std::path::Path;

use secrecy::SecretString;
use serde_json::{Value, json};

use self::fields::Fields;
use super::UnmatchedPolicy;
use super::model::{Contact, Pass, Tenant, Validity};
use crate::credentials;
use crate::email;
use crate::money::{Currency, Money};
use crate::time_zone::Tz;

/// The size of a catalogue file, at most, in bytes.
pub const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// A hundred years: a longer validity is a slip of the pen.
const MAX_DAYS: i64 = 36_525;
/// The first words of our own addresses: `/{slug}/subscriptions` would be one of them.
const RESERVED_SLUGS: [&str; 7] = [
    "admin", "api", "assets", "healthz", "metrics", "readyz", "webhooks",
];
const PASS_TYPES: [&str; 4] = ["single", "multi-pass", "multi", "unlimited"];

/// What a catalogue file holds.
#[derive(Debug)]
pub struct Catalog {
    pub tenants: Vec<Tenant>,
    /// What is allowed and yet likely a mistake, a sentence each.
    pub warnings: Vec<String>,
}

/// Why a catalogue file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{0} is larger than 8 MiB")]
    TooLarge(String),
    /// Says where; quotes nothing of the file, which holds secrets.
    #[error("not {format}: line {line}, column {column}")]
    Malformed {
        format: &'static str,
        line: usize,
        column: usize,
    },
    /// Names the tenant, the pass and the field.
    #[error("{0}")]
    Refused(String),
}

impl Catalog {
    /// Reads a file, JSON or TOML.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn read(path: &Path) -> Result<Self, CatalogError> {
        use std::io::Read;

        let unreadable = |source| CatalogError::Unreadable {
            path: path.display().to_string(),
            source,
        };
        let mut text = String::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
        let read = match read {
            // Cut in the middle of a character.
            Err(error)
                if error.kind() == std::io::ErrorKind::InvalidData
                    && std::fs::metadata(path).is_ok_and(|file| file.len() > MAX_BYTES) =>
            {
                MAX_BYTES + 1
            }
            Err(error) => return Err(unreadable(error)),
            Ok(bytes) => bytes as u64,
        };
        if read > MAX_BYTES {
            return Err(CatalogError::TooLarge(path.display().to_string()));
        }
        Self::parse(&text)
    }

    /// Reads JSON or, where the text does not begin with `{`, TOML.
    ///
    /// # Errors
    /// [`CatalogError`], apart from those of files.
    pub fn parse(text: &str) -> Result<Self, CatalogError> {
        let text = text.trim_start_matches('\u{feff}');
        let document = if text.trim_start().starts_with('{') {
            from_json(text)?
        } else {
            from_toml(text)?
        };
        let mut warnings = Vec::new();
        let mut root = Fields::new("the catalogue".to_owned(), document).map_err(CatalogError::Refused)?;
        let tenants = tenants(&mut root, &mut warnings).map_err(CatalogError::Refused)?;
        root.finish(&mut warnings);
        Ok(Self { tenants, warnings })
    }
}

fn from_json(text: &str) -> Result<Value, CatalogError> {
    serde_json::from_str(text).map_err(|error| CatalogError::Malformed {
        format: "JSON",
        line: error.line(),
        column: error.column(),
    })
}

fn from_toml(text: &str) -> Result<Value, CatalogError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        CatalogError::Malformed {
            format: "TOML (nor JSON, which begins with `{`)",
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
        }
    })?;
    Ok(plain(toml::Value::Table(table)))
}

/// TOML's values as JSON's; its dates, which JSON lacks, as text.
fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(integer) => integer.into(),
        toml::Value::Float(float) => float.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(datetime) => datetime.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(plain).collect(),
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, value)| (key, plain(value)))
                .collect(),
        ),
    }
}

fn tenants(root: &mut Fields, warnings: &mut Vec<String>) -> Result<Vec<Tenant>, String> {
    let mut tenants = Vec::new();
    let (mut ids, mut slugs, mut accounts) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (position, value) in root.required_list("tenants")?.into_iter().enumerate() {
        let tenant = tenant(position, value, warnings)?;
        let twice = |what: &str, value: &str| {
            Err(format!(
                "tenant `{}`: {what} `{value}` is in the file twice",
                tenant.id
            ))
        };
        if !ids.insert(tenant.id.clone()) {
            return twice("`id`", &tenant.id);
        }
        if !slugs.insert(tenant.slug.clone()) {
            return twice("`slug`", &tenant.slug);
        }
        if let Some(account) = &tenant.stripe_account
            && !accounts.insert(account.clone())
        {
            return twice("`stripeAccount`", account);
        }
        tenants.push(tenant);
    }
    Ok(tenants)
}

fn tenant(position: usize, value: Value, warnings: &mut Vec<String>) -> Result<Tenant, String> {
    let mut fields = Fields::new(format!("tenant {}", position + 1), value)?;
    let id = fields.required_text("id")?;
    fields.name(format!("tenant `{id}`"));
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
    let name = fields.required_text("name")?;
    let time_zone = match fields.text("timeZone")? {
        None => Tz::UTC,
        Some(zone) => zone.parse().map_err(|_| {
            fields.refusal(
                "timeZone",
                &format!("`{zone}` is not in the IANA time zone database (Europe/Oslo is)"),
            )
        })?,
    };
    let color = fields.text("color")?;
    let is_color = |text: &String| {
        text.strip_prefix('#')
            .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    if color.as_ref().is_some_and(|color| !is_color(color)) {
        return Err(fields.refusal("color", "expected #RRGGBB"));
    }
    let mut webhook_secrets = Vec::new();
    for (index, secret) in fields.texts("webhookSecrets")?.into_iter().enumerate() {
        if let Err(misfit) = credentials::check_webhook_secret(&secret) {
            let what = format!("secret {} {misfit}", index + 1);
            return Err(fields.refusal("webhookSecrets", &what));
        }
        webhook_secrets.push(SecretString::from(secret));
    }
    let stripe_account = fields.text("stripeAccount")?;
    if stripe_account
        .as_ref()
        .is_some_and(|account| account.strip_prefix("acct_").is_none_or(str::is_empty))
    {
        return Err(fields.refusal(
            "stripeAccount",
            "the id of a connected account begins with `acct_`",
        ));
    }
    let contact = contact(&mut fields)?;
    let unmatched = match fields.text("unmatched")? {
        None => UnmatchedPolicy::default(),
        Some(word) => word
            .parse()
            .map_err(|_| fields.refusal("unmatched", "expected `park` or `ignore`"))?,
    };
    let mut passes: Vec<Pass> = Vec::new();
    for (position, value) in fields.list("passes")?.into_iter().enumerate() {
        let pass = pass(&fields, position, value, warnings)?;
        if passes.iter().any(|other| other.id == pass.id) {
            return Err(format!(
                "{}, pass `{}`: its `id` is there twice",
                fields.place(),
                pass.id
            ));
        }
        warn_of_likeness(&fields, &passes, &pass, warnings);
        passes.push(pass);
    }
    fields.finish(warnings);
    Ok(Tenant {
        id,
        slug,
        name,
        time_zone,
        color,
        webhook_secrets,
        stripe_account,
        contact,
        unmatched,
        passes,
    })
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

fn pass(tenant: &Fields, position: usize, value: Value, warnings: &mut Vec<String>) -> Result<Pass, String> {
    let mut fields = Fields::new(format!("{}, pass {}", tenant.place(), position + 1), value)?;
    let id = fields.required_text("id")?;
    fields.name(format!("{}, pass `{id}`", tenant.place()));
    let name = fields.required_text("name")?;
    let kind = fields.required_text("type")?;
    if !PASS_TYPES.contains(&kind.as_str()) {
        warnings.push(format!(
            "{}: `type` `{kind}` is none of {}: its purchases will be dead letters",
            fields.place(),
            PASS_TYPES.join(", ")
        ));
    }
    let classes_limit = fields.integer("classesLimit", 1..=1_000_000)?;
    if classes_limit.is_none() && kind.starts_with("multi") {
        warnings.push(format!(
            "{}: a pass of type `{kind}` without `classesLimit`",
            fields.place()
        ));
    }
    let price = fields.integer("price", 0..=i64::MAX)?;
    let amount = price.ok_or_else(|| fields.refusal("price", "it is missing"))?;
    let code = fields.required_text("currency")?;
    let currency = code
        .parse::<Currency>()
        .ok()
        .filter(Currency::is_listed)
        .ok_or_else(|| fields.refusal("currency", &format!("`{code}` is not in ISO 4217")))?;
    let validity = validity(&mut fields, warnings)?;
    let stripe_price_ids = fields.texts("stripePriceIds")?;
    let is_active = fields.flag("isActive")?.unwrap_or(true);
    fields.finish(warnings);
    let price = Money { amount, currency };
    Ok(Pass {
        id,
        name,
        kind,
        classes_limit,
        price,
        validity,
        stripe_price_ids,
        is_active,
    })
}

fn validity(fields: &mut Fields, warnings: &mut Vec<String>) -> Result<Validity, String> {
    let kind = fields.text("validityType")?;
    if kind.as_ref().is_some_and(|kind| kind != "days" && kind != "date") {
        return Err(fields.refusal("validityType", "expected `days` or `date`"));
    }
    let days = fields.integer("validityDays", 1..=MAX_DAYS)?;
    let expiry = match fields.text("expiryDate")? {
        Some(text) => Some(
            text.parse()
                .map_err(|error| fields.refusal("expiryDate", &format!("{error}")))?,
        ),
        None => None,
    };
    let wanting = match kind.as_deref() {
        Some("days") => days.is_none(),
        Some("date") => expiry.is_none(),
        _ => days.is_none() && expiry.is_none(),
    };
    if wanting {
        warnings.push(format!("{}: nothing says when it ends", fields.place()));
    }
    Ok(Validity { kind, days, expiry })
}

/// The tenants as `catalog list --json` prints them: the file's keys, but for the webhook secrets their number,
/// `webhookSecretsCount`.
#[must_use]
pub fn to_json(tenants: &[Tenant]) -> Value {
    let tenants: Vec<_> = tenants.iter().map(tenant_to_json).collect();
    json!({ "tenants": tenants })
}

fn tenant_to_json(tenant: &Tenant) -> Value {
    let passes: Vec<_> = tenant.passes.iter().map(pass_to_json).collect();
    json!({
        "id": tenant.id,
        "slug": tenant.slug,
        "name": tenant.name,
        "timeZone": tenant.time_zone.name(),
        "color": tenant.color,
        "webhookSecretsCount": tenant.webhook_secrets.len(),
        "stripeAccount": tenant.stripe_account,
        "supportEmail": tenant.contact.support_email,
        "supportUrl": tenant.contact.support_url,
        "shopUrl": tenant.contact.shop_url,
        "unmatched": tenant.unmatched.as_str(),
        "passes": passes,
    })
}

fn pass_to_json(pass: &Pass) -> Value {
    json!({
        "id": pass.id,
        "name": pass.name,
        "type": pass.kind,
        "classesLimit": pass.classes_limit,
        "price": pass.price.amount,
        "currency": pass.price.currency,
        "validityType": pass.validity.kind,
        "validityDays": pass.validity.days,
        "expiryDate": pass.validity.expiry.map(|expiry| expiry.to_string()),
        "stripePriceIds": pass.stripe_price_ids,
        "isActive": pass.is_active,
    })
}

#[cfg(test)]
mod tests;
