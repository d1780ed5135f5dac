//! Unmatched payments: one case for each session, kept until somebody closes it.

use std::sync::Arc;

use surepass::store::{
    Evidence, NewUnmatched, OpenUnmatched, Resolution, Store, UnmatchedFilter, UnmatchedNote,
    UnmatchedPayment, UnmatchedState,
};

use crate::store::create;
use support::home::Home;
use support::purchases::{minute, purchase};

contract!(
    a_session_has_one_case_however_often_it_is_opened,
    a_case_is_found_by_its_id_its_reference_its_session_and_its_payment,
    a_reference_that_is_taken_is_replaced_by_another,
    a_subscription_closes_the_case_of_its_session_and_no_other,
    a_pass_for_the_first_of_several_places_leaves_the_case_open,
    a_session_with_its_subscription_gets_no_case,
    a_session_whose_subscription_is_another_tenants_gets_its_case,
    what_came_by_one_tenants_path_changes_no_case_of_another,
    a_case_and_a_subscription_that_missed_each_other_are_brought_together,
    a_case_given_to_another_tenant_is_closed_by_its_subscription,
    what_a_person_or_a_refund_has_closed_stays_closed,
    open_cases_are_counted_by_whether_money_was_paid,
    closed_cases_are_forgotten_after_their_time_and_open_ones_never,
);

pub(crate) fn case(name: &str) -> NewUnmatched {
    NewUnmatched {
        id: format!("case_{name}"),
        random: name.bytes().fold(7, |sum, byte| sum * 131 + u64::from(byte)),
        account: None,
        session: format!("cs_{name}"),
        payment: Some(format!("pi_{name}")),
        tenant: None,
        path_tenant: None,
        reason: "unresolved_pass".to_owned(),
        detail: "no pass can be told".to_owned(),
        evidence: Evidence {
            email: Some("kari@example.com".to_owned()),
            ..Evidence::default()
        },
        purchase: Some("{}".to_owned()),
        is_paid: true,
        at: minute(1),
    }
}

fn note(what: &str) -> UnmatchedNote {
    UnmatchedNote {
        at: minute(9),
        who: "kari@studio".to_owned(),
        what: what.to_owned(),
        why: Some("the buyer was paid back in cash".to_owned()),
    }
}

pub(crate) async fn open(store: &Arc<Store>, new: &NewUnmatched) -> Option<UnmatchedPayment> {
    store.unmatched().open_unmatched(new).await.unwrap()
}

