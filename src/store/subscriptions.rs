//! Creates and reads subscriptions. [`purchases`] writes them in batches.

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::timeout;

use super::database::{Row, binds};
use super::model::{Buyer, Created, NewSubscription, Subscription, SubscriptionFilter};
use super::outage::Access;
use super::query::Query;
use super::{FulfilledPurchase, STATEMENT, Store, StoreError};
use crate::email;
use crate::money::{Currency, Money};

/// Subscriptions: [`Store::subscriptions`].
#[derive(Debug, Clone, Copy)]
pub struct Subscriptions<'a>(pub(super) &'a Store);

/// Selects a tenant without its index: a tenant may have a million subscriptions, a user only a few.
const OF_TENANT: &str = "tenant_id || '' =";

/// The smallest id of a live purchase. Ids of test purchases sort after all live ones.
const LIVE: &str = "subscription-cs_live_";

/// The largest difference between our clock, which sets the creation time, and Stripe's, which sets the
/// start.
const SKEW: TimeDelta = TimeDelta::days(1);

impl Subscriptions<'_> {
    /// Creates the subscription, unless one of its session or payment intent exists. In the same transaction
    /// finds or creates its user, and carries out an upgrade. The id must be `subscription-` and the
    /// session's id.
    ///
    /// # Errors
    /// [`StoreError`]. Nothing is written, or all of it if only the answer was lost. Idempotent.
    pub async fn create(self, mut new: Box<NewSubscription>) -> Result<Created, StoreError> {
        check(&new.subscription)?;
        normalise(&mut new.buyer);
        let created = match timeout(2 * STATEMENT, self.0.purchases.call(new)).await {
            Ok(Ok(created)) => created,
            Ok(Err(unanswered)) => Err(StoreError::Outage(unanswered.to_string())),
            Err(_) => Err(StoreError::Outage("the store is not keeping up".to_owned())),
        };
        self.0.db.note(Access::Write, created)
    }

    /// Subscriptions, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        self,
        filter: &SubscriptionFilter,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let folded = filter.email.as_deref().map(email::normalize);
        // Older versions stored this email in another spelling.
        let emails = folded.as_deref().map(email::spellings).unwrap_or_default();
        let is_narrow = filter.user.is_some() || filter.email.is_some() || filter.session.is_some();
        let mut query = Query::new("SELECT * FROM subscriptions");
        if let Some(slug) = &filter.tenant_slug {
            let tenant = if is_narrow { OF_TENANT } else { "tenant_id =" };
            query.and(
                &format!("{tenant} (SELECT id FROM tenants WHERE slug = ?)"),
                binds![slug],
            );
        }
        if let Some(user) = &filter.user {
            query.and("user_id = ?", binds![user]);
        }
        if let Some(session) = &filter.session {
            query.and("id = 'subscription-' || ?", binds![session]);
        }
        if let Some(folded) = &folded {
            let condition = "user_id IN (SELECT id FROM users WHERE email = ANY(?) \
                 UNION ALL SELECT user_id FROM proved_emails WHERE email = ?)";
            query.and(condition, binds![emails.as_slice(), folded]);
        }
        if let Some((created, id)) = &filter.after {
            query.and("(created_at, id) < (?, ?)", binds![*created, id]);
        }
        let (text, binds) = query.end(" ORDER BY created_at DESC, id DESC LIMIT ?", binds![limit]);
        self.0.db.list(&text, binds, subscription).await
    }

    /// The subscriptions of these users at a tenant, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn held_by(
        self,
        tenant: &str,
        users: &[&str],
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let text = format!(
            "SELECT * FROM subscriptions WHERE user_id = ANY($1) AND {OF_TENANT} $2 \
             ORDER BY created_at DESC, id DESC LIMIT $3"
        );
        self.0
            .db
            .list(&text, binds![users, tenant, limit], subscription)
            .await
    }

    /// The subscriptions of these sessions and payments, each once, in no particular order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn of(self, sessions: &[&str], payments: &[&str]) -> Result<Vec<Subscription>, StoreError> {
        self.rows_of("*", sessions, payments, subscription).await
    }

    /// Which of these sessions and payments have a subscription.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fulfilled(
        self,
        sessions: &[&str],
        payments: &[&str],
    ) -> Result<Vec<FulfilledPurchase>, StoreError> {
        let columns = "stripe_session_id, stripe_payment_id, created_via";
        let read = |row: &Row| {
            Ok(FulfilledPurchase {
                session: row.get("stripe_session_id")?,
                payment: row.get("stripe_payment_id")?,
                via: row.parsed("created_via")?,
            })
        };
        self.rows_of(columns, sessions, payments, read).await
    }

    async fn rows_of<T>(
        self,
        columns: &str,
        sessions: &[&str],
        payments: &[&str],
        read: fn(&Row) -> sqlx::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        // The id has an index, the session does not.
        let ids: Vec<_> = sessions
            .iter()
            .map(|session| Subscription::id_of(session))
            .collect();
        // Two queries rather than `OR`, so that each half uses its index.
        let text = format!(
            "SELECT {columns} FROM subscriptions WHERE id = ANY($1) \
             UNION SELECT {columns} FROM subscriptions WHERE stripe_payment_id = ANY($2)"
        );
        self.0
            .db
            .list(&text, binds![ids.as_slice(), payments], read)
            .await
    }

    /// The subscriptions that begin in this time range, newest first; at most `limit`, after `after`, which
    /// is the last one of the previous page. Reads the index by creation time, since no subscription is
    /// created before it begins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn begun(
        self,
        from: DateTime<Utc>,
        before: DateTime<Utc>,
        after: Option<&Subscription>,
        limit: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        let mut query = Query::new("SELECT * FROM subscriptions");
        query.and(
            "created_at >= ? AND start_date >= ? AND start_date < ?",
            binds![made_after(from), from, before],
        );
        if let Some(after) = after {
            query.and("(created_at, id) < (?, ?)", binds![after.created_at, &after.id]);
        }
        let (text, binds) = query.end(" ORDER BY created_at DESC, id DESC LIMIT ?", binds![limit]);
        self.0.db.list(&text, binds, subscription).await
    }

    /// Whether a live purchase has a subscription, by its id. Compares with the smallest live id instead of
    /// `LIKE`, since PostgreSQL's index uses the database's collation.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_live(self) -> Result<bool, StoreError> {
        let text = "SELECT id FROM subscriptions WHERE id >= $1 ORDER BY id LIMIT 1";
        let first = self.0.db.first(text, binds![LIVE], |row| row.get::<String>("id"));
        Ok(first.await?.is_some_and(|id| id.starts_with(LIVE)))
    }
}

