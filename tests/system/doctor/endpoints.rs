//! What the doctor says of our webhook endpoints at Stripe.

use serde_json::{Value, json};

use crate::doctor::fixture::Fixture;
use crate::doctor::stripe::{endpoint, event};
use support::program::eventually;

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
async fn an_endpoint_that_redirects_is_told_with_its_target() {
    let checkup = Fixture::new(true).await;
    let public = format!("{}/moved", checkup.stripe.url());
    checkup.is_reached_at(&public);
    checkup.stripe.state().moved_to = "https://new.example/webhooks/stripe".to_owned();
    checkup
        .stripe
        .has(vec![endpoint(&format!("{public}/webhooks/stripe"))]);
    let wrong = checkup.doctor().await.only_wrong();
    assert_eq!(
        wrong.replace(&public, "PUBLIC"),
        "Webhooks/endpoint: PUBLIC/webhooks/stripe answers 307 and redirects to https://new.example/webhooks/stripe"
    );
}

#[tokio::test]
async fn a_server_that_has_another_secret_is_told_and_one_that_is_gone_is_a_warning() {
    let mut checkup = Fixture::new(true).await;
    checkup
        .shop
        .set("STRIPE_WEBHOOK_SECRET", "whsec_HemmeligAnotherEndpointsSecret");
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/webhook secret: INTAKE rejects events signed with our webhook secret"
    );
    checkup.shop.servers[0].program.killed().await;
    let warning = checkup.doctor().await.only_warning();
    assert!(
        warning.contains("did not answer a request from this machine"),
        "{warning}"
    );
}

#[tokio::test]
async fn an_answer_that_is_not_ours_is_told() {
    let checkup = Fixture::new(true).await;
    // Stripe's part answers 401 to a request without a key, and not as an intake does.
    let public = checkup.stripe.url();
    checkup.is_reached_at(&public);
    checkup
        .stripe
        .has(vec![endpoint(&format!("{public}/webhooks/stripe"))]);
    let wrong = checkup.doctor().await.only_wrong();
    assert!(
        wrong.ends_with("answers 401, and the answer is not from Surepass"),
        "{wrong}"
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

#[tokio::test]
async fn events_that_do_not_arrive_are_told_and_one_that_has_arrived_is_not() {
    let checkup = Fixture::new(true).await;
    checkup.stripe.state().events = vec![event("evt_lost", 90)];
    let warning = checkup.doctor().await.only_warning();
    assert_eq!(
        warning,
        "Webhooks/deliveries: Stripe's newest purchase event, 90 min old, did not arrive by webhook: evt_lost"
    );

    let body = serde_json::to_vec(&event("evt_lost", 90)).unwrap();
    let header = support::shop::signed("whsec_HemmeligSignaturOfThisEndpoint", &body);
    let answer = checkup.shop.post(body, Some(&header)).await;
    assert_eq!(answer.status, 200);
    checkup.stripe.state().undelivered = vec![event("evt_other", 30)];
    let warning = checkup.doctor().await.only_warning();
    assert_eq!(
        warning,
        "Webhooks/deliveries: Stripe could not deliver 1 purchase events of the last 3 days to one of its endpoints; the newest is \
         evt_other"
    );
}

async fn send(checkup: &Fixture, secret: &str, events: &[Value]) {
    for event in events {
        let body = serde_json::to_vec(event).unwrap();
        let header = support::shop::signed(secret, &body);
        checkup.shop.post(body, Some(&header)).await;
    }
}

#[tokio::test]
async fn a_secret_that_is_not_stripes_is_an_error_though_the_lookback_takes_the_events_in() {
    let mut checkup = Fixture::new(false).await;
    let events: Vec<_> = (1..=3).map(|n| event(&format!("evt_{n}"), 20 + 10 * n)).collect();
    send(&checkup, "whsec_HemmeligSecretOfStripesThatWeLack", &events).await;
    checkup.stripe.state().events = events.clone();
    checkup.stripe.state().undelivered = events.clone();
    checkup.start_scheduled_worker().await;
    let shop = &checkup.shop;
    eventually("the events, by the lookback", async || {
        shop.events().await.len() >= 3
    })
    .await;
    let told = async || {
        let wrong = checkup.doctor().await.wrong();
        wrong.into_iter().find(|line| line.starts_with("Webhooks/"))
    };
    assert_eq!(
        told().await.as_deref(),
        Some(
            "Webhooks/deliveries: none of Stripe's 3 newest purchase events arrived by webhook; the newest is evt_1"
        )
    );
    // The secret is mended, and Stripe sends again what it could not deliver.
    send(&checkup, "whsec_HemmeligSignaturOfThisEndpoint", &events).await;
    assert_eq!(told().await, None);
}

#[tokio::test]
async fn events_of_connected_accounts_that_do_not_arrive_are_told_by_the_endpoint_that_hears_of_them() {
    let checkup = Fixture::new(true).await;
    let tenant = |n: u32| {
        json!({ "id": format!("t-{n}"), "slug": format!("dojo-{n}"), "name": "Dojo", "timeZone": "Europe/Oslo",
            "stripeAccount": format!("acct_{n}"),
            "passes": [{ "id": format!("p-{n}"), "name": "One", "type": "single", "classesLimit": 1, "price": 100,
                "currency": "nok", "validityType": "days", "validityDays": 9, "stripePriceIds": [], "isActive": true }] })
    };
    let catalogue = json!({ "tenants": [tenant(1), tenant(2), tenant(3)] });
    let catalogue = checkup.shop.file("connect.json", &catalogue.to_string());
    let imported = checkup
        .shop
        .surepass(&["catalog", "import", catalogue.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    let mut connect = endpoint(&checkup.intake);
    connect["id"] = "we_2".into();
    connect["application"] = "ca_1".into();
    checkup.stripe.has(vec![endpoint(&checkup.intake), connect]);
    let of = |account: &str, events: Vec<Value>| {
        let mut state = checkup.stripe.state();
        state.events_of.insert(account.to_owned(), events);
    };
    of("acct_1", vec![event("evt_a", 20), event("evt_b", 30)]);
    of("acct_2", vec![event("evt_c", 15)]);
    assert_eq!(
        only_wrong(&checkup).await,
        "Webhooks/deliveries: none of Stripe's 3 newest purchase events of 3 connected accounts arrived by webhook; the \
         newest is evt_c"
    );

    // An endpoint of its own account is another way in, with another secret.
    let mut own = endpoint(&checkup.intake);
    own["id"] = "we_3".into();
    let with_own = vec![own];
    checkup.stripe.has(vec![endpoint(&checkup.intake)]);
    for account in ["acct_1", "acct_2", "acct_3"] {
        let mut state = checkup.stripe.state();
        state.endpoints.insert(account.to_owned(), with_own.clone());
    }
    of(
        "acct_3",
        (1..=6).map(|n| event(&format!("evt_3{n}"), 60 * n)).collect(),
    );
    checkup.stripe.state().endpoints.get_mut("acct_3").unwrap()[0]["id"] = "we_4".into();
    let wrong = checkup.doctor().await.wrong();
    let deliveries: Vec<_> = wrong
        .iter()
        .filter(|line| line.contains("newest purchase"))
        .collect();
    assert_eq!(
        deliveries,
        [
            "Webhooks/deliveries: none of Stripe's 3 newest purchase events of 2 connected accounts arrived by webhook; the \
             newest is evt_c",
            "Webhooks/deliveries: none of Stripe's 5 newest purchase events of acct_3 arrived by webhook; the newest is \
             evt_31"
        ]
    );
}
