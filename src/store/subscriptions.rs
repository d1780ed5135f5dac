//! Reads subscriptions.

use sqlx::SqlStr;

use super::dialect::{Bind, Dialect, Fields};
use super::model::{Subscription, SubscriptionFilter};
use super::purchases::{parsed, sql};
use crate::email;
use crate::money::{Currency, Money};

/// Selects a tenant without its index: a tenant may have a million subscriptions, a user only a few.
const OF_TENANT: &str = "tenant_id || '' =";

/// Newest first.
pub(super) async fn list<D: Dialect>(
    connection: &mut D::Connection,
    filter: &SubscriptionFilter,
    limit: u32,
) -> sqlx::Result<Vec<Subscription>> {
    let folded = filter.email.as_deref().map(email::normalize);
    // Older versions stored this email in another spelling.
    let emails = folded.as_deref().map(email::spellings).unwrap_or_default();
    let is_narrow = filter.user.is_some() || filter.email.is_some() || filter.session.is_some();
    let of_tenant = if is_narrow { OF_TENANT } else { "tenant_id =" };
    let of_tenant = format!("{of_tenant} (SELECT id FROM tenants WHERE slug = ?)");
    let conditions = [
        (of_tenant.as_str(), filter.tenant_slug.as_deref()),
        ("user_id = ?", filter.user.as_deref()),
        ("id = 'subscription-' || ?", filter.session.as_deref()),
    ];
    let mut text = "SELECT * FROM subscriptions".to_owned();
    let mut binds = Vec::new();
    for (condition, value) in conditions {
        if let Some(value) = value {
            text.push_str(if binds.is_empty() { " WHERE " } else { " AND " });
            binds.push(Bind::Text(value));
            text.push_str(&condition.replace('?', &D::placeholder(binds.len())));
        }
    }
    if let Some(folded) = &folded {
        text.push_str(if binds.is_empty() { " WHERE " } else { " AND " });
        let first = binds.len() + 1;
        binds.extend(emails.iter().map(|email| Bind::Text(email)));
        let places: Vec<_> = (first..=binds.len()).map(D::placeholder).collect();
        binds.push(Bind::Text(folded));
        let condition = format!(
            "user_id IN (SELECT id FROM users WHERE email IN ({}) \
             UNION ALL SELECT user_id FROM proved_emails WHERE email = {})",
            places.join(", "),
            D::placeholder(binds.len())
        );
        text.push_str(&condition);
    }
    if let Some((created, id)) = &filter.after {
        text.push_str(if binds.is_empty() { " WHERE " } else { " AND " });
        binds.extend([Bind::Instant(*created), Bind::Text(id)]);
        let last = format!(
            "(created_at, id) < ({}, {})",
            D::placeholder(binds.len() - 1),
            D::placeholder(binds.len())
        );
        text.push_str(&last);
    }
    binds.push(Bind::Int(limit.into()));
    text.push_str(" ORDER BY created_at DESC, id DESC LIMIT ");
    text.push_str(&D::placeholder(binds.len()));
    D::rows(connection, sql(text), binds)
        .await?
        .iter()
        .map(subscription)
        .collect()
}

/// The smallest id of a live purchase. Ids of test purchases sort after all live ones.
const LIVE: &str = "subscription-cs_live_";

/// Whether a live purchase exists. Compares with the smallest live id instead of `LIKE`, since PostgreSQL's
/// index uses the database's collation.
pub(super) async fn has_live<D: Dialect>(connection: &mut D::Connection) -> sqlx::Result<bool> {
    let first = SqlStr::from_static("SELECT id FROM subscriptions WHERE id >= $1 ORDER BY id LIMIT 1");
    match D::rows(connection, first, vec![Bind::Text(LIVE)]).await?.first() {
        Some(row) => Ok(row.text("id")?.starts_with(LIVE)),
        None => Ok(false),
    }
}

/// The subscriptions of these users at a tenant, newest first. Uses the index of users.
pub(super) async fn list_of<D: Dialect>(
    connection: &mut D::Connection,
    tenant: &str,
    users: &[&str],
    limit: u32,
) -> sqlx::Result<Vec<Subscription>> {
    let text = format!(
        "SELECT * FROM subscriptions WHERE user_id {} AND {OF_TENANT} $2 ORDER BY created_at DESC, id DESC LIMIT $3",
        D::one_of(1)
    );
    let binds = vec![
        Bind::Texts(users.to_vec()),
        Bind::Text(tenant),
        Bind::Int(limit.into()),
    ];
    D::rows(connection, sql(text), binds)
        .await?
        .iter()
        .map(subscription)
        .collect()
}

pub(super) fn subscription(row: &impl Fields) -> sqlx::Result<Subscription> {
    let currency: Currency = parsed(row, "currency")?;
    let money =
        |column| Ok::<_, sqlx::Error>(row.maybe_int(column)?.map(|amount| Money { amount, currency }));
    Ok(Subscription {
        id: row.text("id")?,
        user: row.text("user_id")?,
        tenant: row.text("tenant_id")?,
        kind: parsed(row, "type")?,
        start_date: row.instant("start_date")?,
        end_date: row.instant("end_date")?,
        remaining_clips: row.maybe_int("remaining_clips")?,
        pass_id: row.text("pass_id")?,
        pass_name: row.text("pass_name")?,
        purchase_price: Money {
            amount: row.int("purchase_price")?,
            currency,
        },
        original_price: money("original_price")?,
        final_price: money("final_price")?,
        discount_amount: money("discount_amount")?,
        promo_code: row.maybe_text("promo_code")?,
        currency,
        stripe_payment_id: row.maybe_text("stripe_payment_id")?,
        stripe_session_id: row.text("stripe_session_id")?,
        stripe_customer_id: row.maybe_text("stripe_customer_id")?,
        webhook_event_id: row.maybe_text("webhook_event_id")?,
        is_active: row.flag("is_active")?,
        is_upgrade: row.flag("is_upgrade")?,
        upgraded_from_subscription_id: row.maybe_text("upgraded_from_subscription_id")?,
        upgrade_cost: money("upgrade_cost")?,
        created_via: parsed(row, "created_via")?,
        created_at: row.instant("created_at")?,
        updated_at: row.instant("updated_at")?,
    })
}
