//! The catalog in the store: tenants and their passes.

use std::collections::{HashMap, HashSet};

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Duration;

use super::database::{Call, Database, Row, binds};
use super::model::{Contact, KnownTenant, Pass, PassKeys, Tenant, Validity, WebhookSecrets};
use super::outage::Access;
use super::{Imported, StoreError};
use crate::money::Money;

/// A catalog may contain a hundred thousand passes.
const IMPORT: Duration = Duration::from_mins(2);

/// All columns except the webhook secrets, which few callers may read.
macro_rules! columns {
    () => {
        "id, slug, name, time_zone, color, stripe_account, support_email, support_url, shop_url, unmatched"
    };
}

const PUT_TENANT: &str = concat!(
    "INSERT INTO tenants (",
    columns!(),
    ", webhook_secrets) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '[]') ON CONFLICT (id) DO UPDATE SET \
     slug = excluded.slug, name = excluded.name, time_zone = excluded.time_zone, color = excluded.color, \
     stripe_account = excluded.stripe_account, support_email = excluded.support_email, \
     support_url = excluded.support_url, shop_url = excluded.shop_url, unmatched = excluded.unmatched"
);

const PUT_SECRETS: &str = "UPDATE tenants SET webhook_secrets = $2 WHERE id = $1";

const PUT_PASS: &str = "INSERT INTO passes (tenant_id, id, name, type, classes_limit, price, currency, \
    validity_type, validity_days, expiry_date, stripe_price_ids, is_active) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (tenant_id, id) DO UPDATE SET \
    name = excluded.name, type = excluded.type, classes_limit = excluded.classes_limit, price = excluded.price, \
    currency = excluded.currency, validity_type = excluded.validity_type, \
    validity_days = excluded.validity_days, expiry_date = excluded.expiry_date, \
    stripe_price_ids = excluded.stripe_price_ids, is_active = excluded.is_active";

const SECRETS: &str = "SELECT id, webhook_secrets FROM tenants";

/// Tenants and their passes: [`Store::catalog`](super::Store::catalog).
#[derive(Debug, Clone, Copy)]
pub struct Tenants<'a>(pub(super) &'a Database);

