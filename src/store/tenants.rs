//! Imports and lists tenants and their passes.

use std::collections::{HashMap, HashSet};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};

use super::dialect::{Bind, Dialect, Fields};
use super::model::{Contact, KnownTenant, Pass, PassKeys, Tenant, Validity, WebhookSecrets};
use super::purchases::parsed;
use super::{Imported, StoreError};
use crate::money::Money;

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

/// A version that changes with every tenant or pass.
pub(super) async fn version<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<Option<String>> {
    let text = SqlStr::from_static("SELECT version FROM catalogue_version");
    let rows = D::rows(connection, text, vec![]).await?;
    rows.first().map(|row| row.text("version")).transpose()
}

/// All tenants by slug, each with its passes by id.
pub(super) async fn list<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<Vec<Tenant>> {
    // In pages, since the rows of a large catalogue take much more memory than its passes.
    let passes = SqlStr::from_static(
        "SELECT * FROM passes WHERE (tenant_id, id) > ($1, $2) ORDER BY tenant_id, id LIMIT 1000",
    );
    let mut of_tenant: HashMap<String, Vec<Pass>> = HashMap::new();
    let mut after = (String::new(), String::new());
    loop {
        let binds = vec![Bind::Text(&after.0), Bind::Text(&after.1)];
        let page = D::rows(connection, passes.clone(), binds).await?;
        for row in &page {
            of_tenant
                .entry(row.text("tenant_id")?)
                .or_default()
                .push(pass(row)?);
        }
        match page.last() {
            Some(last) if page.len() == 1_000 => after = (last.text("tenant_id")?, last.text("id")?),
            _ => break,
        }
    }
    let tenants = SqlStr::from_static(concat!("SELECT ", columns!(), " FROM tenants ORDER BY slug"));
    D::rows(connection, tenants, vec![])
        .await?
        .iter()
        .map(|row| {
            let id = row.text("id")?;
            let passes = of_tenant.remove(&id).unwrap_or_default();
            tenant(row, id, passes)
        })
        .collect()
}

/// All tenants by slug, without passes.
pub(super) async fn known<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<Vec<KnownTenant>> {
    let text = SqlStr::from_static("SELECT id, slug, stripe_account FROM tenants ORDER BY slug");
    let rows = D::rows(connection, text, vec![]).await?;
    rows.iter()
        .map(|row| {
            Ok(KnownTenant {
                id: row.text("id")?,
                slug: row.text("slug")?,
                stripe_account: row.maybe_text("stripe_account")?,
            })
        })
        .collect()
}

