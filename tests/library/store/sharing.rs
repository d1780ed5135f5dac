//! Several handles, as several processes have them, on one store.

use std::sync::Arc;

use futures::future::join_all;
use surepass::store::{Created, StoreError, Subscription};

use crate::store::all;
use crate::store::create;
use crate::store::new;
use support::home::Home;
use support::purchases::purchase;

contract!(
    several_processes_may_migrate_at_once,
    two_handles_on_the_same_store_make_one_row,
);

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
    assert!(matches!(store.ping().await, Err(StoreError::Outage(_))));
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
