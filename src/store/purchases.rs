//! Creates subscriptions in batches: decides in memory what a batch writes, and writes it in one transaction.
//!
//! Usually none of a batch exists, so it is inserted without a look. If the database already had one, nothing
//! is written, and the next try looks first.

use super::StoreError;
use super::database::{Bind, Call, Database, binds};
use super::model::{Created, NewSubscription, Subscription};
use super::users;
use super::write_plan::{ExistingRows, ExistingSubscription, Upgradable, WritePlan, plan};

/// How often a transaction is tried in case of a transient error.
const TRIES: usize = 3;

const BY_ID_OR_PAYMENT: &str = "SELECT id, stripe_payment_id, user_id, tenant_id FROM subscriptions WHERE id = ANY($1) \
    UNION ALL SELECT id, stripe_payment_id, user_id, tenant_id FROM subscriptions WHERE stripe_payment_id = ANY($2)";

const UPGRADABLE: &str = "SELECT id, user_id, tenant_id, upgraded_at IS NOT NULL AS is_upgraded FROM subscriptions \
    WHERE id = ANY($1) ORDER BY id FOR UPDATE";

const DEACTIVATE: &str = "UPDATE subscriptions SET is_active = $1, upgraded_at = $2, updated_at = $2, \
    upgraded_to_pass_id = $3, upgraded_to_pass_name = $4 WHERE id = $5";

const SUBSCRIPTIONS: &str = "subscriptions (id, user_id, tenant_id, type, start_date, end_date, remaining_clips, pass_id, \
    pass_name, purchase_price, original_price, final_price, discount_amount, promo_code, currency, \
    stripe_payment_id, stripe_session_id, stripe_customer_id, webhook_event_id, is_active, is_upgrade, \
    upgraded_from_subscription_id, upgrade_cost, created_via, created_at, updated_at)";

/// Closes the cases of these sessions, which now have a subscription. Not if several places were paid and
/// this is a pass for the first.
const CLOSE_CASES: &str = "UPDATE unmatched_payments SET state = 'closed', resolution = 'subscription', updated_at = \
    (SELECT created_at FROM subscriptions WHERE id = 'subscription-' || session) \
    WHERE state = 'open' AND reason <> 'items_short' AND session = ANY($1) \
    AND (tenant_id IS NULL OR tenant_id = (SELECT tenant_id FROM subscriptions WHERE id = 'subscription-' || session))";