impl Tenants<'_> {
    /// A version that changes with every tenant or pass. `None`: unknown, so they may have changed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn version(self) -> Result<Option<String>, StoreError> {
        self.0
            .first("SELECT version FROM catalogue_version", binds![], |row| {
                row.get("version")
            })
            .await
    }

    /// All tenants with their passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all(self) -> Result<Vec<Tenant>, StoreError> {
        all(&mut self.0.read().await?).await
    }

    /// All tenants without their passes, by slug.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn known(self) -> Result<Vec<KnownTenant>, StoreError> {
        let text = "SELECT id, slug, stripe_account FROM tenants ORDER BY slug";
        let known = |row: &Row| {
            Ok(KnownTenant {
                id: row.get("id")?,
                slug: row.get("slug")?,
                stripe_account: row.get("stripe_account")?,
            })
        };
        self.0.list(text, binds![], known).await
    }

    /// The tenant with this id, with its passes by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn one(self, id: &str) -> Result<Option<Tenant>, StoreError> {
        let mut call = self.0.read().await?;
        let text = concat!("SELECT ", columns!(), " FROM tenants WHERE id = $1");
        let Some(mut found) = call.list(text, binds![id], tenant).await?.pop() else {
            return Ok(None);
        };
        let text = "SELECT * FROM passes WHERE tenant_id = $1 ORDER BY id";
        found.passes = call.list(text, binds![id], pass).await?;
        Ok(Some(found))
    }

    /// The data that identifies passes, by tenant and id; at most `limit`, after `after`, which is the last
    /// one of the previous page.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn pass_keys(self, after: Option<&PassKeys>, limit: u32) -> Result<Vec<PassKeys>, StoreError> {
        let text = "SELECT tenant_id, id, name, stripe_price_ids FROM passes WHERE (tenant_id, id) > ($1, $2) \
             ORDER BY tenant_id, id LIMIT $3";
        let (tenant, id) = after.map_or(("", ""), |after| (&after.tenant, &after.id));
        let keys = |row: &Row| {
            Ok(PassKeys {
                tenant: row.get("tenant_id")?,
                id: row.get("id")?,
                name: row.get("name")?,
                stripe_price_ids: list_of(row, "stripe_price_ids")?,
            })
        };
        self.0.list(text, binds![tenant, id, limit], keys).await
    }

    /// The webhook secrets of these tenants; `None`: of all. No other method reads them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhook_secrets(self, ids: Option<&[&str]>) -> Result<WebhookSecrets, StoreError> {
        let found = match ids {
            Some(ids) => {
                let text = format!("{SECRETS} WHERE id = ANY($1)");
                self.0.list(&text, binds![ids], secrets).await?
            }
            None => self.0.list(SECRETS, binds![], secrets).await?,
        };
        Ok(found.into_iter().collect())
    }

    /// Inserts or updates these tenants and passes, and the secrets of the tenants in `secrets`. Keeps all
    /// others. All or nothing.
    ///
    /// # Errors
    /// [`StoreError`]; `Conflict` if a slug or an account belongs to another tenant.
    pub async fn import(self, tenants: &[Tenant], secrets: &WebhookSecrets) -> Result<Imported, StoreError> {
        let mut call = self.0.call(Access::Write, IMPORT).await?;
        call.begin().await?;
        call.lock(call.dialect().lock_catalog, binds![]).await?;
        let held = all(&mut call).await?;
        refuse_conflicts(&held, tenants)?;
        let held_secrets = call.list(SECRETS, binds![], self::secrets).await?;
        let held_secrets: WebhookSecrets = held_secrets.into_iter().collect();
        let held: HashMap<&str, &Tenant> = held.iter().map(|old| (old.id.as_str(), old)).collect();
        let mut imported = Imported::default();
        for tenant in tenants {
            let old = held.get(tenant.id.as_str()).copied();
            let new_secrets = secrets.get(&tenant.id).map(|secrets| exposed(secrets));
            let new_secrets = new_secrets.filter(|new| *new != exposed(of(&held_secrets, &tenant.id)));
            if new_secrets.is_none() && old.is_some_and(|old| is_same(old, tenant)) {
                imported.unchanged += 1;
            } else {
                put_tenant(&mut call, tenant).await?;
                if let Some(secrets) = new_secrets {
                    let secrets = serde_json::Value::from(secrets).to_string();
                    call.execute(PUT_SECRETS, binds![&tenant.id, &secrets]).await?;
                }
                *if old.is_some() {
                    &mut imported.tenants_updated
                } else {
                    &mut imported.tenants_created
                } += 1;
            }
            for pass in &tenant.passes {
                let old = old.and_then(|old| old.passes.iter().find(|old| old.id == pass.id));
                if old == Some(pass) {
                    imported.unchanged += 1;
                } else {
                    put_pass(&mut call, &tenant.id, pass).await?;
                    *if old.is_some() {
                        &mut imported.passes_updated
                    } else {
                        &mut imported.passes_created
                    } += 1;
                }
            }
        }
        call.commit().await?;
        Ok(imported)
    }
}

/// All tenants by slug, each with its passes by id.
async fn all(call: &mut Call<'_>) -> Result<Vec<Tenant>, StoreError> {
    let text = concat!("SELECT ", columns!(), " FROM tenants ORDER BY slug");
    let mut tenants = call.list(text, binds![], tenant).await?;
    let mut of_tenant: HashMap<String, Vec<Pass>> = HashMap::new();
    let mut after = (String::new(), String::new());
    loop {
        // In pages, since the rows of a large catalog take much more memory than its passes.
        let text = "SELECT * FROM passes WHERE (tenant_id, id) > ($1, $2) ORDER BY tenant_id, id LIMIT 1000";
        let read = |row: &Row| Ok((row.get::<String>("tenant_id")?, pass(row)?));
        let page = call.list(text, binds![&after.0, &after.1], read).await?;
        let is_last = page.len() < 1_000;
        for (tenant, pass) in page {
            after = (tenant.clone(), pass.id.clone());
            of_tenant.entry(tenant).or_default().push(pass);
        }
        if is_last {
            break;
        }
    }
    for tenant in &mut tenants {
        tenant.passes = of_tenant.remove(&tenant.id).unwrap_or_default();
    }
    Ok(tenants)
}

/// Without its passes.
fn tenant(row: &Row) -> sqlx::Result<Tenant> {
    Ok(Tenant {
        id: row.get("id")?,
        slug: row.get("slug")?,
        name: row.get("name")?,
        time_zone: row.parsed("time_zone")?,
        color: row.get("color")?,
        stripe_account: row.get("stripe_account")?,
        contact: Contact {
            support_email: row.get("support_email")?,
            support_url: row.get("support_url")?,
            shop_url: row.get("shop_url")?,
        },
        unmatched: row.parsed("unmatched")?,
        passes: Vec::new(),
    })
}

