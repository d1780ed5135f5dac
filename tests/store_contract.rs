//! What every store promises: one suite, run over SQLite and PostgreSQL.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "what fails here fails the test"
)]

mod support;

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use secrecy::SecretString;
use surepass::money::Money;
use surepass::store::{
    Buyer, Created, Imported, LoggedEvent, NewSubscription, Pass, Store, StoreError, Subscription,
    SubscriptionFilter, UpgradeRefusal, Validity,
};

use support::home::Home;
use support::postgres::Cluster;
use support::purchases::{minute, nok, purchase, tenant, upgrade};

/// Makes each function a test for each store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Home::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::Home::postgres(super::Cluster::shared()).await).await;
            })*
        }
    };
}

contract!(
    a_subscription_is_kept_with_all_its_fields,
    exactly_once_per_session_and_per_payment_intent,
    a_missing_payment_intent_matches_nothing,
    the_same_purchase_from_32_tasks_makes_one_row,
    two_jobs_at_once_create_one_user,
    the_customer_is_the_user_id_else_the_oldest_user_with_that_email_else_a_new_user,
    an_upgrade_switches_the_old_subscription_off_and_the_new_one_on_in_one_transaction,
    an_upgrade_is_refused_for_another_tenant_another_user_or_a_second_time,
    an_old_subscription_is_upgraded_once_however_many_ask_at_once,
    one_bad_purchase_does_not_stop_the_others,
    subscriptions_are_listed_newest_first_and_narrowed_by_each_filter,
    importing_the_same_catalogue_twice_changes_nothing,
    an_import_that_takes_another_tenants_slug_or_account_changes_nothing,
    an_event_is_logged_once,
    event_bodies_are_dropped_in_bounded_chunks,
    several_processes_may_migrate_at_once,
    two_handles_on_the_same_store_make_one_row,
);

async fn create(store: &Arc<dyn Store>, new: NewSubscription) -> Created {
    store.create_subscription(new).await.expect("the store answers")
}

async fn all(store: &Arc<dyn Store>) -> Vec<Subscription> {
    store
        .subscriptions(&SubscriptionFilter::default(), 1_000)
        .await
        .expect("the store answers")
}

async fn one(store: &Arc<dyn Store>, session: &str) -> Subscription {
    let filter = SubscriptionFilter {
        session: Some(session.to_owned()),
        ..SubscriptionFilter::default()
    };
    let mut found = store.subscriptions(&filter, 2).await.expect("the store answers");
    assert_eq!(found.len(), 1, "{session}");
    found.remove(0)
}

fn new(name: &str, user: &str) -> Created {
    Created::New {
        id: format!("subscription-cs_{name}"),
        user: user.to_owned(),
    }
}

fn existing(name: &str, user: &str) -> Created {
    Created::Existing {
        id: format!("subscription-cs_{name}"),
        user: user.to_owned(),
        tenant: "tenant-studio".to_owned(),
    }
}

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

async fn the_customer_is_the_user_id_else_the_oldest_user_with_that_email_else_a_new_user(home: Home) {
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
    assert_eq!(
        buy("5", 5, None, Some("ADA@example.com")).await,
        "user_z",
        "the older of two"
    );
    let by_email = buy("6", 6, None, Some("else@example.com")).await;
    assert_eq!(by_email, "user-d3b59f4a3300ff378bde475bbecc13ab");
    assert_eq!(buy("7", 7, None, Some("else@example.com")).await, by_email);
    let nameless = buy("8", 8, None, None).await;
    assert_ne!(nameless, buy("9", 9, None, Some("")).await);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 5);
    assert_eq!(
        home.number("SELECT count(*) FROM users WHERE email = 'ada@example.com'")
            .await,
        2
    );
}

async fn an_upgrade_switches_the_old_subscription_off_and_the_new_one_on_in_one_transaction(home: Home) {
    let store = home.ready().await;
    create(&store, purchase("old")).await;
    assert_eq!(
        create(&store, upgrade("new", "old")).await,
        new("new", "user_old")
    );
    let (old, upgraded) = (one(&store, "cs_old").await, one(&store, "cs_new").await);
    assert!(!old.is_active && upgraded.is_active);
    assert_eq!((old.updated_at, upgraded.user.as_str()), (minute(5), "user_old"));
    let noted = "SELECT count(*) FROM subscriptions WHERE upgraded_at IS NOT NULL \
        AND upgraded_to_pass_id = 'pass-month' AND upgraded_to_pass_name = 'Unlimited month'";
    assert_eq!(home.number(noted).await, 1);
    assert_eq!(
        create(&store, upgrade("new", "old")).await,
        existing("new", "user_old")
    );

    // The old one has been switched off when the new one turns out not to be storable.
    let mut kept = purchase("kept");
    kept.subscription.promo_code = Some("SPRING".to_owned());
    create(&store, kept).await;
    home.run("CREATE UNIQUE INDEX one_of_each ON subscriptions (promo_code)")
        .await;
    let mut broken = upgrade("broken", "kept");
    broken.subscription.promo_code = Some("SPRING".to_owned());
    assert!(matches!(
        store.create_subscription(broken).await,
        Err(StoreError::Conflict(_))
    ));
    assert!(one(&store, "cs_kept").await.is_active);
    assert_eq!(all(&store).await.len(), 3);
}

