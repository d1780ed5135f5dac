//! What goes over the wire.

use chrono::DateTime;
use surepass::stripe::api::{API_VERSION, EventFilter, SessionFilter};

use support::stripe_faults::{Fake, KEY, client, ok, options, status_with};

const EMPTY: &str = r#"{"object":"list","data":[],"has_more":false}"#;

#[tokio::test]
async fn a_call_names_the_key_the_pinned_version_and_the_connected_account() {
    let fake = Fake::always(ok(EMPTY)).await;
    let client = client(&fake.base, options);
    for account in [Some("acct_1School"), None] {
        let account = client.account(account);
        account.sessions(SessionFilter::default()).next().await.unwrap();
    }
    let asked = fake.asked();
    let header = |name| asked[0].header(name);
    assert_eq!(header("authorization"), Some(format!("Bearer {KEY}").as_str()));
    assert_eq!(header("stripe-version"), Some(API_VERSION));
    assert_eq!(header("stripe-account"), Some("acct_1School"));
    assert_eq!(header("accept-encoding"), Some("gzip"));
    assert!(header("user-agent").unwrap().starts_with("surepass/"));
    assert_eq!(
        asked[1].header("stripe-account"),
        None,
        "the platform's own account is not named"
    );
}

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    let fake = Fake::always(ok(EMPTY)).await;
    let account = fake.account();
    for _ in 0..5 {
        account.sessions(SessionFilter::default()).next().await.unwrap();
    }
    let connections: Vec<_> = fake.asked().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [1; 5]);
}

#[tokio::test]
async fn a_filter_becomes_stripes_parameters() {
    let fake = Fake::always(ok(EMPTY)).await;
    let account = fake.account();
    let sessions = SessionFilter {
        created_from: DateTime::from_timestamp(1_760_000_000, 0),
        created_before: DateTime::from_timestamp(1_762_592_000, 0),
        customer: Some("cus_1".to_owned()),
        email: Some("kari+1@example.com".to_owned()),
        payment_intent: Some("pi_1".to_owned()),
        status: Some("complete".to_owned()),
        starting_after: Some("cs_0".to_owned()),
        expand_line_items: true,
        expand_payment: true,
    };
    account.sessions(sessions).next().await.unwrap();
    let events = EventFilter {
        types: vec![
            "checkout.session.completed".to_owned(),
            "charge.refunded".to_owned(),
        ],
        delivery_success: Some(false),
        starting_after: Some("evt_0".to_owned()),
        ..EventFilter::default()
    };
    account.events(events).page_size(7).next().await.unwrap();
    account.webhook_endpoints().next().await.unwrap();
    let asked: Vec<String> = fake
        .asked()
        .iter()
        .map(|request| {
            let pairs = request
                .url
                .query_pairs()
                .map(|(name, value)| format!("{name}={value}"));
            format!("{} {}", request.url.path(), pairs.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        asked,
        [
            "/v1/checkout/sessions created[gte]=1760000000 created[lt]=1762592000 customer=cus_1 \
             customer_details[email]=kari+1@example.com payment_intent=pi_1 status=complete expand[]=data.line_items \
             expand[]=data.payment_intent.latest_charge limit=100 starting_after=cs_0",
            "/v1/events types[]=checkout.session.completed types[]=charge.refunded delivery_success=false limit=7 \
             starting_after=evt_0",
            "/v1/webhook_endpoints limit=100",
        ]
    );
}

#[tokio::test]
async fn whatever_an_id_holds_it_stays_one_segment_of_the_path() {
    let missing = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"id"}}"#;
    let fake = Fake::always(status_with(404, &[], missing)).await;
    let account = fake.account();
    let hostile = [
        ("cs_1/../../customers", "cs_1%2F..%2F..%2Fcustomers"),
        ("cs_1?expand[]=customer", "cs_1%3Fexpand[]=customer"),
        ("cs_1#a", "cs_1%23a"),
        ("%2e%2e", "%252e%252e"),
        ("kari@example.com", "kari@example.com"),
        ("ø", "%C3%B8"),
        ("..\\x", "..%5Cx"),
    ];
    for (id, segment) in hostile {
        assert_eq!(account.charge(id).await.unwrap(), None, "{id}");
        let asked = fake.asked().last().unwrap().target.clone();
        assert_eq!(asked, format!("/v1/charges/{segment}"), "{id}");
    }
    let before = fake.asked().len();
    let long = "a".repeat(256);
    for id in [
        "",
        ".",
        "..",
        "cs_1\r\nHost: elsewhere",
        "cs\0",
        "\u{7f}",
        long.as_str(),
    ] {
        let error = account.charge(id).await.unwrap_err();
        assert!(!error.is_transient(), "{id:?}: {error}");
        assert_eq!(error.reason(), "stripe_request");
    }
    assert_eq!(fake.asked().len(), before, "what cannot be an id is never sent");
}

#[tokio::test]
async fn an_api_below_a_path_is_found_there() {
    let fake = Fake::always(ok(EMPTY)).await;
    for base in ["proxy/stripe", "proxy/stripe/", "proxy/stripe/?x=1#y"] {
        let account = client(&fake.base.join(base).unwrap(), options).account(None);
        account.webhook_endpoints().next().await.unwrap();
    }
    for request in fake.asked() {
        assert_eq!(request.target, "/proxy/stripe/v1/webhook_endpoints?limit=100");
    }
    let nowhere = "data:text/plain,a".parse().unwrap();
    let error = client(&nowhere, options)
        .account(None)
        .charge("ch_1")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("STRIPE_API_BASE"), "{error}");
}

#[tokio::test]
async fn neither_a_key_nor_an_account_can_smuggle_a_header() {
    let fake = Fake::always(ok(EMPTY)).await;
    let account = client(&fake.base, options).account(Some("acct_1\r\nX-A: b"));
    let error = account.charge("ch_1").await.unwrap_err();
    assert!(
        !error.is_transient() && error.to_string().contains("account"),
        "{error}"
    );
    let broken = |base: &_| surepass::stripe::api::ClientOptions {
        key: "rk_test_\nX".into(),
        ..options(base)
    };
    let error = client(&fake.base, broken)
        .account(None)
        .charge("ch_1")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("STRIPE_SECRET_KEY"), "{error}");
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn stripes_clock_is_read_off_a_cheap_call() {
    let date = [("Date", "Mon, 23 Nov 2026 23:00:07 GMT")];
    let fake = Fake::in_order(vec![status_with(200, &date, EMPTY), ok(EMPTY)]).await;
    let account = fake.account();
    let time = account.server_time().await.unwrap();
    assert_eq!(time.to_rfc3339(), "2026-11-23T23:00:07+00:00");
    assert_eq!(fake.asked()[0].query("limit").as_deref(), Some("1"));
    assert!(
        account.server_time().await.is_err(),
        "an answer without a date tells no time"
    );
}
