//! Creates subscriptions in batches. [`super::subscriptions`] reads them.

use sqlx::{AssertSqlSafe, Connection, SqlSafeStr, SqlStr};

use super::batch_insert::BatchInsert;
use super::dialect::{Bind, Dialect, Fields, Insert};
use super::model::{Created, NewSubscription, Subscription};
use super::ownership;
use super::write_plan::{ExistingRows, ExistingSubscription, Upgradable, User, WritePlan, plan};
use crate::money::Money;

/// The statements that create subscriptions.
#[derive(Debug)]
pub(super) struct Statements {
    by_id_or_payment: SqlStr,
    upgradable: SqlStr,
    users: Insert,
    subscriptions: Insert,
    closed_cases: Insert,
    at_once: BatchInsert<3>,
}

const fn insert_users() -> Insert {
    Insert::new(
        "INSERT INTO users (id, email, name, created_at) VALUES ",
        " ON CONFLICT (id) DO UPDATE SET email = excluded.email \
         WHERE users.email IS NULL AND excluded.email IS NOT NULL",
    )
}

const fn insert_subscriptions() -> Insert {
    Insert::new(
        "INSERT INTO subscriptions (id, user_id, tenant_id, type, start_date, end_date, remaining_clips, pass_id, \
         pass_name, purchase_price, original_price, final_price, discount_amount, promo_code, currency, \
         stripe_payment_id, stripe_session_id, stripe_customer_id, webhook_event_id, is_active, is_upgrade, \
         upgraded_from_subscription_id, upgrade_cost, created_via, created_at, updated_at) VALUES ",
        "",
    )
}

/// Closes the cases of these sessions, which now have a subscription. Not if several places were paid and
/// this is a pass for the first.
const fn close_cases() -> Insert {
    Insert::new(
        "UPDATE unmatched_payments SET state = 'closed', resolution = 'subscription', updated_at = \
         (SELECT created_at FROM subscriptions WHERE id = 'subscription-' || session) \
         WHERE state = 'open' AND reason <> 'items_short' AND session IN (VALUES ",
        ") AND (tenant_id IS NULL OR tenant_id = \
         (SELECT tenant_id FROM subscriptions WHERE id = 'subscription-' || session))",
    )
}

const DEACTIVATE: &str = "UPDATE subscriptions SET is_active = $1, upgraded_at = $2, updated_at = $2, \
    upgraded_to_pass_id = $3, upgraded_to_pass_name = $4 WHERE id = $5";

impl Statements {
    pub(super) fn new<D: Dialect>() -> Self {
        let (first, second) = (D::one_of(1), D::one_of(2));
        let held = "SELECT id, stripe_payment_id, user_id, tenant_id FROM subscriptions";
        Self {
            by_id_or_payment: sql(format!(
                "{held} WHERE id {first} UNION ALL {held} WHERE stripe_payment_id {second}"
            )),
            upgradable: sql(format!(
                "SELECT id, user_id, tenant_id, upgraded_at IS NOT NULL AS is_upgraded FROM subscriptions \
                 WHERE id {first} ORDER BY id{}",
                D::LOCKING
            )),
            users: insert_users(),
            subscriptions: insert_subscriptions(),
            closed_cases: close_cases(),
            at_once: BatchInsert::new([insert_users(), insert_subscriptions(), close_cases()]),
        }
    }

