//! Subscriptions and their users.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use surepass::guest;
use surepass::money::Money;
use surepass::store::{Buyer, Created, StoreError, SubscriptionFilter};

use crate::store::all;
use crate::store::create;
use crate::store::existing;
use crate::store::new;
use crate::store::one;
use support::home::Home;
use support::purchases::{minute, nok, purchase, upgrade};

contract!(
    a_subscription_is_kept_with_all_its_fields,
    exactly_once_per_session_and_per_payment_intent,
    a_missing_payment_intent_matches_nothing,
    the_same_purchase_from_32_tasks_makes_one_row,
    a_crowd_with_some_known_purchases_gets_the_others,
    two_jobs_at_once_create_one_user,
    the_customer_is_the_user_id_else_a_guest,
    one_bad_purchase_does_not_stop_the_others,
    subscriptions_are_listed_newest_first_and_narrowed_by_each_filter,
    what_several_users_hold_of_one_tenant_is_listed_newest_first,
);

async fn a_subscription_is_kept_with_all_its_fields(home: Home) {
    let store = home.ready().await;
    create(&store, purchase("old")).await;
    let mut full = upgrade("full", "old");
    let subscription = &mut full.subscription;
    subscription.user = "user_old".into();
    subscription.original_price = Some(nok(200_000));
    subscription.final_price = Some(nok(50_000));
    subscription.discount_amount = Some(nok(i64::MAX));
    subscription.promo_code = Some("VÅR \u{1f483} ' \" %".to_owned());
    subscription.stripe_customer_id = Some("cus_1".to_owned());
    subscription.created_at = minute(5) + chrono::Duration::milliseconds(7);
    create(&store, full.clone()).await;
    assert_eq!(one(&store, "cs_full").await, full.subscription);

    let mut bare = purchase("bare");
    let subscription = &mut bare.subscription;
    subscription.user = "user_bare".into();
    subscription.remaining_clips = None;
    subscription.stripe_payment_id = None;
    subscription.webhook_event_id = None;
    create(&store, bare.clone()).await;
    assert_eq!(one(&store, "cs_bare").await, bare.subscription);
}

async fn exactly_once_per_session_and_per_payment_intent(home: Home) {
    let store = home.ready().await;
    assert_eq!(create(&store, purchase("a")).await, new("a", "user_a"));
    assert_eq!(create(&store, purchase("a")).await, existing("a", "user_a"));
    let mut other_payment = purchase("a");
    other_payment.subscription.stripe_payment_id = Some("pi_other".to_owned());
    assert_eq!(create(&store, other_payment).await, existing("a", "user_a"));
    let mut other_session = purchase("b");
    other_session.subscription.stripe_payment_id = Some("pi_a".to_owned());
    assert_eq!(create(&store, other_session).await, existing("a", "user_a"));
    assert_eq!(all(&store).await.len(), 1);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 1);
}

async fn a_missing_payment_intent_matches_nothing(home: Home) {
    let store = home.ready().await;
    for name in ["a", "b", "c"] {
        let mut free = purchase(name);
        free.subscription.stripe_payment_id = None;
        assert_eq!(create(&store, free).await, new(name, &format!("user_{name}")));
    }
    assert_eq!(all(&store).await.len(), 3);
}

async fn the_same_purchase_from_32_tasks_makes_one_row(home: Home) {
    let store = home.ready().await;
    let tasks = (0..32).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { create(&store, purchase("a")).await })
    });
    let mut made = 0;
    for created in join_all(tasks).await {
        match created.expect("no panic") {
            Created::New { .. } => made += 1,
            other => assert_eq!(other, existing("a", "user_a")),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(all(&store).await.len(), 1);
}

/// More than one statement holds, with a session and a payment among them that are there: once at the end of what is
/// written first, once at its beginning.
async fn a_crowd_with_some_known_purchases_gets_the_others(home: Home) {
    let store = home.ready().await;
    for known in ["000", "210"] {
        create(&store, purchase(known)).await;
    }
    let crowd = (0..220).map(|nth| {
        let name = format!("{nth:03}");
        let mut one = purchase(&name);
        if nth == 100 {
            one.subscription.stripe_payment_id = Some("pi_210".to_owned());
        }
        // Buyers come back.
        one.buyer.user_id = Some(format!("user_{:03}", nth % 50));
        let store = Arc::clone(&store);
        async move { create(&store, one).await }
    });
    for (nth, created) in join_all(crowd).await.into_iter().enumerate() {
        let expected = match nth {
            0 => existing("000", "user_000"),
            100 | 210 => existing("210", "user_210"),
            _ => new(&format!("{nth:03}"), &format!("user_{:03}", nth % 50)),
        };
        assert_eq!(created, expected, "{nth}");
    }
    assert_eq!(all(&store).await.len(), 219);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 51);
}

