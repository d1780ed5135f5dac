//! Purchases for the tests to store.

use chrono::{DateTime, TimeZone, Utc};
use surepass::money::Money;
use surepass::store::{Buyer, CreatedVia, NewSubscription, Subscription, SubscriptionType, Tenant};

/// The n-th minute of a day in 2026.
pub fn minute(n: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(1_795_000_000 + n * 60, 0)
        .single()
        .expect("a time")
}

pub fn nok(amount: i64) -> Money {
    Money {
        amount,
        currency: "nok".parse().expect("a currency"),
    }
}

/// A tenant without passes: `studio` has the id `tenant-studio`.
pub fn tenant(slug: &str) -> Tenant {
    Tenant {
        id: format!("tenant-{slug}"),
        slug: slug.to_owned(),
        name: slug.to_uppercase(),
        time_zone: "Europe/Oslo".parse().expect("a time zone"),
        color: None,
        stripe_account: None,
        contact: surepass::store::Contact::default(),
        unmatched: surepass::store::UnmatchedPolicy::default(),
        passes: vec![],
    }
}

/// A purchase at `studio`, by the user `user-name`, of the session `cs_name` and the payment `pi_name`.
pub fn purchase(name: &str) -> Box<NewSubscription> {
    let session = format!("cs_{name}");
    Box::new(NewSubscription {
        buyer: Buyer {
            user_id: Some(format!("user_{name}")),
            email: Some(format!("{name}@example.com")),
            name: Some(name.to_owned()),
        },
        subscription: Subscription {
            id: Subscription::id_of(&session),
            user: String::new(),
            tenant: "tenant-studio".to_owned(),
            kind: SubscriptionType::Clipcard,
            start_date: minute(0),
            end_date: minute(90 * 24 * 60),
            remaining_clips: Some(10),
            pass_id: "pass-10".to_owned(),
            pass_name: "10 classes".to_owned(),
            purchase_price: nok(150_000),
            original_price: None,
            final_price: None,
            discount_amount: None,
            promo_code: None,
            currency: nok(0).currency,
            stripe_payment_id: Some(format!("pi_{name}")),
            stripe_session_id: session,
            stripe_customer_id: None,
            webhook_event_id: Some(format!("evt_{name}")),
            is_active: true,
            is_upgrade: false,
            upgraded_from_subscription_id: None,
            upgrade_cost: None,
            created_via: CreatedVia::Webhook,
            created_at: minute(1),
            updated_at: minute(1),
        },
    })
}

/// An upgrade, `name`, of the purchase `old`, by a buyer that the session does not name.
pub fn upgrade(name: &str, old: &str) -> Box<NewSubscription> {
    let mut new = purchase(name);
    new.buyer = Buyer::default();
    new.subscription.is_upgrade = true;
    new.subscription.upgraded_from_subscription_id = Some(Subscription::id_of(&format!("cs_{old}")));
    new.subscription.upgrade_cost = Some(nok(50_000));
    new.subscription.pass_id = "pass-month".into();
    new.subscription.pass_name = "Unlimited month".into();
    new.subscription.created_at = minute(5);
    new.subscription.updated_at = minute(5);
    new
}