pub(crate) async fn found(store: &Arc<Store>, name: &str) -> UnmatchedPayment {
    let mut found = store.unmatched().find_unmatched(name).await.unwrap();
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

async fn a_session_has_one_case_however_often_it_is_opened(home: Home) {
    let store = home.ready().await;
    let first = open(&store, &case("a")).await.unwrap();
    let again = NewUnmatched {
        id: "case_other".to_owned(),
        random: 99,
        tenant: Some("tenant-studio".to_owned()),
        reason: "unmatched".to_owned(),
        at: minute(2),
        ..case("a")
    };
    let second = open(&store, &again).await.unwrap();
    let third = open(&store, &again).await.unwrap();
    assert_eq!(second, third);
    assert_eq!((&second.id, &second.reference), (&first.id, &first.reference));
    assert_eq!((second.opened_at, second.updated_at), (minute(1), minute(2)));
    let opened: Vec<_> = second.history.iter().map(|note| note.what.as_str()).collect();
    assert_eq!(opened, ["opened: unresolved_pass", "opened: unmatched"]);
    assert_eq!(second.tenant.as_deref(), Some("tenant-studio"));
    assert_eq!(second.evidence, case("a").evidence);

    // The same session on another account is another one.
    let elsewhere = NewUnmatched {
        account: Some("acct_1".to_owned()),
        ..again
    };
    assert_ne!(open(&store, &elsewhere).await.unwrap().id, first.id);
}

async fn a_case_is_found_by_its_id_its_reference_its_session_and_its_payment(home: Home) {
    let store = home.ready().await;
    let case_a = open(&store, &case("a")).await.unwrap();
    open(&store, &case("b")).await.unwrap();
    let spoken = case_a.reference.to_lowercase().replace('-', " ");
    for name in ["case_a", "cs_a", "pi_a", &case_a.reference, &spoken] {
        assert_eq!(found(&store, name).await, case_a, "{name}");
    }
    assert!(store.unmatched().find_unmatched("cs_c").await.unwrap().is_empty());
    let of = store.unmatched().unmatched_of(&["cs_a", "cs_c"]).await.unwrap();
    assert_eq!(of, [case_a]);
}

async fn a_reference_that_is_taken_is_replaced_by_another(home: Home) {
    let store = home.ready().await;
    let first = open(&store, &case("a")).await.unwrap();
    let same = NewUnmatched {
        random: case("a").random,
        ..case("b")
    };
    let second = open(&store, &same).await.unwrap();
    assert_ne!(first.reference, second.reference);
}

async fn a_subscription_closes_the_case_of_its_session_and_no_other(home: Home) {
    let store = home.ready().await;
    for name in ["a", "b"] {
        open(&store, &case(name)).await.unwrap();
    }
    let other = NewUnmatched {
        tenant: Some("tenant-other".to_owned()),
        ..case("c")
    };
    open(&store, &other).await.unwrap();
    create(&store, purchase("a")).await;
    // Another tenant's secret may have named a session that is not its own.
    create(&store, purchase("c")).await;
    let closed = found(&store, "cs_a").await;
    assert_eq!(
        (closed.state, closed.resolution, closed.updated_at),
        (UnmatchedState::Closed, Some(Resolution::Subscription), minute(1))
    );
    assert!(found(&store, "cs_b").await.is_open());
    assert!(found(&store, "cs_c").await.is_open());
}

async fn a_pass_for_the_first_of_several_places_leaves_the_case_open(home: Home) {
    let store = home.ready().await;
    open(&store, &case("a")).await.unwrap();
    create(&store, purchase("a")).await;
    assert!(!found(&store, "cs_a").await.is_open());
    let short = NewUnmatched {
        reason: NewUnmatched::ITEMS_SHORT.to_owned(),
        ..case("a")
    };
    assert!(open(&store, &short).await.unwrap().is_open());
    let held = store.unmatched().close_resolved(minute(3), 10).await;
    assert_eq!(held.unwrap(), 0);
    assert!(found(&store, "cs_a").await.is_open());
}

async fn a_session_with_its_subscription_gets_no_case(home: Home) {
    let store = home.ready().await;
    create(&store, purchase("a")).await;
    assert_eq!(open(&store, &case("a")).await, None);
}

async fn a_session_whose_subscription_is_another_tenants_gets_its_case(home: Home) {
    let store = home.ready().await;
    create(&store, purchase("a")).await;
    let others = NewUnmatched {
        tenant: Some("tenant-other".to_owned()),
        ..case("a")
    };
    assert!(open(&store, &others).await.is_some());
    assert_eq!(store.unmatched().close_resolved(minute(3), 10).await.unwrap(), 0);
    assert!(found(&store, "cs_a").await.is_open());
}

async fn what_came_by_one_tenants_path_changes_no_case_of_another(home: Home) {
    let store = home.ready().await;
    let of = |tenant: Option<&str>, path: Option<&str>, detail: &str| NewUnmatched {
        tenant: tenant.map(str::to_owned),
        path_tenant: path.map(str::to_owned),
        detail: detail.to_owned(),
        ..case("a")
    };
    let studios = open(&store, &of(Some("tenant-studio"), None, "studio's"))
        .await
        .unwrap();
    let neighbour = of(None, Some("neighbour"), "a neighbour's");
    assert_eq!(open(&store, &neighbour).await, None);
    assert_eq!(found(&store, "cs_a").await, studios);
    // Its own path, and the platform's.
    for (path, detail) in [(Some("studio"), "by its path"), (None, "by the platform's")] {
        let own = open(&store, &of(None, path, detail)).await.unwrap();
        assert_eq!(
            (own.detail.as_str(), own.tenant.as_deref()),
            (detail, Some("tenant-studio"))
        );
    }
}

async fn a_case_and_a_subscription_that_missed_each_other_are_brought_together(home: Home) {
    let store = home.ready().await;
    open(&store, &case("a")).await.unwrap();
    create(&store, purchase("a")).await;
    home.run("UPDATE unmatched_payments SET state = 'open', resolution = NULL")
        .await;
    let cases = store.unmatched();
    assert_eq!(cases.close_resolved(minute(3), 10).await.unwrap(), 1);
    let closed = found(&store, "cs_a").await;
    assert_eq!(
        (closed.is_open(), closed.resolution),
        (false, Some(Resolution::Subscription))
    );
    assert_eq!(cases.close_resolved(minute(3), 10).await.unwrap(), 0);
}

async fn a_case_given_to_another_tenant_is_closed_by_its_subscription(home: Home) {
    let store = home.ready().await;
    let others = NewUnmatched {
        tenant: Some("tenant-other".to_owned()),
        ..case("a")
    };
    let id = open(&store, &others).await.unwrap().id;
    let assigned = note("assigned");
    let cases = store.unmatched();
    assert!(
        cases
            .note_unmatched(&id, Some("tenant-studio"), &assigned)
            .await
            .unwrap()
    );
    create(&store, purchase("a")).await;
    assert!(!found(&store, &id).await.is_open());
}

async fn what_a_person_or_a_refund_has_closed_stays_closed(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    for (name, how) in [("a", Resolution::Person), ("b", Resolution::Refund)] {
        let id = open(&store, &case(name)).await.unwrap().id;
        assert!(cases.note_unmatched(&id, None, &note("assigned")).await.unwrap());
        assert!(cases.close_unmatched(&id, how, &note("closed")).await.unwrap());
        assert!(!cases.close_unmatched(&id, how, &note("closed")).await.unwrap());
        assert!(!cases.note_unmatched(&id, None, &note("assigned")).await.unwrap());
        assert_eq!(open(&store, &case(name)).await, None);
        let closed = found(&store, &id).await;
        assert_eq!((closed.is_open(), closed.resolution), (false, Some(how)));
        assert_eq!(closed.history[1..], [note("assigned"), note("closed")]);
    }
}

async fn open_cases_are_counted_by_whether_money_was_paid(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    assert_eq!(cases.count_unmatched().await.unwrap(), OpenUnmatched::default());
    for (name, is_paid) in [("a", true), ("b", true), ("c", false)] {
        let new = NewUnmatched {
            is_paid,
            ..case(name)
        };
        open(&store, &new).await.unwrap();
    }
    cases
        .close_unmatched("case_b", Resolution::Person, &note("closed"))
        .await
        .unwrap();
    let open = cases.count_unmatched().await.unwrap();
    assert_eq!((open.paid(), open.informational), (1, 1));
    assert_eq!(open.oldest, Some(minute(1)));
    let listed = async |filter: UnmatchedFilter<'_>| {
        let listed = cases.list_unmatched(&filter, 10).await.unwrap();
        listed.into_iter().map(|case| case.session).collect::<Vec<_>>()
    };
    let only_open = UnmatchedFilter {
        state: Some(UnmatchedState::Open),
        ..UnmatchedFilter::default()
    };
    assert_eq!(listed(UnmatchedFilter::default()).await, ["cs_a", "cs_b", "cs_c"]);
    assert_eq!(listed(only_open).await, ["cs_a", "cs_c"]);
    let next = UnmatchedFilter {
        after: Some((minute(1), "case_a")),
        reason: Some("unresolved_pass"),
        updated_before: Some(minute(2)),
        ..only_open
    };
    assert_eq!(listed(next).await, ["cs_c"]);
}

async fn closed_cases_are_forgotten_after_their_time_and_open_ones_never(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    for name in ["a", "b"] {
        open(&store, &case(name)).await.unwrap();
    }
    cases
        .close_unmatched("case_a", Resolution::Person, &note("closed"))
        .await
        .unwrap();
    assert_eq!(cases.drop_unmatched(minute(9), 10).await.unwrap(), 0);
    assert_eq!(cases.drop_unmatched(minute(10), 10).await.unwrap(), 1);
    assert!(found(&store, "cs_b").await.is_open());
}
