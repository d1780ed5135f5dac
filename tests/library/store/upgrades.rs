//! Upgrades.

use std::sync::Arc;

use futures::future::join_all;
use surepass::store::{Created, NewSubscription, StoreError, UpgradeRefusal};

use crate::store::all;
use crate::store::create;
use crate::store::existing;
use crate::store::new;
use crate::store::one;
use support::home::Home;
use support::purchases::{minute, purchase, upgrade};

contract!(
    an_upgrade_switches_the_old_subscription_off_and_the_new_one_on_in_one_transaction,
    an_upgrade_is_refused_for_another_tenant_another_user_or_a_second_time,
    an_old_subscription_is_upgraded_once_however_many_ask_at_once,
);

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
        store.subscriptions().create(broken).await,
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