/// A tenant, with its passes by id.
pub(super) async fn find<D: Dialect>(
    connection: &mut D::Connection,
    id: &str,
) -> sqlx::Result<Option<Tenant>> {
    let text = SqlStr::from_static(concat!("SELECT ", columns!(), " FROM tenants WHERE id = $1"));
    let rows = D::rows(connection, text, vec![Bind::Text(id)]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let text = SqlStr::from_static("SELECT * FROM passes WHERE tenant_id = $1 ORDER BY id");
    let passes = D::rows(connection, text, vec![Bind::Text(id)]).await?;
    let passes = passes.iter().map(pass).collect::<sqlx::Result<_>>()?;
    tenant(row, row.text("id")?, passes).map(Some)
}

/// A page of the data that identifies passes.
pub(super) async fn pass_keys<D: Dialect>(
    connection: &mut D::Connection,
    after: Option<&PassKeys>,
    limit: u32,
) -> sqlx::Result<Vec<PassKeys>> {
    let text = SqlStr::from_static(
        "SELECT tenant_id, id, name, stripe_price_ids FROM passes WHERE (tenant_id, id) > ($1, $2) \
         ORDER BY tenant_id, id LIMIT $3",
    );
    let (tenant, id) = after.map_or(("", ""), |after| (&after.tenant, &after.id));
    let binds = vec![Bind::Text(tenant), Bind::Text(id), Bind::Int(limit.into())];
    let rows = D::rows(connection, text, binds).await?;
    rows.iter()
        .map(|row| {
            Ok(PassKeys {
                tenant: row.text("tenant_id")?,
                id: row.text("id")?,
                name: row.text("name")?,
                stripe_price_ids: list_of(row, "stripe_price_ids")?,
            })
        })
        .collect()
}

/// The webhook secrets of these tenants, or of all.
pub(super) async fn secrets<D: Dialect>(
    connection: &mut D::Connection,
    ids: Option<&[&str]>,
) -> sqlx::Result<WebhookSecrets> {
    const ALL: &str = "SELECT id, webhook_secrets FROM tenants";
    let (text, binds) = match ids {
        Some(ids) => {
            let text = format!("{ALL} WHERE id {}", D::one_of(1));
            (
                AssertSqlSafe(text).into_sql_str(),
                vec![Bind::Texts(ids.to_vec())],
            )
        }
        None => (SqlStr::from_static(ALL), vec![]),
    };
    let rows = D::rows(connection, text, binds).await?;
    rows.iter()
        .map(|row| {
            let secrets = list_of(row, "webhook_secrets")?;
            let secrets = secrets.into_iter().map(SecretString::from).collect();
            Ok((row.text("id")?, secrets))
        })
        .collect()
}

fn tenant(row: &impl Fields, id: String, passes: Vec<Pass>) -> sqlx::Result<Tenant> {
    Ok(Tenant {
        id,
        slug: row.text("slug")?,
        name: row.text("name")?,
        time_zone: parsed(row, "time_zone")?,
        color: row.maybe_text("color")?,
        stripe_account: row.maybe_text("stripe_account")?,
        contact: Contact {
            support_email: row.maybe_text("support_email")?,
            support_url: row.maybe_text("support_url")?,
            shop_url: row.maybe_text("shop_url")?,
        },
        unmatched: parsed(row, "unmatched")?,
        passes,
    })
}

fn pass(row: &impl Fields) -> sqlx::Result<Pass> {
    Ok(Pass {
        id: row.text("id")?,
        name: row.text("name")?,
        kind: row.text("type")?,
        classes_limit: row.maybe_int("classes_limit")?,
        price: Money {
            amount: row.int("price")?,
            currency: parsed(row, "currency")?,
        },
        validity: Validity {
            kind: row.maybe_text("validity_type")?,
            days: row.maybe_int("validity_days")?,
            expiry: match row.maybe_text("expiry_date")? {
                Some(_) => Some(parsed(row, "expiry_date")?),
                None => None,
            },
        },
        stripe_price_ids: list_of(row, "stripe_price_ids")?,
        is_active: row.flag("is_active")?,
    })
}

fn list_of(row: &impl Fields, column: &str) -> sqlx::Result<Vec<String>> {
    // Without the error's text, which could contain a secret.
    serde_json::from_str(&row.text(column)?)
        .map_err(|_| sqlx::Error::Decode(format!("`{column}` is not a list of texts").into()))
}

/// Inserts or updates what differs, in one transaction.
pub(super) async fn import<D: Dialect>(
    connection: &mut D::Connection,
    tenants: &[Tenant],
    secrets: &WebhookSecrets,
) -> Result<Imported, StoreError> {
    let mut transaction = connection.begin_with(D::begin(connection)).await?;
    if let Some(lock) = D::LOCK_CATALOGUE {
        D::execute(&mut transaction, SqlStr::from_static(lock), vec![]).await?;
    }
    let held = list::<D>(&mut transaction).await?;
    refuse_conflicts(&held, tenants)?;
    let held_secrets = self::secrets::<D>(&mut transaction, None).await?;
    let held: HashMap<&str, &Tenant> = held.iter().map(|old| (old.id.as_str(), old)).collect();
    let mut imported = Imported::default();
    for tenant in tenants {
        let old = held.get(tenant.id.as_str()).copied();
        let new_secrets = secrets.get(&tenant.id).map(|secrets| exposed(secrets));
        let new_secrets = new_secrets.filter(|new| *new != exposed(of(&held_secrets, &tenant.id)));
        if new_secrets.is_none() && old.is_some_and(|old| is_same(old, tenant)) {
            imported.unchanged += 1;
        } else {
            put_tenant::<D>(&mut transaction, tenant).await?;
            if let Some(secrets) = new_secrets {
                put_secrets::<D>(&mut transaction, &tenant.id, &secrets).await?;
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
                put_pass::<D>(&mut transaction, &tenant.id, pass).await?;
                *if old.is_some() {
                    &mut imported.passes_updated
                } else {
                    &mut imported.passes_created
                } += 1;
            }
        }
    }
    transaction.commit().await?;
    Ok(imported)
}

async fn put_tenant<D: Dialect>(connection: &mut D::Connection, tenant: &Tenant) -> sqlx::Result<u64> {
    let binds = vec![
        Bind::Text(&tenant.id),
        Bind::Text(&tenant.slug),
        Bind::Text(&tenant.name),
        Bind::Text(tenant.time_zone.name()),
        Bind::MaybeText(tenant.color.as_deref()),
        Bind::MaybeText(tenant.stripe_account.as_deref()),
        Bind::MaybeText(tenant.contact.support_email.as_deref()),
        Bind::MaybeText(tenant.contact.support_url.as_deref()),
        Bind::MaybeText(tenant.contact.shop_url.as_deref()),
        Bind::Text(tenant.unmatched.as_str()),
    ];
    D::execute(connection, SqlStr::from_static(PUT_TENANT), binds).await
}

async fn put_secrets<D: Dialect>(
    connection: &mut D::Connection,
    tenant: &str,
    secrets: &[&str],
) -> sqlx::Result<u64> {
    let secrets = serde_json::Value::from(secrets).to_string();
    let binds = vec![Bind::Text(tenant), Bind::Text(&secrets)];
    D::execute(connection, SqlStr::from_static(PUT_SECRETS), binds).await
}

async fn put_pass<D: Dialect>(
    connection: &mut D::Connection,
    tenant: &str,
    pass: &Pass,
) -> sqlx::Result<u64> {
    let expiry = pass.validity.expiry.map(|expiry| expiry.to_string());
    let prices = serde_json::Value::from(pass.stripe_price_ids.as_slice()).to_string();
    let binds = vec![
        Bind::Text(tenant),
        Bind::Text(&pass.id),
        Bind::Text(&pass.name),
        Bind::Text(&pass.kind),
        Bind::MaybeInt(pass.classes_limit),
        Bind::Int(pass.price.amount),
        Bind::Text(pass.price.currency.code()),
        Bind::MaybeText(pass.validity.kind.as_deref()),
        Bind::MaybeInt(pass.validity.days),
        Bind::MaybeText(expiry.as_deref()),
        Bind::Text(&prices),
        Bind::Flag(pass.is_active),
    ];
    D::execute(connection, SqlStr::from_static(PUT_PASS), binds).await
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