async fn two_jobs_at_once_create_one_user(home: Home) {
    let store = home.ready().await;
    let jobs = (0..32).map(|number| {
        let mut job = purchase(&format!("job-{number}"));
        job.buyer = if number % 2 == 0 {
            Buyer {
                user_id: Some("user_1".to_owned()),
                ..Buyer::default()
            }
        } else {
            Buyer {
                email: Some("ada@example.com".to_owned()),
                ..Buyer::default()
            }
        };
        let store = Arc::clone(&store);
        tokio::spawn(async move { create(&store, job).await })
    });
    let users: HashSet<_> = join_all(jobs)
        .await
        .into_iter()
        .map(|created| match created.expect("no panic") {
            Created::New { user, .. } => user,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(users.len(), 2, "{users:?}");
    assert_eq!(home.number("SELECT count(*) FROM users").await, 2);
}

async fn the_customer_is_the_user_id_else_a_guest(home: Home) {
    let store = home.ready().await;
    let buy = async |name: &str, at: i64, user_id: Option<&str>, email: Option<&str>| {
        let mut new = purchase(name);
        new.subscription.created_at = minute(at);
        new.buyer = Buyer {
            user_id: user_id.map(str::to_owned),
            email: email.map(str::to_owned),
            name: None,
        };
        match create(&store, new).await {
            Created::New { user, .. } => user,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(buy("1", 1, Some("user_z"), None).await, "user_z");
    // It had no email: it gets this one, and keeps it.
    assert_eq!(
        buy("2", 2, Some("user_z"), Some("Ada@Example.com ")).await,
        "user_z"
    );
    assert_eq!(
        buy("3", 3, Some("user_z"), Some("else@example.com")).await,
        "user_z"
    );
    assert_eq!(
        buy("4", 4, Some("user_a"), Some("ada@example.com")).await,
        "user_a"
    );
    let typed = buy("5", 5, None, Some("ADA@example.com")).await;
    assert_eq!(typed, guest::of_email("tenant-studio", "ada@example.com"));
    let by_email = buy("6", 6, None, Some("else@example.com")).await;
    assert_eq!(buy("7", 7, None, Some("else@example.com")).await, by_email);
    let nameless = buy("8", 8, None, None).await;
    assert_ne!(nameless, buy("9", 9, None, Some("")).await);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 6);
    assert_eq!(
        home.number("SELECT count(*) FROM users WHERE email = 'ada@example.com'")
            .await,
        3
    );
}

async fn one_bad_purchase_does_not_stop_the_others(home: Home) {
    let store = home.ready().await;
    let tasks = (0..100).map(|number| {
        let mut new = purchase(&number.to_string());
        if number % 40 == 13 {
            new.subscription.tenant = "tenant-unheard-of".into();
        }
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.subscriptions().create(new).await })
    });
    for (number, created) in join_all(tasks).await.into_iter().enumerate() {
        match created.expect("no panic") {
            Ok(created) => assert_eq!(created, new(&number.to_string(), &format!("user_{number}"))),
            Err(StoreError::Transient(_)) => assert_eq!(number % 40, 13),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(all(&store).await.len(), 97);
    let mut strange = purchase("strange");
    strange.subscription.pass_name = "nul \0 character".into();
    assert_eq!(create(&store, strange).await, new("strange", "user_strange"));
    let mut misnamed = purchase("misnamed");
    misnamed.subscription.id = "subscription-1".into();
    assert!(matches!(
        store.subscriptions().create(misnamed).await,
        Err(StoreError::Permanent(_))
    ));
    let mut mixed = purchase("mixed");
    mixed.subscription.final_price = Some(Money {
        amount: 1,
        currency: "eur".parse().unwrap(),
    });
    let refused = "a purchase in nok cannot hold an amount in eur".to_owned();
    assert_eq!(
        store.subscriptions().create(mixed).await,
        Err(StoreError::Permanent(refused))
    );
}

async fn subscriptions_are_listed_newest_first_and_narrowed_by_each_filter(home: Home) {
    let store = home.ready().await;
    for (name, at, slug) in [("a", 1, "studio"), ("b", 3, "other"), ("c", 2, "studio")] {
        let mut new = purchase(name);
        new.subscription.tenant = format!("tenant-{slug}");
        new.subscription.created_at = minute(at);
        create(&store, new).await;
    }
    let sessions = async |filter: SubscriptionFilter, limit| {
        let found = store
            .subscriptions()
            .list(&filter, limit)
            .await
            .expect("the store answers");
        found
            .into_iter()
            .map(|one| one.stripe_session_id)
            .collect::<Vec<_>>()
    };
    let none = SubscriptionFilter::default;
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(sessions(none(), 10).await, ["cs_b", "cs_c", "cs_a"]);
    assert_eq!(sessions(none(), 2).await, ["cs_b", "cs_c"]);
    let after = |name: &str, at| SubscriptionFilter {
        after: Some((minute(at), format!("subscription-cs_{name}"))),
        ..none()
    };
    assert_eq!(sessions(after("b", 3), 10).await, ["cs_c", "cs_a"]);
    assert_eq!(sessions(after("c", 2), 10).await, ["cs_a"]);
    assert_eq!(sessions(after("bb", 3), 1).await, ["cs_b"]);
    let of_studio = SubscriptionFilter {
        tenant_slug: text("studio"),
        ..after("c", 2)
    };
    assert_eq!(sessions(of_studio, 10).await, ["cs_a"]);
    assert_eq!(
        sessions(
            SubscriptionFilter {
                tenant_slug: text("studio"),
                ..none()
            },
            10
        )
        .await,
        ["cs_c", "cs_a"]
    );
    assert_eq!(
        sessions(
            SubscriptionFilter {
                user: text("user_b"),
                ..none()
            },
            10
        )
        .await,
        ["cs_b"]
    );
    assert_eq!(
        sessions(
            SubscriptionFilter {
                email: text(" C@example.com"),
                ..none()
            },
            10
        )
        .await,
        ["cs_c"]
    );
    assert_eq!(
        sessions(
            SubscriptionFilter {
                session: text("cs_a"),
                ..none()
            },
            10
        )
        .await,
        ["cs_a"]
    );
    let both = SubscriptionFilter {
        tenant_slug: text("other"),
        session: text("cs_a"),
        ..none()
    };
    assert_eq!(sessions(both, 10).await, Vec::<String>::new());
}

async fn what_several_users_hold_of_one_tenant_is_listed_newest_first(home: Home) {
    let store = home.ready().await;
    let mut elsewhere = purchase("elsewhere");
    elsewhere.subscription.tenant = "tenant-other".into();
    elsewhere.buyer.user_id = Some("user_a".to_owned());
    let mut newest = purchase("newest");
    newest.buyer.user_id = Some("user_a".to_owned());
    newest.subscription.created_at = minute(9);
    let mut nameless = purchase("nameless");
    nameless.buyer.user_id = None;
    nameless.subscription.created_at = minute(5);
    for new in [purchase("a"), purchase("b"), elsewhere, newest, nameless] {
        create(&store, new).await;
    }
    let made_up = guest::of_email("tenant-studio", "nameless@example.com");
    let held = async |users: &[&str], limit| {
        let held = store
            .subscriptions()
            .held_by("tenant-studio", users, limit)
            .await
            .unwrap();
        held.into_iter()
            .map(|one| one.stripe_session_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        held(&["user_a", &made_up], 10).await,
        ["cs_newest", "cs_nameless", "cs_a"]
    );
    assert_eq!(held(&["user_a"], 1).await, ["cs_newest"]);
    assert_eq!(held(&["user_a' OR '1'='1"], 10).await, [""; 0]);
    assert_eq!(held(&[], 10).await, [""; 0]);
}