fn pass(row: &Row) -> sqlx::Result<Pass> {
    Ok(Pass {
        id: row.get("id")?,
        name: row.get("name")?,
        kind: row.get("type")?,
        classes_limit: row.get("classes_limit")?,
        price: Money {
            amount: row.get("price")?,
            currency: row.parsed("currency")?,
        },
        validity: Validity {
            kind: row.get("validity_type")?,
            days: row.get("validity_days")?,
            expiry: row.maybe_parsed("expiry_date")?,
        },
        stripe_price_ids: list_of(row, "stripe_price_ids")?,
        is_active: row.get("is_active")?,
    })
}

fn secrets(row: &Row) -> sqlx::Result<(String, Vec<SecretString>)> {
    let secrets = list_of(row, "webhook_secrets")?;
    Ok((
        row.get("id")?,
        secrets.into_iter().map(SecretString::from).collect(),
    ))
}

fn list_of(row: &Row, column: &str) -> sqlx::Result<Vec<String>> {
    // Without the error's text, which could contain a secret.
    serde_json::from_str(row.get(column)?)
        .map_err(|_| sqlx::Error::Decode(format!("`{column}` is not a list of texts").into()))
}

async fn put_tenant(call: &mut Call<'_>, tenant: &Tenant) -> Result<(), StoreError> {
    let binds = binds![
        &tenant.id,
        &tenant.slug,
        &tenant.name,
        tenant.time_zone.name(),
        &tenant.color,
        &tenant.stripe_account,
        &tenant.contact.support_email,
        &tenant.contact.support_url,
        &tenant.contact.shop_url,
        tenant.unmatched.as_str(),
    ];
    call.execute(PUT_TENANT, binds).await.map(drop)
}

async fn put_pass(call: &mut Call<'_>, tenant: &str, pass: &Pass) -> Result<(), StoreError> {
    let expiry = pass.validity.expiry.map(|expiry| expiry.to_string());
    let prices = serde_json::Value::from(pass.stripe_price_ids.as_slice()).to_string();
    let binds = binds![
        tenant,
        &pass.id,
        &pass.name,
        &pass.kind,
        pass.classes_limit,
        pass.price.amount,
        pass.price.currency.code(),
        &pass.validity.kind,
        pass.validity.days,
        &expiry,
        &prices,
        pass.is_active,
    ];
    call.execute(PUT_PASS, binds).await.map(drop)
}

/// Without its passes.
fn is_same(old: &Tenant, new: &Tenant) -> bool {
    old.slug == new.slug
        && old.name == new.name
        && old.time_zone == new.time_zone
        && old.color == new.color
        && old.stripe_account == new.stripe_account
        && old.contact == new.contact
        && old.unmatched == new.unmatched
}

fn of<'a>(secrets: &'a WebhookSecrets, tenant: &str) -> &'a [SecretString] {
    secrets.get(tenant).map_or(&[], Vec::as_slice)
}

fn exposed(secrets: &[SecretString]) -> Vec<&str> {
    secrets.iter().map(ExposeSecret::expose_secret).collect()
}

/// Slugs and accounts that belong to other tenants in the store.
fn refuse_conflicts(held: &[Tenant], tenants: &[Tenant]) -> Result<(), StoreError> {
    let new: HashSet<&str> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    let kept = || held.iter().filter(|old| !new.contains(old.id.as_str()));
    let slugs: HashMap<&str, &Tenant> = kept().map(|old| (old.slug.as_str(), old)).collect();
    let accounts: HashMap<&str, &Tenant> = kept()
        .filter_map(|old| Some((old.stripe_account.as_deref()?, old)))
        .collect();
    for tenant in tenants {
        if let Some(old) = slugs.get(tenant.slug.as_str()) {
            return Err(StoreError::Conflict(format!(
                "tenant `{}`: the slug `{}` belongs to tenant `{}`",
                tenant.id, tenant.slug, old.id
            )));
        }
        if let Some(account) = tenant.stripe_account.as_deref()
            && let Some(old) = accounts.get(account)
        {
            return Err(StoreError::Conflict(format!(
                "tenant `{}`: the Stripe account `{account}` belongs to tenant `{}`",
                tenant.id, old.id
            )));
        }
    }
    Ok(())
}
