//! Decides in memory, without the database, what a batch of purchases writes.

use std::collections::{HashMap, HashSet};

use super::model::{Created, NewSubscription, UpgradeRefusal};
use crate::guest;
use chrono::{DateTime, Utc};

/// The rows that the batch's transaction found.
#[derive(Debug, Default)]
pub(super) struct ExistingRows {
    /// Subscriptions of the same sessions or payments.
    pub(super) subscriptions: Vec<ExistingSubscription>,
    /// Subscriptions to upgrade, by id.
    pub(super) upgradable: HashMap<String, Upgradable>,
    /// The user who verified each email of a buyer without a user id.
    pub(super) verified_owners: HashMap<String, String>,
}

#[derive(Debug)]
pub(super) struct ExistingSubscription {
    pub(super) id: String,
    pub(super) payment: Option<String>,
    pub(super) user: String,
    pub(super) tenant: String,
}

#[derive(Debug)]
pub(super) struct Upgradable {
    pub(super) user: String,
    pub(super) tenant: String,
    pub(super) is_upgraded: bool,
}

/// The results and the rows to write. The rows of each kind are sorted by key, so that concurrent
/// transactions lock in the same order.
#[derive(Debug, Default)]
pub(super) struct WritePlan<'a> {
    /// One for each purchase of the batch, in order.
    pub(super) outcomes: Vec<Created>,
    /// Users to create. An existing user without an email gets this one.
    pub(super) users: Vec<User<'a>>,
    /// Subscriptions to deactivate, and the purchase that replaces each.
    pub(super) deactivated: Vec<(&'a str, &'a NewSubscription)>,
    /// Subscriptions to create, each with its user id.
    pub(super) created: Vec<(&'a NewSubscription, String)>,
}

#[derive(Debug)]
pub(super) struct User<'a> {
    pub(super) id: String,
    pub(super) email: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) created_at: DateTime<Utc>,
}

/// Decides the result of each purchase, in order. A later one of the same session or payment finds the
/// earlier.
///
/// An upgrade finds only existing rows, not those of its own batch. Otherwise it is refused as `NotFound`,
/// and the caller retries.
pub(super) fn plan<'a>(batch: &'a [Box<NewSubscription>], existing_rows: &ExistingRows) -> WritePlan<'a> {
    let mut plan = WritePlan {
        outcomes: Vec::with_capacity(batch.len()),
        ..WritePlan::default()
    };
    let mut by_id = HashMap::with_capacity(batch.len());
    let mut by_payment = HashMap::with_capacity(batch.len());
    for one in &existing_rows.subscriptions {
        let existing = Created::Existing {
            id: one.id.clone(),
            user: one.user.clone(),
            tenant: one.tenant.clone(),
        };
        if let Some(payment) = &one.payment {
            by_payment.insert(payment.as_str(), existing.clone());
        }
        by_id.insert(one.id.as_str(), existing);
    }
    let mut users: HashMap<String, User<'a>> = HashMap::new();
    let mut upgraded = HashSet::new();

    for new in batch {
        let subscription = &new.subscription;
        // The id is made from the session id, so it identifies the session.
        let id = subscription.id.as_str();
        let payment = subscription.stripe_payment_id.as_deref();
        let existing = by_id.get(id).or_else(|| by_payment.get(payment?));
        if let Some(existing) = existing {
            plan.outcomes.push(existing.clone());
            continue;
        }
        let user = match owner(new, existing_rows, &upgraded) {
            Ok(user) => user,
            Err(refusal) => {
                plan.outcomes.push(Created::Refused(refusal));
                continue;
            }
        };
        if let Owner::Buyer(id) = &user {
            let entry = users.entry(id.clone()).or_insert_with(|| User {
                id: id.clone(),
                email: None,
                name: None,
                created_at: subscription.created_at,
            });
            entry.email = entry.email.or(new.buyer.email.as_deref());
            entry.name = entry.name.or(new.buyer.name.as_deref());
        }
        if subscription.is_upgrade
            && let Some(old) = subscription.upgraded_from_subscription_id.as_deref()
        {
            upgraded.insert(old);
            plan.deactivated.push((old, new));
        }
        let user = match user {
            Owner::Buyer(user) | Owner::Known(user) => user,
        };
        let existing = Created::Existing {
            id: subscription.id.clone(),
            user: user.clone(),
            tenant: subscription.tenant.clone(),
        };
        if let Some(payment) = payment {
            by_payment.insert(payment, existing.clone());
        }
        by_id.insert(id, existing);
        plan.outcomes.push(Created::New {
            id: subscription.id.clone(),
            user: user.clone(),
        });
        plan.created.push((new, user));
    }

    plan.users = users.into_values().collect();
    plan.users.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    plan.deactivated.sort_unstable_by_key(|(old, _)| *old);
    plan.created
        .sort_unstable_by(|(a, _), (b, _)| a.subscription.id.cmp(&b.subscription.id));
    plan
}

/// The owner of a new subscription.
enum Owner {
    /// The buyer's own user, created if missing.
    Buyer(String),
    /// An existing user.
    Known(String),
}

