//! Stripe's API, the sign-in service's keys, a collector of spans.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use surepass::up::sample::SampleSession;

use crate::trust::authority::{Authority, Environment, NOT_TRUSTED};
use support::program::{WORKER, awaited, eventually};
use support::shop::{COMPLETED, Shop, WEBHOOK_SECRET, signed};
use support::stripe_faults::{Fake, Reply};

/// A key, as a sign-in service shows it.
const KEYS: &str = r#"{"keys":[{"kty":"RSA","kid":"a","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB"}]}"#;
const NOTHING: &str = r#"{"object":"list","data":[],"has_more":false}"#;

/// A host with a certificate for `localhost`: `/keys` are the sign-in service's, all else is Stripe or a collector.
async fn host(authority: &Authority) -> (Fake, String) {
    let acceptor = authority.certificate(&["localhost"]).acceptor();
    let host = Fake::behind(Some(acceptor), |request, _| {
        let body = if request.target == "/keys" { KEYS } else { NOTHING };
        let date = ("Date", "Mon, 30 Nov 2026 12:00:00 GMT".to_owned());
        Reply::Whole(200, vec![date], body.into())
    });
    let host = host.await;
    let url = format!("https://localhost:{}", host.base.port().unwrap());
    (host, url)
}

#[tokio::test]
async fn a_stripe_of_a_private_ca_never_gets_the_key_and_the_error_says_how_to_fix_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (stripe, url) = host(&authority).await;
    let set = [
        ("STRIPE_API_BASE", url.as_str()),
        ("STRIPE_SECRET_KEY", "rk_test_12345678"),
    ];
    let programs = Environment::new(folder.path(), &set);
    programs.is_not_trusted("Stripe", "connection").await;
    programs.works(&[], &["migrate"]).await;
    let refusal = programs.refusal(&[], &["reconcile"]).await;
    assert!(refusal.contains(NOT_TRUSTED), "{refusal}");
    assert!(stripe.asked().is_empty());
    for trusting in [
        ("SSL_CERT_FILE", authority.file()),
        ("SSL_CERT_DIR", authority.folder()),
    ] {
        let trusting = [(trusting.0, trusting.1.as_str())];
        let [level, message, _] = programs.finding(&trusting, "Stripe", "connection").await;
        assert_eq!((level.as_str(), message), ("ok", format!("{url}/")));
    }
    assert!(!stripe.asked().is_empty());
}

#[tokio::test]
async fn keys_from_a_host_of_a_private_ca_are_not_read_and_the_doctor_and_the_log_say_how_to_fix_it() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (sign_in, url) = host(&authority).await;
    let keys = format!("{url}/keys");
    let programs = Environment::new(folder.path(), &[("SUREPASS_JWKS_URL", &keys)]);
    programs.is_not_trusted("Settings", "sign-in keys").await;
    for trusting in [
        ("SSL_CERT_FILE", authority.file()),
        ("SSL_CERT_DIR", authority.folder()),
    ] {
        let trusting = [(trusting.0, trusting.1.as_str())];
        let [level, message, _] = programs.finding(&trusting, "Settings", "sign-in keys").await;
        assert_eq!((level.as_str(), message.as_str()), ("ok", "1 key read"));
    }

    let mut shop = Shop::empty("").await;
    shop.set("SUREPASS_JWKS_URL", &keys);
    shop.start_server().await;
    ask_as_customer(&shop).await;
    let log = shop.servers[0]
        .program
        .says("SUREPASS_JWKS_URL: the keys could not be read")
        .await;
    assert!(log.contains(NOT_TRUSTED), "{log}");
    let asked = sign_in.asked().len();
    shop.set("SSL_CERT_FILE", &authority.file());
    shop.start_server().await;
    shop.servers.remove(0);
    ask_as_customer(&shop).await;
    shop.servers[0]
        .program
        .says("the sign-in service's keys were read")
        .await;
    assert_eq!(sign_in.asked().len(), asked + 1);
}

/// With a token that nobody has signed.
async fn ask_as_customer(shop: &Shop) {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let token = [
        part(r#"{"alg":"RS256","kid":"a"}"#),
        part(r#"{"sub":"u"}"#),
        part("signature"),
    ]
    .join(".");
    let url = format!("http://{}/api/user/subscriptions", shop.servers[0].address);
    let client = surepass::http_client::http().build().unwrap();
    let answer = client.get(url).bearer_auth(token).send();
    awaited("the answer to a customer", answer).await.unwrap();
}

#[tokio::test]
async fn spans_reach_a_collector_by_https_once_its_ca_is_named() {
    let authority = Authority::new();
    let (collector, url) = host(&authority).await;
    let mut shop = Shop::empty("").await;
    shop.set("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    shop.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    shop.start_server().await;
    buy(&shop).await;
    shop.servers[0].program.says(NOT_TRUSTED).await;
    assert!(collector.asked().is_empty());
    shop.set("SSL_CERT_FILE", &authority.file());
    shop.start_server().await;
    shop.servers.remove(0);
    buy(&shop).await;
    eventually("spans", async || !collector.asked().is_empty()).await;
    assert_eq!(collector.asked()[0].target, "/v1/traces");
}

async fn buy(shop: &Shop) {
    let session = SampleSession::ten_classes("a", surepass::clock::Clock::system().now());
    let body = session.event(COMPLETED, 1);
    let client = surepass::http_client::http().build().unwrap();
    let request = client
        .post(format!("http://{}/webhooks/stripe", shop.servers[0].address))
        .header("Stripe-Signature", signed(WEBHOOK_SECRET, &body))
        .body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_worker_that_cannot_trust_stripe_logs_how_to_fix_it() {
    let authority = Authority::new();
    let (_stripe, url) = host(&authority).await;
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_API_BASE", &url);
    let worker = shop.launch(&WORKER, &[]);
    worker.says(NOT_TRUSTED).await;
}
