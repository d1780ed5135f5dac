//! What the doctor says of the key, of what it may read, and of Stripe's clock.

use chrono::TimeDelta;

use crate::doctor::fixture::Fixture;

#[tokio::test]
async fn where_all_is_in_order_nothing_is_wrong_and_the_exit_status_is_0() {
    let checkup = Fixture::new(true).await;
    let findings = checkup.doctor().await;
    assert_eq!(findings.warnings(), <[String; 0]>::default());
    assert_eq!((findings.wrong(), findings.status), (vec![], 0));
    for words in [
        "Stripe/mode: test purchases only, because of STRIPE_SECRET_KEY",
        "Stripe/key: restricted, test mode",
        "reads Checkout Sessions, Events, PaymentIntents, Charges, Webhook Endpoints",
        "receives every event, API 2025-03-31.basil",
        "Store/catalog: 1 tenant, ",
        "Work/workers: 1 worker alive",
        "Work/last check: ",
    ] {
        findings.says(words);
    }
    let (status, page) = checkup.page().await;
    assert_eq!(status, 0);
    assert!(page.ends_with("\nAll checks passed.\n"), "{page}");
}

#[tokio::test]
async fn the_doctor_only_reads_at_stripe_and_leaves_nothing_in_the_event_log() {
    let checkup = Fixture::new(true).await;
    checkup.doctor().await;
    checkup.doctor().await;
    let asked = checkup.stripe.state().asked.clone();
    assert!(
        asked.iter().all(|request| request.starts_with("GET /v1/")),
        "{asked:#?}"
    );
    checkup.shop.settled().await;
    assert!(checkup.shop.events().await.is_empty());
}

#[tokio::test]
async fn a_key_that_lacks_a_permission_is_told_which() {
    let checkup = Fixture::new(true).await;
    checkup.stripe.state().forbidden = vec!["webhook_endpoints", "charges"];
    let findings = checkup.doctor().await;
    assert_eq!(findings.wrong(), <[String; 0]>::default());
    let warnings = findings.warnings();
    assert_eq!(
        warnings[0],
        "Stripe/permissions: Charges, Webhook Endpoints cannot be read: some checks and `reconcile` know less"
    );
    assert!(warnings[1].starts_with("Webhooks/permissions: Webhook Endpoints cannot be read"));

    checkup.stripe.state().forbidden = vec!["checkout/sessions", "events"];
    let wrong = checkup.doctor().await.wrong();
    assert_eq!(
        wrong,
        [
            "Stripe/permissions: Checkout Sessions cannot be read: the lookback finds no purchases",
            "Stripe/permissions: Events cannot be read: undelivered events are not found",
        ]
    );
}

#[tokio::test]
async fn a_key_that_stripe_refuses_is_wrong_and_one_that_may_write_is_a_warning() {
    let mut checkup = Fixture::new(true).await;
    checkup.stripe.state().refuses_key = true;
    let wrong = checkup.doctor().await.only_wrong();
    assert!(
        wrong.starts_with("Stripe/connection: ") && wrong.contains("Stripe refused the key"),
        "{wrong}"
    );
    checkup.stripe.state().refuses_key = false;
    checkup.shop.set("STRIPE_SECRET_KEY", "sk_test_HemmeligKey");
    let warning = checkup.doctor().await.only_warning();
    assert_eq!(
        warning,
        "Stripe/key: test mode, with write access: anyone who gets this key can move money"
    );
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_by_stripes_date() {
    let checkup = Fixture::new(true).await;
    checkup.stripe.state().ahead = TimeDelta::seconds(-400);
    let wrong = checkup.doctor().await.only_wrong();
    assert!(
        wrong.starts_with("Stripe/clock: ours is 6 min ahead of Stripe's"),
        "{wrong}"
    );
    checkup.stripe.state().ahead = TimeDelta::seconds(60);
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.starts_with("Stripe/clock: ours is ") && warning.ends_with(" s behind Stripe's"),
        "{warning}"
    );
}

#[tokio::test]
async fn without_a_key_the_lookback_is_off_and_the_doctor_says_so() {
    let mut checkup = Fixture::new(true).await;
    checkup.shop.set("STRIPE_SECRET_KEY", "");
    let findings = checkup.doctor().await;
    assert_eq!((findings.wrong(), findings.status), (vec![], 0));
    findings.says("STRIPE_SECRET_KEY is not set: the lookback is off");
    findings.says(
        "Stripe/mode: undecided: test and live purchases are both fulfilled until the first live one arrives",
    );
    checkup.shop.set("SUREPASS_LIVEMODE", "true");
    checkup
        .doctor()
        .await
        .says("Stripe/mode: live purchases only, because of stripe.livemode");
}

#[tokio::test]
async fn a_stripe_that_is_out_of_reach_is_wrong() {
    let mut checkup = Fixture::new(true).await;
    checkup.shop.set("STRIPE_API_BASE", "http://127.0.0.1:9");
    let wrong = checkup.doctor().await.only_wrong();
    assert!(wrong.starts_with("Stripe/connection: "), "{wrong}");
}