async fn an_upgrade_is_refused_for_another_tenant_another_user_or_a_second_time(home: Home) {
    let store = home.ready().await;
    create(&store, purchase("old")).await;
    let refusal = async |change: fn(&mut NewSubscription)| {
        let mut new = upgrade("new", "old");
        change(&mut new);
        match create(&store, new).await {
            Created::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    };
    let not_there = |new: &mut NewSubscription| {
        new.subscription.upgraded_from_subscription_id = Some("subscription-cs_none".to_owned());
    };
    assert_eq!(refusal(not_there).await, UpgradeRefusal::NotFound);
    assert_eq!(
        refusal(|new| new.subscription.upgraded_from_subscription_id = None).await,
        UpgradeRefusal::NotFound
    );
    assert_eq!(
        refusal(|new| new.subscription.tenant = "tenant-other".into()).await,
        UpgradeRefusal::OtherTenant
    );
    assert_eq!(
        refusal(|new| new.buyer.user_id = Some("user_other".to_owned())).await,
        UpgradeRefusal::OtherUser
    );
    assert!(one(&store, "cs_old").await.is_active);
    assert_eq!(all(&store).await.len(), 1);

    let mut own = upgrade("own", "old");
    own.buyer.user_id = Some("user_old".to_owned());
    assert_eq!(create(&store, own).await, new("own", "user_old"));
    assert_eq!(refusal(|_| ()).await, UpgradeRefusal::AlreadyUpgraded);
    assert_eq!(all(&store).await.len(), 2);
    assert_eq!(home.number("SELECT count(*) FROM users").await, 1);
}

async fn an_old_subscription_is_upgraded_once_however_many_ask_at_once(home: Home) {
    let (first, second) = (home.ready().await, home.open().await);
    create(&first, purchase("old")).await;
    let asks = (0..32).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &first } else { &second });
        tokio::spawn(async move { create(&store, upgrade(&format!("new-{number}"), "old")).await })
    });
    let mut made = 0;
    for created in join_all(asks).await {
        match created.expect("no panic") {
            Created::New { .. } => made += 1,
            other => assert_eq!(other, Created::Refused(UpgradeRefusal::AlreadyUpgraded)),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(all(&first).await.iter().filter(|one| one.is_active).count(), 1);
}

async fn one_bad_purchase_does_not_stop_the_others(home: Home) {
    let store = home.ready().await;
    let tasks = (0..100).map(|number| {
        let mut new = purchase(&number.to_string());
        if number % 40 == 13 {
            new.subscription.tenant = "tenant-unheard-of".into();
        }
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.create_subscription(new).await })
    });
    for (number, created) in join_all(tasks).await.into_iter().enumerate() {
        match created.expect("no panic") {
            Ok(created) => assert_eq!(created, new(&number.to_string(), &format!("user_{number}"))),
            Err(StoreError::Permanent(_)) => assert_eq!(number % 40, 13),
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
        store.create_subscription(misnamed).await,
        Err(StoreError::Permanent(_))
    ));
    let mut mixed = purchase("mixed");
    mixed.subscription.final_price = Some(Money {
        amount: 1,
        currency: "eur".parse().unwrap(),
    });
    let refused = "a purchase in nok cannot hold an amount in eur".to_owned();
    assert_eq!(
        store.create_subscription(mixed).await,
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
            .subscriptions(&filter, limit)
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

fn pass(id: &str) -> Pass {
    Pass {
        id: id.to_owned(),
        name: "10 classes".to_owned(),
        kind: "multi".to_owned(),
        classes_limit: Some(10),
        price: nok(150_000),
        validity: Validity {
            kind: Some("date".to_owned()),
            days: None,
            expiry: Some("2027-06-30".parse().unwrap()),
        },
        stripe_price_ids: vec!["price_1".to_owned()],
        is_active: true,
    }
}

async fn importing_the_same_catalogue_twice_changes_nothing(home: Home) {
    let store = home.open().await;
    store.migrate().await.unwrap();
    let mut studio = tenant("studio");
    studio.webhook_secrets = vec![SecretString::from("whsec_1"), SecretString::from("whsec_2")];
    studio.stripe_account = Some("acct_1".to_owned());
    studio.passes = vec![pass("pass-1"), pass("pass-2")];
    let catalogue = [studio.clone(), tenant("other")];
    let first = Imported {
        tenants_created: 2,
        passes_created: 2,
        ..Imported::default()
    };
    assert_eq!(store.import(&catalogue).await.unwrap(), first);
    assert_eq!(
        store.import(&catalogue).await.unwrap(),
        Imported {
            unchanged: 4,
            ..Imported::default()
        }
    );

    studio.name = "Studio Two".into();
    studio.passes = vec![Pass {
        is_active: false,
        ..pass("pass-2")
    }];
    let changed = Imported {
        tenants_updated: 1,
        passes_updated: 1,
        ..Imported::default()
    };
    assert_eq!(store.import(&[studio]).await.unwrap(), changed);
    let held = store.tenants().await.unwrap();
    let slugs: Vec<_> = held.iter().map(|tenant| tenant.slug.as_str()).collect();
    assert_eq!(slugs, ["other", "studio"]);
    assert_eq!(held[1].name, "Studio Two");
    assert_eq!(held[1].webhook_secrets.len(), 2);
    assert_eq!(
        held[1].passes,
        [
            pass("pass-1"),
            Pass {
                is_active: false,
                ..pass("pass-2")
            }
        ],
        "the first is kept"
    );
}

async fn an_import_that_takes_another_tenants_slug_or_account_changes_nothing(home: Home) {
    let store = home.ready().await;
    let mut studio = tenant("studio");
    studio.stripe_account = Some("acct_1".to_owned());
    store.import(&[studio]).await.unwrap();
    let mut thief = tenant("thief");
    thief.slug = "studio".into();
    let refused = store.import(&[tenant("third"), thief]).await.unwrap_err();
    let slug = "tenant `tenant-thief`: the slug `studio` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(slug.to_owned()));
    let mut thief = tenant("thief");
    thief.stripe_account = Some("acct_1".to_owned());
    let refused = store.import(&[tenant("third"), thief]).await.unwrap_err();
    let account = "tenant `tenant-thief`: the Stripe account `acct_1` belongs to tenant `tenant-studio`";
    assert_eq!(refused, StoreError::Conflict(account.to_owned()));
    assert_eq!(store.tenants().await.unwrap().len(), 2);
}

fn event(number: i64) -> LoggedEvent {
    LoggedEvent {
        id: format!("evt_{number}"),
        kind: "checkout.session.completed".to_owned(),
        account: Some("acct_1".to_owned()),
        livemode: number % 2 == 0,
        tenant_slug: None,
        object_id: Some(format!("cs_{number}")),
        outcome: "enqueued".to_owned(),
        created_at: minute(number),
        received_at: minute(number),
        body: Some(vec![0, 1, 255]),
    }
}

async fn an_event_is_logged_once(home: Home) {
    let store = home.ready().await;
    store.append_events(vec![]).await.unwrap();
    store.append_events((0..500).map(event).collect()).await.unwrap();
    let mut again: Vec<_> = (499..502).map(event).collect();
    again[0].outcome = "ignored".into();
    again.push(event(501));
    store.append_events(again).await.unwrap();
    assert_eq!(home.number("SELECT count(*) FROM events").await, 502);
    assert_eq!(
        store.events(3).await.unwrap(),
        [event(501), event(500), event(499)]
    );
}

async fn event_bodies_are_dropped_in_bounded_chunks(home: Home) {
    let store = home.ready().await;
    store.append_events((0..10).map(event).collect()).await.unwrap();
    assert_eq!(store.drop_event_bodies(minute(7), 5).await.unwrap(), 5);
    assert_eq!(store.drop_event_bodies(minute(7), 5).await.unwrap(), 2);
    assert_eq!(store.drop_event_bodies(minute(7), 5).await.unwrap(), 0);
    let kept = store.events(10).await.unwrap();
    assert_eq!(kept.iter().filter(|event| event.body.is_some()).count(), 3);
    assert_eq!(
        kept[9],
        LoggedEvent {
            body: None,
            ..event(0)
        }
    );
}

async fn several_processes_may_migrate_at_once(home: Home) {
    let processes = join_all((0..6).map(|_| async {
        let store = home.open().await;
        store.migrate().await
    }));
    for migrated in processes.await {
        assert_eq!(migrated, Ok(()));
    }
    let store = home.ready().await;
    assert_eq!(store.ping().await, Ok(()));
    assert_eq!(create(&store, purchase("a")).await, new("a", "user_a"));
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Transient(_))));
}

async fn two_handles_on_the_same_store_make_one_row(home: Home) {
    let (first, second) = (home.ready().await, home.open().await);
    let tasks = (0..200).map(|number| {
        let store = Arc::clone(if number % 2 == 0 { &first } else { &second });
        // Each purchase is asked for by both handles; every fourth differs in the session, not in the payment.
        let mut new = purchase(&format!("{}", number / 2));
        if number % 4 == 1 {
            new.subscription.stripe_session_id = format!("cs_again-{number}");
            new.subscription.id = Subscription::id_of(&new.subscription.stripe_session_id);
        }
        tokio::spawn(async move { create(&store, new).await })
    });
    let made = join_all(tasks).await;
    let made = made
        .iter()
        .filter(|created| matches!(created, Ok(Created::New { .. })))
        .count();
    assert_eq!((made, all(&first).await.len()), (100, 100));
}
