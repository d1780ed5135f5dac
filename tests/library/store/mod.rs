//! What every store promises: one suite, run over SQLite and PostgreSQL.

/// Makes each function a test for each store.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(support::home::Home::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(support::home::Home::postgres(support::postgres::Cluster::shared()).await).await;
            })*
        }
    };
}

mod audit;
mod catalog;
mod delete_in_batches;
mod events;
mod ledger;
mod livemode;
mod lookback;
mod ownership;
mod plans;
mod purchases;
mod queries;
mod refunds;
mod schema;
mod sharing;
pub(crate) mod statements;
mod unmatched;
mod upgrades;
mod watermarks;

use std::sync::Arc;

use surepass::store::{Created, NewSubscription, Store, Subscription, SubscriptionFilter};

async fn create(store: &Arc<Store>, new: Box<NewSubscription>) -> Created {
    store
        .subscriptions()
        .create(new)
        .await
        .expect("the store answers")
}

async fn all(store: &Arc<Store>) -> Vec<Subscription> {
    store
        .subscriptions()
        .list(&SubscriptionFilter::default(), 1_000)
        .await
        .expect("the store answers")
}

async fn one(store: &Arc<Store>, session: &str) -> Subscription {
    let filter = SubscriptionFilter {
        session: Some(session.to_owned()),
        ..SubscriptionFilter::default()
    };
    let mut found = store
        .subscriptions()
        .list(&filter, 2)
        .await
        .expect("the store answers");
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