    /// Creates the missing subscriptions of the batch in one transaction. After an error nothing is written,
    /// and the connection may still be in the transaction.
    pub(super) async fn create<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        batch: &[Box<NewSubscription>],
    ) -> sqlx::Result<Vec<Created>> {
        match self.create_without_lookup::<D>(connection, batch).await? {
            Some(outcomes) => Ok(outcomes),
            None => self.create_missing::<D>(connection, batch).await,
        }
    }

    /// Inserts the batch without a lookup, since usually none of it exists. `None`: one exists, or the result
    /// depends on existing rows.
    async fn create_without_lookup<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        batch: &[Box<NewSubscription>],
    ) -> sqlx::Result<Option<Vec<Created>>> {
        let needs_a_look = |new: &NewSubscription| {
            new.subscription.is_upgrade || (new.buyer.user_id.is_none() && new.buyer.email.is_some())
        };
        if !D::JOINS_STATEMENTS || batch.iter().any(|new| needs_a_look(new)) {
            return Ok(None);
        }
        let plan = plan(batch, &ExistingRows::default());
        let user_of = |id: &String| plan.users.binary_search_by(|user| user.id.cmp(id)).ok();
        let users = plan.created.iter().map(|(_, id)| user_of(id));
        let Some(users) = users.collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let records = plan.created.iter().zip(users);
        let records = records.map(|((new, id), user)| {
            let session = vec![Bind::Text(&new.subscription.stripe_session_id)];
            [
                user_binds(&plan.users[user]),
                binds(&new.subscription, id),
                session,
            ]
        });
        match self.at_once.run::<D>(connection, records).await {
            Ok(()) => Ok(Some(plan.outcomes)),
            Err(sqlx::Error::Database(refusal)) if refusal.is_unique_violation() => {
                D::execute(connection, SqlStr::from_static("ROLLBACK"), Vec::new()).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn create_missing<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        batch: &[Box<NewSubscription>],
    ) -> sqlx::Result<Vec<Created>> {
        let mut transaction = connection.begin_with(D::begin(connection)).await?;
        let held = self.existing::<D>(&mut transaction, batch).await?;
        let plan = plan(batch, &held);
        if plan.created.is_empty() {
            transaction.rollback().await?;
            return Ok(plan.outcomes);
        }
        self.write::<D>(&mut transaction, &plan).await?;
        transaction.commit().await?;
        Ok(plan.outcomes)
    }

    async fn existing<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        batch: &[Box<NewSubscription>],
    ) -> sqlx::Result<ExistingRows> {
        let purchases = || batch.iter().map(|new| &new.subscription);
        let ids = purchases().map(|one| one.id.as_str()).collect();
        let payments = purchases()
            .filter_map(|one| one.stripe_payment_id.as_deref())
            .collect();
        let buyers = batch.iter().map(|new| &new.buyer);
        let emails: Vec<_> = buyers
            .filter(|buyer| buyer.user_id.is_none())
            .filter_map(|buyer| buyer.email.as_deref())
            .collect();
        if let Some(lock) = D::SHARE_EMAILS.filter(|_| !emails.is_empty()) {
            // Before any row lock: email verification locks in the same order.
            let binds = vec![Bind::Texts(emails.clone())];
            D::execute(connection, SqlStr::from_static(lock), binds).await?;
        }
        let mut existing = ExistingRows::default();
        let found = self.by_id_or_payment.clone();
        for row in D::rows(connection, found, vec![Bind::Texts(ids), Bind::Texts(payments)]).await? {
            existing.subscriptions.push(ExistingSubscription {
                id: row.text("id")?,
                payment: row.maybe_text("stripe_payment_id")?,
                user: row.text("user_id")?,
                tenant: row.text("tenant_id")?,
            });
        }

        let old: Vec<_> = purchases()
            .filter(|one| one.is_upgrade)
            .filter_map(|one| one.upgraded_from_subscription_id.as_deref())
            .collect();
        if !old.is_empty() {
            for row in D::rows(connection, self.upgradable.clone(), vec![Bind::Texts(old)]).await? {
                existing.upgradable.insert(
                    row.text("id")?,
                    Upgradable {
                        user: row.text("user_id")?,
                        tenant: row.text("tenant_id")?,
                        is_upgraded: row.flag("is_upgraded")?,
                    },
                );
            }
        }

        existing.verified_owners = ownership::verified_owners::<D>(connection, &emails).await?;
        Ok(existing)
    }

    async fn write<D: Dialect>(
        &self,
        connection: &mut D::Connection,
        plan: &WritePlan<'_>,
    ) -> sqlx::Result<()> {
        for (old, new) in &plan.deactivated {
            let subscription = &new.subscription;
            let binds = vec![
                Bind::Flag(false),
                Bind::Instant(subscription.created_at),
                Bind::Text(&subscription.pass_id),
                Bind::Text(&subscription.pass_name),
                Bind::Text(old),
            ];
            D::execute(connection, SqlStr::from_static(DEACTIVATE), binds).await?;
        }
        let users = plan.users.iter().map(user_binds);
        self.users.run::<D>(connection, users).await?;
        let subscriptions = plan
            .created
            .iter()
            .map(|(new, user)| binds(&new.subscription, user));
        self.subscriptions.run::<D>(connection, subscriptions).await?;
        let sessions = plan
            .created
            .iter()
            .map(|(new, _)| vec![Bind::Text(&new.subscription.stripe_session_id)]);
        self.closed_cases.run::<D>(connection, sessions).await
    }
}

pub(super) fn sql(text: String) -> SqlStr {
    AssertSqlSafe(text).into_sql_str()
}

/// In the order of the columns in [`insert_users`].
fn user_binds<'a>(user: &'a User<'_>) -> Vec<Bind<'a>> {
    vec![
        Bind::Text(&user.id),
        Bind::MaybeText(user.email),
        Bind::MaybeText(user.name),
        Bind::Instant(user.created_at),
    ]
}

/// In the order of the columns in [`insert_subscriptions`].
fn binds<'a>(one: &'a Subscription, user: &'a str) -> Vec<Bind<'a>> {
    let amount = |money: Option<Money>| Bind::MaybeInt(money.map(|money| money.amount));
    vec![
        Bind::Text(&one.id),
        Bind::Text(user),
        Bind::Text(&one.tenant),
        Bind::Text(one.kind.as_str()),
        Bind::Instant(one.start_date),
        Bind::Instant(one.end_date),
        Bind::MaybeInt(one.remaining_clips),
        Bind::Text(&one.pass_id),
        Bind::Text(&one.pass_name),
        Bind::Int(one.purchase_price.amount),
        amount(one.original_price),
        amount(one.final_price),
        amount(one.discount_amount),
        Bind::MaybeText(one.promo_code.as_deref()),
        Bind::Text(one.currency.code()),
        Bind::MaybeText(one.stripe_payment_id.as_deref()),
        Bind::Text(&one.stripe_session_id),
        Bind::MaybeText(one.stripe_customer_id.as_deref()),
        Bind::MaybeText(one.webhook_event_id.as_deref()),
        Bind::Flag(one.is_active),
        Bind::Flag(one.is_upgrade),
        Bind::MaybeText(one.upgraded_from_subscription_id.as_deref()),
        amount(one.upgrade_cost),
        Bind::Text(one.created_via.as_str()),
        Bind::Instant(one.created_at),
        Bind::Instant(one.updated_at),
    ]
}

/// A column with the text of one of our types.
pub(super) fn parsed<T>(row: &impl Fields, column: &str) -> sqlx::Result<T>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    row.text(column)?
        .parse()
        .map_err(|error| sqlx::Error::Decode(format!("`{column}`: {error}").into()))
}
