//! Full refunds: they close the unmatched payment of their payment, whichever is known first.

use surepass::store::{NewUnmatched, RefundedPayments, Resolution};

use crate::store::unmatched::{case, found, open};
use support::home::Home;
use support::purchases::minute;

contract!(
    a_full_refund_closes_the_case_of_its_payment_on_its_account,
    a_refund_that_is_reported_before_the_case_opens_closes_it,
    a_case_and_a_refund_that_missed_each_other_are_brought_together,
    a_refund_that_one_tenants_secret_proves_closes_no_later_case_of_another,
    a_tenants_own_secret_closes_no_other_tenants_case,
);

fn refunded<'a>(payments: &'a [&'a str]) -> RefundedPayments<'a> {
    RefundedPayments {
        account: None,
        path_tenant: None,
        payments,
        sessions: &[],
        at: minute(5),
    }
}

async fn a_full_refund_closes_the_case_of_its_payment_on_its_account(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    for name in ["a", "b", "c"] {
        open(&store, &case(name)).await.unwrap();
    }
    let elsewhere = NewUnmatched {
        account: Some("acct_1".to_owned()),
        ..case("d")
    };
    open(&store, &elsewhere).await.unwrap();
    let by_both = RefundedPayments {
        sessions: &["cs_b"],
        ..refunded(&["pi_a", "pi_d"])
    };
    assert_eq!(cases.close_refunded(&by_both).await.unwrap(), 2);
    assert_eq!(cases.close_refunded(&by_both).await.unwrap(), 0);
    assert_eq!(found(&store, "cs_a").await.resolution, Some(Resolution::Refund));
    assert!(found(&store, "cs_c").await.is_open());
    assert!(found(&store, "cs_d").await.is_open());
}

async fn a_refund_that_is_reported_before_the_case_opens_closes_it(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    assert_eq!(
        cases.close_refunded(&refunded(&["pi_a", "pi_b"])).await.unwrap(),
        0
    );
    assert_eq!(open(&store, &case("a")).await, None);
    let closed = found(&store, "cs_a").await;
    assert_eq!(
        (closed.is_open(), closed.resolution),
        (false, Some(Resolution::Refund))
    );
    let elsewhere = NewUnmatched {
        account: Some("acct_1".to_owned()),
        ..case("b")
    };
    assert!(
        open(&store, &elsewhere).await.is_some(),
        "another account's payment"
    );
    assert!(open(&store, &case("c")).await.is_some(), "another payment");
}

async fn a_case_and_a_refund_that_missed_each_other_are_brought_together(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    open(&store, &case("a")).await.unwrap();
    cases.close_refunded(&refunded(&["pi_a"])).await.unwrap();
    home.run("UPDATE unmatched_payments SET state = 'open', resolution = NULL")
        .await;
    assert_eq!(cases.close_resolved(minute(3), 10).await.unwrap(), 1);
    assert_eq!(found(&store, "cs_a").await.resolution, Some(Resolution::Refund));
    assert_eq!(cases.close_resolved(minute(3), 10).await.unwrap(), 0);
}

async fn a_refund_that_one_tenants_secret_proves_closes_no_later_case_of_another(home: Home) {
    let store = home.ready().await;
    let by_path = RefundedPayments {
        path_tenant: Some("studio"),
        ..refunded(&["pi_a", "pi_b", "pi_c", "pi_d"])
    };
    store.unmatched().close_refunded(&by_path).await.unwrap();
    let of = |name: &str, tenant: Option<&str>, path: Option<&str>| NewUnmatched {
        tenant: tenant.map(str::to_owned),
        path_tenant: path.map(str::to_owned),
        ..case(name)
    };
    assert_eq!(open(&store, &of("a", Some("tenant-studio"), None)).await, None);
    assert_eq!(open(&store, &of("b", None, Some("studio"))).await, None);
    assert!(open(&store, &of("c", Some("tenant-other"), None)).await.is_some());
    assert!(open(&store, &of("d", None, None)).await.is_some());
}

async fn a_tenants_own_secret_closes_no_other_tenants_case(home: Home) {
    let store = home.ready().await;
    let cases = store.unmatched();
    let of = |name: &str, tenant: &str| NewUnmatched {
        tenant: Some(tenant.to_owned()),
        ..case(name)
    };
    open(&store, &of("a", "tenant-studio")).await.unwrap();
    open(&store, &of("b", "tenant-other")).await.unwrap();
    open(&store, &case("c")).await.unwrap();
    let by_path = RefundedPayments {
        path_tenant: Some("studio"),
        ..refunded(&["pi_a", "pi_b", "pi_c"])
    };
    assert_eq!(cases.close_refunded(&by_path).await.unwrap(), 1);
    assert!(!found(&store, "cs_a").await.is_open());
}
