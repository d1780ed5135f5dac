//! Compares a subscription with its session. Only certain differences count: the catalog may have changed
//! since.

use crate::fulfil::{ExpectedSubscription, Purchase};
use crate::money::Money;
use crate::store::Subscription;

use super::finding::Difference;

/// The codes of purchases that this tenant must not have received.
const WRONG_TENANT_CODES: [&str; 2] = ["tenant_mismatch", "livemode_mismatch"];

/// The fields in which the subscription differs from its session.
pub(super) fn differences(
    purchase: &Purchase,
    due: &ExpectedSubscription,
    held: &Subscription,
) -> Vec<Difference> {
    let mut found = Differences::default();
    match due {
        ExpectedSubscription::Subscription(due) => {
            found.compare("tenant", &due.tenant, &held.tenant);
            if purchase.pass_id.as_ref() == Some(&due.pass_id) {
                found.compare("passId", &due.pass_id, &held.pass_id);
            }
            found.compare("isUpgrade", &due.is_upgrade, &held.is_upgrade);
            if due.is_upgrade && held.is_upgrade {
                found.compare_optional(
                    "upgradedFromSubscriptionId",
                    due.upgraded_from_subscription_id.as_ref(),
                    held.upgraded_from_subscription_id.as_ref(),
                );
            }
            // Without an amount in the session, the price came from the catalog of that day.
            if purchase.amount.is_some() && due.is_upgrade == held.is_upgrade {
                found.compare("purchasePrice", &due.purchase_price, &held.purchase_price);
                found.compare_optional(
                    "upgradeCost",
                    due.upgrade_cost.as_ref(),
                    held.upgrade_cost.as_ref(),
                );
            }
        }
        ExpectedSubscription::Refused(refusal) if WRONG_TENANT_CODES.contains(&refusal.code()) => {
            found.0.push(Difference {
                field: "tenant",
                stripe: refusal.to_string(),
                store: held.tenant.clone(),
            });
        }
        ExpectedSubscription::Refused(_)
        | ExpectedSubscription::Unmatched(_)
        | ExpectedSubscription::NotAPass(_) => {
            if let (Some(paid), false) = (paid(purchase), held.is_upgrade) {
                found.compare("purchasePrice", &paid, &held.purchase_price);
            }
        }
    }
    if let (Some(paid), Some(kept)) = (&purchase.payment_intent, &held.stripe_payment_id) {
        found.compare("stripePaymentId", paid, kept);
    }
    found.0
}

/// The amount in the session.
pub(super) fn paid(purchase: &Purchase) -> Option<Money> {
    let currency = purchase.currency.as_deref()?.parse().ok()?;
    let amount = purchase.amount?;
    Some(Money { amount, currency })
}

#[derive(Default)]
struct Differences(Vec<Difference>);

impl Differences {
    fn compare<T: PartialEq + ToString>(&mut self, field: &'static str, stripe: &T, store: &T) {
        self.compare_optional(field, Some(stripe), Some(store));
    }

    fn compare_optional<T: PartialEq + ToString>(
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