/// Rejects what the database would reject together with the rest of the batch.
fn check(one: &Subscription) -> Result<(), StoreError> {
    if one.id != Subscription::id_of(&one.stripe_session_id) {
        return Err(StoreError::Permanent(format!(
            "the id `{}` is not made from the session `{}`",
            one.id, one.stripe_session_id
        )));
    }
    let amounts = [
        one.original_price,
        one.final_price,
        one.discount_amount,
        one.upgrade_cost,
    ];
    let mut amounts = amounts.into_iter().flatten().chain([one.purchase_price]);
    match amounts.find(|money| money.currency != one.currency) {
        Some(other) => Err(StoreError::Permanent(format!(
            "a purchase in {} cannot hold an amount in {}",
            one.currency, other.currency
        ))),
        None => Ok(()),
    }
}

/// The buyer with the normalized email.
fn normalise(buyer: &mut Buyer) {
    let email = buyer.email.as_deref().map(email::normalize);
    buyer.email = email.filter(|email| !email.is_empty());
}

/// The earliest creation time of subscriptions that begin at `from` or later.
fn made_after(from: DateTime<Utc>) -> DateTime<Utc> {
    from.checked_sub_signed(SKEW).unwrap_or(from)
}

fn subscription(row: &Row) -> sqlx::Result<Subscription> {
    let currency: Currency = row.parsed("currency")?;
    let money = |column| {
        let amount = row.get::<Option<i64>>(column)?;
        Ok::<_, sqlx::Error>(amount.map(|amount| Money { amount, currency }))
    };
    Ok(Subscription {
        id: row.get("id")?,
        user: row.get("user_id")?,
        tenant: row.get("tenant_id")?,
        kind: row.parsed("type")?,
        start_date: row.instant("start_date")?,
        end_date: row.instant("end_date")?,
        remaining_clips: row.get("remaining_clips")?,
        pass_id: row.get("pass_id")?,
        pass_name: row.get("pass_name")?,
        purchase_price: Money {
            amount: row.get("purchase_price")?,
            currency,
        },
        original_price: money("original_price")?,
        final_price: money("final_price")?,
        discount_amount: money("discount_amount")?,
        promo_code: row.get("promo_code")?,
        currency,
        stripe_payment_id: row.get("stripe_payment_id")?,
        stripe_session_id: row.get("stripe_session_id")?,
        stripe_customer_id: row.get("stripe_customer_id")?,
        webhook_event_id: row.get("webhook_event_id")?,
        is_active: row.get("is_active")?,
        is_upgrade: row.get("is_upgrade")?,
        upgraded_from_subscription_id: row.get("upgraded_from_subscription_id")?,
        upgrade_cost: money("upgrade_cost")?,
        created_via: row.parsed("created_via")?,
        created_at: row.instant("created_at")?,
        updated_at: row.instant("updated_at")?,
    })
}
