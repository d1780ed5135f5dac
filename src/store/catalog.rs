//! The catalog file: tenants and their passes, in JSON or TOML.

mod entries;
mod fields;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::{Value, json};

use self::entries::Findings;
use self::fields::Fields;
use super::model::{Pass, Tenant, WebhookSecrets};

/// The size of a catalog file, at most, in bytes.
pub const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// What a catalog file holds.
#[derive(Debug)]
pub struct Catalog {
    pub tenants: Vec<Tenant>,
    /// Those of the tenants whose `webhookSecrets` the file names.
    pub secrets: WebhookSecrets,
    /// What is allowed and yet likely a mistake, a sentence each.
    pub warnings: Vec<String>,
    /// The tenants whose `webhookSecrets` the file does not name, and how many it says that they have.
    without_secrets: Vec<(String, i64)>,
}

/// Why a catalog file is refused.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{0} is larger than 256 MiB")]
    TooLarge(String),
    /// Says where; quotes nothing of the file, which holds secrets.
    #[error("not {format}: line {line}, column {column}")]
    Malformed {
        format: &'static str,
        line: usize,
        column: usize,
    },
    /// All that is wrong, each with its tenant, pass and field.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
}

impl Catalog {
    /// Reads a file, JSON or TOML; `-` is standard input.
    ///
    /// # Errors
    /// [`CatalogError`].
    pub fn read(path: &Path) -> Result<Self, CatalogError> {
        let unreadable = |source| CatalogError::Unreadable {
            path: path.display().to_string(),
            source,
        };
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
        } else {
            File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        };
        if read.map_err(unreadable)? as u64 > MAX_BYTES {
            return Err(CatalogError::TooLarge(path.display().to_string()));
        }
        let text = String::from_utf8(bytes);
        let text =
            text.map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error.utf8_error())))?;
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
        let mut found = Findings::default();
        let root = Fields::new("the catalog".to_owned(), document);
        let mut root = root.map_err(|error| CatalogError::Refused(vec![error]))?;
        let tenants = entries::tenants(&mut root, &mut found);
        root.finish(&mut found.warnings);
        if !found.errors.is_empty() {
            return Err(CatalogError::Refused(found.errors));
        }
        Ok(Self {
            tenants,
            secrets: found.secrets,
            warnings: found.warnings,
            without_secrets: found.without_secrets,
        })
    }

    /// Tenants whose `webhookSecrets` the file does not name, as those that `catalog list --json` prints, keep what the store
    /// holds. Warns of those that it holds none of: such a tenant takes the platform's.
    pub fn warn_of_lost_secrets(&mut self, held: &WebhookSecrets) {
        for (id, count) in &self.without_secrets {
            if *count > 0 && held.get(id).is_none_or(Vec::is_empty) {
                self.warnings.push(format!(
                    "tenant `{id}`: it had {count} webhook secrets of its own, which are not in the file: add them as \
                     `webhookSecrets`, or its own endpoint takes the platform's"
                ));
            }
        }
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

/// The tenants as `catalog list --json` prints them: the file's keys, but for the webhook secrets their number,
/// `webhookSecretsCount`.
#[must_use]
pub fn to_json(tenants: &[Tenant], secrets: &WebhookSecrets) -> Value {
    let count = |tenant: &Tenant| secrets.get(&tenant.id).map_or(0, Vec::len);
    let tenants: Vec<_> = tenants
        .iter()
        .map(|tenant| tenant_to_json(tenant, count(tenant)))
        .collect();
    json!({ "tenants": tenants })
}

fn tenant_to_json(tenant: &Tenant, secrets: usize) -> Value {
    let passes: Vec<_> = tenant.passes.iter().map(pass_to_json).collect();
    json!({
        "id": tenant.id,
        "slug": tenant.slug,
        "name": tenant.name,
        "timeZone": tenant.time_zone.name(),
        "color": tenant.color,
        "webhookSecretsCount": secrets,
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