/// "Fulfilment" rules 5 and 8.
fn owner(
    new: &NewSubscription,
    existing_rows: &ExistingRows,
    upgraded: &HashSet<&str>,
) -> Result<Owner, UpgradeRefusal> {
    let (subscription, buyer) = (&new.subscription, &new.buyer);
    if subscription.is_upgrade {
        let id = subscription.upgraded_from_subscription_id.as_deref();
        let old = id
            .and_then(|id| existing_rows.upgradable.get(id))
            .ok_or(UpgradeRefusal::NotFound)?;
        if old.tenant != subscription.tenant {
            return Err(UpgradeRefusal::OtherTenant);
        }
        if buyer.user_id.as_ref().is_some_and(|user| *user != old.user) {
            return Err(UpgradeRefusal::OtherUser);
        }
        if old.is_upgraded || id.is_some_and(|id| upgraded.contains(id)) {
            return Err(UpgradeRefusal::AlreadyUpgraded);
        }
        if buyer.user_id.is_none() {
            return Ok(Owner::Known(old.user.clone()));
        }
    }
    if let Some(id) = &buyer.user_id {
        return Ok(Owner::Buyer(id.clone()));
    }
    let Some(email) = &buyer.email else {
        return Ok(Owner::Buyer(guest::of_session(&subscription.stripe_session_id)));
    };
    // An unverified email gives access to no existing account.
    let prover = existing_rows.verified_owners.get(email).cloned();
    Ok(Owner::Buyer(
        prover.unwrap_or_else(|| guest::of_email(&subscription.tenant, email)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Money;
    use crate::store::{Buyer, CreatedVia, Subscription, SubscriptionType};

    fn purchase(name: &str, payment: Option<&str>) -> Box<NewSubscription> {
        let price = Money {
            amount: 100,
            currency: "nok".parse().unwrap(),
        };
        let session = format!("cs_{name}");
        Box::new(NewSubscription {
            buyer: Buyer {
                user_id: Some(format!("user_{name}")),
                ..Buyer::default()
            },
            subscription: Subscription {
                id: Subscription::id_of(&session),
                user: String::new(),
                tenant: "tenant".to_owned(),
                kind: SubscriptionType::Single,
                start_date: DateTime::UNIX_EPOCH,
                end_date: DateTime::UNIX_EPOCH,
                remaining_clips: None,
                pass_id: "pass".to_owned(),
                pass_name: "Pass".to_owned(),
                purchase_price: price,
                original_price: None,
                final_price: None,
                discount_amount: None,
                promo_code: None,
                currency: price.currency,
                stripe_payment_id: payment.map(str::to_owned),
                stripe_session_id: session,
                stripe_customer_id: None,
                webhook_event_id: None,
                is_active: true,
                is_upgrade: false,
                upgraded_from_subscription_id: None,
                upgrade_cost: None,
                created_via: CreatedVia::Webhook,
                created_at: DateTime::UNIX_EPOCH,
                updated_at: DateTime::UNIX_EPOCH,
            },
        })
    }

    fn upgrade(name: &str, old: &str) -> Box<NewSubscription> {
        let mut new = purchase(name, None);
        new.buyer.user_id = None;
        new.subscription.is_upgrade = true;
        new.subscription.upgraded_from_subscription_id = Some(format!("subscription-cs_{old}"));
        new
    }

    fn created(name: &str, user: &str) -> Created {
        Created::New {
            id: format!("subscription-cs_{name}"),
            user: user.to_owned(),
        }
    }

    fn existing(name: &str) -> Created {
        Created::Existing {
            id: format!("subscription-cs_{name}"),
            user: format!("user_{name}"),
            tenant: "tenant".to_owned(),
        }
    }

    #[test]
    fn the_same_session_or_payment_twice_in_one_batch_is_created_once() {
        let batch = [
            purchase("b", Some("pi_1")),
            purchase("a", None),
            purchase("b", Some("pi_2")),
            purchase("c", Some("pi_1")),
            purchase("d", None),
        ];
        let plan = plan(&batch, &ExistingRows::default());
        assert_eq!(
            plan.outcomes,
            [
                created("b", "user_b"),
                created("a", "user_a"),
                existing("b"),
                existing("b"),
                created("d", "user_d")
            ]
        );
        let order: Vec<_> = plan
            .created
            .iter()
            .map(|(new, _)| new.subscription.id.as_str())
            .collect();
        assert_eq!(
            order,
            ["subscription-cs_a", "subscription-cs_b", "subscription-cs_d"]
        );
        let users: Vec<_> = plan.users.iter().map(|user| user.id.as_str()).collect();
        assert_eq!(users, ["user_a", "user_b", "user_d"]);
    }

    #[test]
    fn two_upgrades_of_one_subscription_in_one_batch_are_one() {
        let old = Upgradable {
            user: "ada".to_owned(),
            tenant: "tenant".to_owned(),
            is_upgraded: false,
        };
        let existing_rows = ExistingRows {
            upgradable: HashMap::from([("subscription-cs_old".to_owned(), old)]),
            ..ExistingRows::default()
        };
        let batch = [upgrade("a", "old"), upgrade("b", "old"), upgrade("a", "old")];
        let plan = plan(&batch, &existing_rows);
        let again = Created::Existing {
            id: "subscription-cs_a".to_owned(),
            user: "ada".to_owned(),
            tenant: "tenant".to_owned(),
        };
        let refused = Created::Refused(UpgradeRefusal::AlreadyUpgraded);
        assert_eq!(plan.outcomes, [created("a", "ada"), refused, again]);
        assert_eq!(
            (plan.deactivated.len(), plan.created.len(), plan.users.len()),
            (1, 1, 0)
        );
    }

    #[test]
    fn an_upgrade_in_the_batch_of_its_own_purchase_is_not_found_and_writes_nothing() {
        let batch = [purchase("old", None), upgrade("new", "old")];
        let plan = plan(&batch, &ExistingRows::default());
        let refused = Created::Refused(UpgradeRefusal::NotFound);
        assert_eq!(plan.outcomes, [created("old", "user_old"), refused]);
        assert_eq!((plan.deactivated.len(), plan.created.len()), (0, 1));
    }
}
