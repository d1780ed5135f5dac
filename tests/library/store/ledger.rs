//! What reconciliation reads.

use std::collections::BTreeSet;

use surepass::store::Subscription;

use crate::store::create;
use support::home::Home;
use support::purchases::{minute, purchase};

contract!(
    subscriptions_are_found_by_session_and_by_payment_each_once,
    a_subscription_without_a_payment_is_found_by_its_session_only,
    subscriptions_of_a_span_are_listed_page_by_page_without_a_gap,
);

fn names(found: &[Subscription]) -> Vec<&str> {
    found.iter().map(|one| one.stripe_session_id.as_str()).collect()
}

async fn subscriptions_are_found_by_session_and_by_payment_each_once(home: Home) {
    let store = home.ready().await;
    for name in ["a", "b", "c", "d"] {
        create(&store, purchase(name)).await;
    }
    let found = store
        .subscriptions()
        .of(&["cs_a", "cs_b", "cs_unknown"], &["pi_b", "pi_c", "pi_unknown"])
        .await
        .unwrap();
    assert_eq!(found.len(), 3);
    let sessions: BTreeSet<_> = names(&found).into_iter().collect();
    assert_eq!(sessions, BTreeSet::from(["cs_a", "cs_b", "cs_c"]));
    assert_eq!(store.subscriptions().of(&[], &[]).await.unwrap(), []);
}

async fn a_subscription_without_a_payment_is_found_by_its_session_only(home: Home) {
    let store = home.ready().await;
    let mut free = purchase("free");
    free.subscription.stripe_payment_id = None;
    create(&store, free).await;
    let by_session = store.subscriptions().of(&["cs_free"], &[]).await.unwrap();
    assert_eq!(names(&by_session), ["cs_free"]);
    assert_eq!(store.subscriptions().of(&[], &["", "null"]).await.unwrap(), []);
}

async fn subscriptions_of_a_span_are_listed_page_by_page_without_a_gap(home: Home) {
    let store = home.ready().await;
    for number in 0..20 {
        let mut new = purchase(&format!("{number:02}"));
        // The span is told by when they begin, the order by when they were made; many at the same instant.
        new.subscription.start_date = minute(number);
        new.subscription.created_at = minute(100 + number / 7);
        create(&store, new).await;
    }
    let (from, before) = (minute(2), minute(18));
    let mut seen = Vec::new();
    let mut last: Option<Subscription> = None;
    loop {
        let page = store
            .subscriptions()
            .begun(from, before, last.as_ref(), 3)
            .await
            .unwrap();
        assert!(page.len() <= 3);
        seen.extend(names(&page).into_iter().map(str::to_owned));
        match page.into_iter().next_back() {
            Some(one) => last = Some(one),
            None => break,
        }
    }
    let expected: Vec<_> = (2..18).rev().map(|number| format!("cs_{number:02}")).collect();
    assert_eq!(seen, expected);
}