/// Creates the batch in one transaction. If a purchase cannot be stored, splits the batch in halves,
/// recursively, so that it does not block the others.
pub(super) async fn create(
    db: &Database,
    batch: &[Box<NewSubscription>],
) -> Vec<Result<Created, StoreError>> {
    let mut answers = Vec::with_capacity(batch.len());
    let mut parts = vec![batch];
    while let Some(part) = parts.pop() {
        match create_at_once(db, part).await {
            Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
            Err(error) if part.len() > 1 && !matches!(error, StoreError::Outage(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push(second);
                parts.push(first);
            }
            Err(error) => answers.extend(part.iter().map(|_| Err(error.clone()))),
        }
    }
    answers
}

async fn create_at_once(db: &Database, part: &[Box<NewSubscription>]) -> Result<Vec<Created>, StoreError> {
    // The result of an upgrade depends on whether it was carried out before.
    let mut looks = part.iter().any(|new| new.subscription.is_upgrade);
    for tries in 1..=TRIES {
        let mut call = db.write().await?;
        call.is_retried = tries < TRIES;
        match create_in(&mut call, part, looks).await {
            Ok(Some(outcomes)) => return Ok(outcomes),
            Ok(None) => looks = true,
            Err(_) if call.is_retried && call.can_retry() => looks = true,
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict(
        "others keep storing purchases of the same sessions or payments".to_owned(),
    ))
}

/// `None`: the database has some of them, and nothing was written.
async fn create_in(
    call: &mut Call<'_>,
    batch: &[Box<NewSubscription>],
    looks: bool,
) -> Result<Option<Vec<Created>>, StoreError> {
    call.begin().await?;
    let existing = existing(call, batch, looks).await?;
    let plan = plan(batch, &existing);
    if !plan.created.is_empty() && !write(call, &plan).await? {
        call.rollback().await?;
        return Ok(None);
    }
    call.commit().await?;
    Ok(Some(plan.outcomes))
}

async fn existing(
    call: &mut Call<'_>,
    batch: &[Box<NewSubscription>],
    looks: bool,
) -> Result<ExistingRows, StoreError> {
    let purchases = || batch.iter().map(|new| &new.subscription);
    let mut existing = ExistingRows::default();
    let buyers = batch.iter().map(|new| &new.buyer);
    let emails: Vec<&str> = buyers
        .filter(|buyer| buyer.user_id.is_none())
        .filter_map(|buyer| buyer.email.as_deref())
        .collect();
    if !emails.is_empty() {
        // Before any row lock: email verification locks in the same order.
        call.lock(call.dialect().share_emails, binds![emails.as_slice()])
            .await?;
    }
    if looks {
        let ids: Vec<&str> = purchases().map(|one| one.id.as_str()).collect();
        let payments: Vec<&str> = purchases()
            .filter_map(|one| one.stripe_payment_id.as_deref())
            .collect();
        let found = call.list(BY_ID_OR_PAYMENT, binds![ids, payments], |row| {
            Ok(ExistingSubscription {
                id: row.get("id")?,
                payment: row.get("stripe_payment_id")?,
                user: row.get("user_id")?,
                tenant: row.get("tenant_id")?,
            })
        });
        existing.subscriptions = found.await?;
    }
    let old: Vec<&str> = purchases()
        .filter(|one| one.is_upgrade)
        .filter_map(|one| one.upgraded_from_subscription_id.as_deref())
        .collect();
    if !old.is_empty() {
        let found = call.list(UPGRADABLE, binds![old], |row| {
            let old = Upgradable {
                user: row.get("user_id")?,
                tenant: row.get("tenant_id")?,
                is_upgraded: row.get("is_upgraded")?,
            };
            Ok((row.get("id")?, old))
        });
        existing.upgradable = found.await?.into_iter().collect();
    }
    existing.verified_owners = users::verified_owners(call, &emails).await?;
    Ok(existing)
}

/// Returns false if the database has some of them.
async fn write(call: &mut Call<'_>, plan: &WritePlan<'_>) -> Result<bool, StoreError> {
    for (old, new) in &plan.deactivated {
        let new = &new.subscription;
        let binds = binds![false, new.created_at, &new.pass_id, &new.pass_name, *old];
        call.execute(DEACTIVATE, binds).await?;
    }
    let users = plan.users.iter();
    let users = users.map(|user| binds![&user.id, user.email, user.name, user.created_at]);
    let keep = "ON CONFLICT (id) DO UPDATE SET email = excluded.email \
         WHERE users.email IS NULL AND excluded.email IS NOT NULL";
    call.insert("users (id, email, name, created_at)", users.collect(), keep)
        .await?;
    let created = plan.created.iter();
    let rows = created
        .map(|(new, user)| binds_of(&new.subscription, user))
        .collect();
    let inserted = call.insert(SUBSCRIPTIONS, rows, "ON CONFLICT DO NOTHING").await?;
    if inserted < plan.created.len() as u64 {
        return Ok(false);
    }
    let created = plan.created.iter();
    let sessions: Vec<&str> = created
        .map(|(new, _)| new.subscription.stripe_session_id.as_str())
        .collect();
    call.execute(CLOSE_CASES, binds![sessions]).await?;
    Ok(true)
}

/// In the order of [`SUBSCRIPTIONS`].
fn binds_of<'a>(one: &'a Subscription, user: &'a str) -> Vec<Bind<'a>> {
    binds![
        &one.id,
        user,
        &one.tenant,
        one.kind.as_str(),
        one.start_date,
        one.end_date,
        one.remaining_clips,
        &one.pass_id,
        &one.pass_name,
        one.purchase_price.amount,
        one.original_price.map(|money| money.amount),
        one.final_price.map(|money| money.amount),
        one.discount_amount.map(|money| money.amount),
        &one.promo_code,
        one.currency.code(),
        &one.stripe_payment_id,
        &one.stripe_session_id,
        &one.stripe_customer_id,
        &one.webhook_event_id,
        one.is_active,
        one.is_upgrade,
        &one.upgraded_from_subscription_id,
        one.upgrade_cost.map(|money| money.amount),
        one.created_via.as_str(),
        one.created_at,
        one.updated_at,
    ]
}
