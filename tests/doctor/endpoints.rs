//! What the doctor says of our webhook endpoints at Stripe.

use serde_json::json;

use crate::checkup::Checkup;
use crate::stripe::{endpoint, event};

/// The doctor's words, with the address of this test's server as `INTAKE`.
async fn only_wrong(checkup: &Checkup) -> String {
    let wrong = checkup.doctor().await.only_wrong();
    wrong.replace(&checkup.intake, "INTAKE")
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_or_lacks_events_is_told() {
    let checkup = Checkup::new(true).await;
    let mut disabled = endpoint(&checkup.intake);
    disabled["status"] = "disabled".into();
    checkup.stripe.has(vec![disabled]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: Stripe has disabled the webhook endpoint INTAKE: it sends nothing there"
    );

    let mut deaf = endpoint(&checkup.intake);
    deaf["enabled_events"] = json!(["checkout.session.completed", "charge.refunded"]);
    checkup.stripe.has(vec![deaf]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/events: the webhook endpoint INTAKE does not get checkout.session.async_payment_succeeded"
    );

    let mut enough = endpoint(&checkup.intake);
    enough["enabled_events"] = json!(surepass::lookback::audit::NEEDED);
    checkup.stripe.has(vec![enough]);
    let warning = checkup.doctor().await.only_warning();
    assert!(warning.ends_with("charge.refunded and 8 more"), "{warning}");
}

#[tokio::test]
async fn an_endpoint_that_is_missing_or_nearly_ours_is_told() {
    let checkup = Checkup::new(true).await;
    checkup
        .stripe
        .has(vec![endpoint("https://elsewhere.example/webhooks/stripe")]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: no webhook endpoint at Stripe hears of studio"
    );
    checkup
        .stripe
        .has(vec![endpoint(&format!("{}/", checkup.intake))]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: a webhook endpoint at Stripe is registered as INTAKE/, which is not quite ours"
    );
}

#[tokio::test]
async fn an_endpoint_that_redirects_is_told_with_its_target() {
    let checkup = Checkup::new(true).await;
    let public = format!("{}/moved", checkup.stripe.url());
    checkup.is_reached_at(&public);
    checkup.stripe.state().moved_to = "https://new.example/webhooks/stripe".to_owned();
    checkup
        .stripe
        .has(vec![endpoint(&format!("{public}/webhooks/stripe"))]);
    let wrong = checkup.doctor().await.only_wrong();
    assert_eq!(
        wrong.replace(&public, "PUBLIC"),
        "Webhooks/endpoint: PUBLIC/webhooks/stripe answers 307 and sends on to https://new.example/webhooks/stripe"
    );
}

#[tokio::test]
async fn a_server_that_has_another_secret_is_told_and_one_that_is_gone_is_a_warning() {
    let mut checkup = Checkup::new(true).await;
    checkup
        .shop
        .set("STRIPE_WEBHOOK_SECRET", "whsec_HemmeligAnotherEndpointsSecret");
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/webhook secret: INTAKE does not take what is signed with our webhook secret"
    );
    checkup.shop.servers[0].program.killed().await;
    let warning = checkup.doctor().await.only_warning();
    assert!(warning.contains("did not answer this machine"), "{warning}");
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_told() {
    let checkup = Checkup::new(true).await;
    // Stripe's part answers 401 to a request without a key, and not as an intake does.
    let public = checkup.stripe.url();
    checkup.is_reached_at(&public);
    checkup
        .stripe
        .has(vec![endpoint(&format!("{public}/webhooks/stripe"))]);
    let wrong = checkup.doctor().await.only_wrong();
    assert!(wrong.ends_with("answers 401, not as Surepass does"), "{wrong}");
}

#[tokio::test]
async fn an_endpoint_of_an_api_version_that_is_not_tested_or_that_is_there_twice_is_a_warning() {
    let checkup = Checkup::new(true).await;
    let mut new = endpoint(&checkup.intake);
    new["api_version"] = "2026-02-25.dahlia".into();
    checkup.stripe.has(vec![new]);
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.contains("gets events of Stripe's API 2026-02-25.dahlia"),
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
    let checkup = Checkup::new(true).await;
    let catalogue = checkup.shop.file(
        "connect.json",
        r#"{"tenants":[{"id":"t-2","slug":"dojo","name":"Dojo","timeZone":"Europe/Oslo","stripeAccount":"acct_dojo",
            "passes":[{"id":"p-1","name":"One","type":"single","classesLimit":1,"price":100,"currency":"nok",
            "validityType":"days","validityDays":9,"stripePriceIds":[],"isActive":true}]}]}"#,
    );
    let imported = checkup
        .shop
        .surepass(&["catalog", "import", catalogue.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/endpoint: no webhook endpoint at Stripe hears of the connected accounts of dojo"
    );

    let mut connect = endpoint(&checkup.intake);
    connect["id"] = "we_2".into();
    connect["application"] = "ca_1".into();
    checkup.stripe.has(vec![endpoint(&checkup.intake), connect]);
    let findings = checkup.doctor().await;
    assert_eq!(findings.wrong(), <[String; 0]>::default());
    findings.says("gets every event, for connected accounts");
    findings.says("Stripe/accounts: 1 connected: can be read");

    checkup.stripe.has(vec![endpoint(&checkup.intake)]);
    let own = vec![endpoint(&checkup.intake)];
    checkup
        .stripe
        .state()
        .endpoints
        .insert("acct_dojo".to_owned(), own);
    checkup.doctor().await.says("gets every event, of acct_dojo");

    checkup.stripe.state().foreign.push("acct_dojo");
    let wrong = checkup.doctor().await.wrong();
    assert!(
        wrong[0].starts_with("Stripe/account: acct_dojo of dojo:"),
        "{wrong:#?}"
    );
}

#[tokio::test]
async fn events_that_do_not_arrive_are_told_and_one_that_has_arrived_is_not() {
    let checkup = Checkup::new(true).await;
    checkup.stripe.state().events = vec![event("evt_lost", 90)];
    let warning = checkup.doctor().await.only_warning();
    assert_eq!(
        warning,
        "Webhooks/deliveries: Stripe's newest purchase event, 90 min old, has not come in: evt_lost"
    );

    let body = serde_json::to_vec(&event("evt_lost", 90)).unwrap();
    let header = crate::shop::signed("whsec_HemmeligSignaturOfThisEndpoint", &body);
    let answer = checkup.shop.post(body, Some(&header)).await;
    assert_eq!(answer.status, 200);
    checkup.stripe.state().undelivered = vec![event("evt_other", 30)];
    let warning = checkup.doctor().await.only_warning();
    assert_eq!(
        warning,
        "Webhooks/deliveries: Stripe could not deliver 1 purchase events of the last 3 days to some endpoint, the newest \
         evt_other"
    );
}
