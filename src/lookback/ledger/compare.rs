//! A subscription against the session that it was made of. Only what is certain: the catalogue may have changed since, and
//! what follows from it alone accuses nobody.

use crate::fulfil::{Due, Purchase};
use crate::money::Money;
use crate::store::Subscription;

use super::finding::Difference;

/// Fulfilment's words for a purchase that this tenant must not have been given.
const OTHERS: [&str; 2] = ["tenant_mismatch", "livemode_mismatch"];

/// In which fields the subscription is not what its session says.
pub(super) fn differences(purchase: &Purchase, due: &Due, held: &Subscription) -> Vec<Difference> {
    let mut found = Found::default();
    match due {
        Due::Subscription(due) => {
            found.tell("tenant", &due.tenant, &held.tenant);
            if purchase.pass_id.as_ref() == Some(&due.pass_id) {
                found.tell("passId", &due.pass_id, &held.pass_id);
            }
            found.tell("isUpgrade", &due.is_upgrade, &held.is_upgrade);
            if due.is_upgrade && held.is_upgrade {
                found.tell_maybe(
                    "upgradedFromSubscriptionId",
                    due.upgraded_from_subscription_id.as_ref(),
                    held.upgraded_from_subscription_id.as_ref(),
                );
            }
            // Where the session states no amount, the catalogue's price of that day stands in the store.
            if purchase.amount.is_some() && due.is_upgrade == held.is_upgrade {
                found.tell("purchasePrice", &due.purchase_price, &held.purchase_price);
                found.tell_maybe(
                    "upgradeCost",
                    due.upgrade_cost.as_ref(),
                    held.upgrade_cost.as_ref(),
                );
            }
        }
        Due::Refused(refusal) if OTHERS.contains(&refusal.code()) => {
            found.0.push(Difference {
                field: "tenant",
                stripe: refusal.to_string(),
                store: held.tenant.clone(),
            });
        }
        Due::Refused(_) | Due::Unmatched(_) | Due::Nothing(_) => {
            if let (Some(paid), false) = (paid(purchase), held.is_upgrade) {
                found.tell("purchasePrice", &paid, &held.purchase_price);
            }
        }
    }
    if let (Some(paid), Some(kept)) = (&purchase.payment_intent, &held.stripe_payment_id) {
        found.tell("stripePaymentId", paid, kept);
    }
    found.0
}

/// What the session says was paid.
pub(super) fn paid(purchase: &Purchase) -> Option<Money> {
    let currency = purchase.currency.as_deref()?.parse().ok()?;
    let amount = purchase.amount?;
    Some(Money { amount, currency })
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn tell<T: PartialEq + ToString>(&mut self, field: &'static str, stripe: &T, store: &T) {
        self.tell_maybe(field, Some(stripe), Some(store));
    }

    fn tell_maybe<T: PartialEq + ToString>(
        &mut self,
        field: &'static str,
        stripe: Option<&T>,
        store: Option<&T>,
    ) {
        if stripe != store {
            let text = |value: Option<&T>| value.map_or_else(|| "none".to_owned(), ToString::to_string);
            self.0.push(Difference {
                field,
                stripe: text(stripe),
                store: text(store),
            });
        }
    }
}
