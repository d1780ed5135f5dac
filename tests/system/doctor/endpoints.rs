//! What the doctor says of our webhook endpoints at Stripe.

use serde_json::json;
use support::program::eventually;
use support::shop::COMPLETED;
use surepass::up::sample::SampleSession;

use crate::doctor::fixture::Fixture;
use crate::doctor::stripe::endpoint;

/// The doctor's words, with the address of this test's server as `INTAKE`.
async fn only_wrong(checkup: &Fixture) -> String {
    let wrong = checkup.doctor().await.only_wrong();
    wrong.replace(&checkup.intake, "INTAKE")
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_or_lacks_events_is_told() {
    let checkup = Fixture::new(true).await;
    let mut disabled = endpoint(&checkup.intake);
    disabled["status"] = "disabled".into();
    checkup.stripe.has(vec![disabled]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: Stripe has disabled the webhook endpoint INTAKE and sends nothing to it"
    );

    let mut deaf = endpoint(&checkup.intake);
    deaf["enabled_events"] = json!(["checkout.session.completed", "charge.refunded"]);
    checkup.stripe.has(vec![deaf]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/events: the webhook endpoint INTAKE does not receive checkout.session.async_payment_succeeded"
    );

    let mut enough = endpoint(&checkup.intake);
    enough["enabled_events"] = json!(surepass::stripe::PURCHASE_EVENTS);
    checkup.stripe.has(vec![enough]);
    let warning = checkup.doctor().await.only_warning();
    assert!(warning.ends_with("charge.refunded and 8 more"), "{warning}");
}

#[tokio::test]
async fn an_endpoint_that_is_missing_or_nearly_ours_is_told() {
    let checkup = Fixture::new(true).await;
    checkup
        .stripe
        .has(vec![endpoint("https://elsewhere.example/webhooks/stripe")]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: no webhook endpoint at Stripe covers studio"
    );
    checkup
        .stripe
        .has(vec![endpoint(&format!("{}/", checkup.intake))]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: a webhook endpoint at Stripe is registered as INTAKE/, which is almost our address"
    );
}

#[tokio::test]
async fn an_endpoint_of_an_api_version_that_is_not_tested_or_that_is_there_twice_is_a_warning() {
    let checkup = Fixture::new(true).await;
    let mut new = endpoint(&checkup.intake);
    new["api_version"] = "2026-02-25.dahlia".into();
    checkup.stripe.has(vec![new]);
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.contains("receives events of Stripe's API version 2026-02-25.dahlia"),
        "{warning}"
    );

    let mut second = endpoint(&checkup.intake);
    second["id"] = "we_2".into();
    checkup.stripe.has(vec![endpoint(&checkup.intake), second]);
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.contains("Stripe sends each event 2 times to"),
        "{warning}"
    );
}

#[tokio::test]
async fn a_tenant_with_an_account_of_its_own_needs_an_endpoint_that_hears_of_it() {
    let checkup = Fixture::new(true).await;
    let catalog = checkup.shop.file(
        "connect.json",
        r#"{"tenants":[{"id":"t-2","slug":"dojo","name":"Dojo","timeZone":"Europe/Oslo","stripeAccount":"acct_dojo",
            "passes":[{"id":"p-1","name":"One","type":"single","classesLimit":1,"price":100,"currency":"nok",
            "validityType":"days","validityDays":9,"stripePriceIds":[],"isActive":true}]}]}"#,
    );
    let imported = checkup
        .shop
        .surepass(&["catalog", "import", catalog.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: no webhook endpoint at Stripe covers the connected accounts of dojo"
    );

    let mut connect = endpoint(&checkup.intake);
    connect["id"] = "we_2".into();
    connect["application"] = "ca_1".into();
    checkup.stripe.has(vec![endpoint(&checkup.intake), connect]);
    let findings = checkup.doctor().await;
    assert_eq!(findings.wrong(), <[String; 0]>::default());
    findings.says("receives every event, for connected accounts");
    findings.says("Stripe/accounts: 1 connected, readable");

    checkup.stripe.has(vec![endpoint(&checkup.intake)]);
    let own = vec![endpoint(&checkup.intake)];
    checkup
        .stripe
        .state()
        .endpoints
        .insert("acct_dojo".to_owned(), own);
    checkup.doctor().await.says("receives every event, of acct_dojo");

    checkup.stripe.state().foreign.push("acct_dojo");
    let wrong = checkup.doctor().await.wrong();
    assert!(
        wrong[0].starts_with("Stripe/account: acct_dojo of dojo:"),
        "{wrong:#?}"
    );
}

/// Waits until a worker has made the passes of purchases that only Stripe's list of undelivered events tells of.
async fn found_by_the_lookback(checkup: &mut Fixture, sessions: &[SampleSession]) {
    let bodies = sessions.iter().map(|session| session.event(COMPLETED, 1));
    let events = bodies.map(|body| serde_json::from_slice(&body).unwrap());
    checkup.stripe.state().undelivered = events.collect();
    checkup.start_scheduled_worker().await;
    let shop = &checkup.shop;
    eventually("the passes, by the lookback", async || {
        shop.fulfilled().await.len() == sessions.len()
    })
    .await;
}

fn of_deliveries(lines: Vec<String>) -> Option<String> {
    let told = lines
        .into_iter()
        .find(|line| line.starts_with("Webhooks/deliveries"))?;
    let (words, _) = told.split_once("cs_test_").unwrap();
    Some(words.to_owned())
}

#[tokio::test]
async fn a_secret_that_is_not_stripes_is_an_error_though_the_lookback_finds_the_purchases() {
    let mut checkup = Fixture::new(false).await;
    let lost = [(); 3].map(|()| checkup.shop.session());
    for session in &lost {
        let secret = "whsec_HemmeligSecretOfStripesThatWeLack";
        assert_eq!(checkup.shop.buy_as(secret, session).await.status, 400);
    }
    found_by_the_lookback(&mut checkup, &lost).await;
    assert_eq!(
        of_deliveries(checkup.doctor().await.wrong()).as_deref(),
        Some(
            "Webhooks/deliveries: no webhook reported the 3 newest purchases: the lookback found them; the newest is "
        )
    );
    // The secret is mended: the next purchase comes by webhook.
    let session = checkup.shop.session();
    checkup
        .shop
        .buy_as("whsec_HemmeligSignaturOfThisEndpoint", &session)
        .await;
    checkup.shop.settled().await;
    let found = checkup.doctor().await;
    assert_eq!(of_deliveries([found.wrong(), found.warnings()].concat()), None);
}

#[tokio::test]
async fn a_newest_purchase_that_no_webhook_reported_is_a_warning() {
    let mut checkup = Fixture::new(false).await;
    let lost = [checkup.shop.session()];
    found_by_the_lookback(&mut checkup, &lost).await;
    let found = checkup.doctor().await;
    assert_eq!(of_deliveries(found.wrong()), None);
    assert_eq!(
        of_deliveries(found.warnings()).as_deref(),
        Some("Webhooks/deliveries: no webhook reported the newest purchase: the lookback found ")
    );
}
