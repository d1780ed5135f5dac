//! The demo's shop, as Surepass meets it. How a customer buys there, the system's tests tell.

use chrono::DateTime;
use secrecy::SecretString;
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::identity::{Identity, IdentityOptions, TokenError};

use support::program::{Program, command, run, stderr};
use support::stripe_sandbox::SANDBOX;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn a_token_tells_surepass_who_the_customer_is_for_fifteen_minutes_and_a_minute_of_leeway() {
    let arguments = [
        ["--bind", "127.0.0.1:0"],
        ["--shop", "127.0.0.1:0"],
        ["--surepass", "http://127.0.0.1:1"],
        ["--jwt-issuer", "https://id.example.com/"],
        ["--jwt-audience", "studio"],
        ["--now", "2026-01-02T03:04:05Z"],
    ];
    let secret = ("SUREPASS_JWT_SECRET".to_owned(), SECRET.to_owned());
    let program = Program::start(command(&SANDBOX, arguments.as_flattened(), &[secret]));
    let line = program.says("the shop is at ").await;
    let shop = line.trim_start_matches("the shop is at ");
    let client = surepass::http_client::http().build().unwrap();
    let token = async |query: &str| {
        let answer = client.get(format!("{shop}/token{query}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let ada = token("").await;
    let guest = token("?user=user_guest&email=guest%40example.com").await;

    let signed = DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap();
    let read = async |token: &str, secret: &str, seconds: i64| {
        let settings = Settings::load_from(|_| None).unwrap().customers;
        let options = IdentityOptions {
            secret: Some(SecretString::from(secret)),
            issuer: Some("https://id.example.com/".to_owned()),
            audience: Some("studio".to_owned()),
            ..settings.identity_options()
        };
        let now = signed.to_utc() + chrono::TimeDelta::seconds(seconds);
        let identity = Identity::new(options, client.clone(), Clock::new(move || now));
        identity.verify(token).await
    };
    let who = |customer: surepass::identity::Customer| (customer.id, customer.verified_email);
    // The sandbox's clock has gone on while the test was on its way, by less than a minute.
    let customer = read(&ada, SECRET, 15 * 60 + 59).await.unwrap();
    assert_eq!(
        who(customer),
        ("user_ada".to_owned(), Some("ada@example.com".into()))
    );
    let customer = read(&guest, SECRET, 60).await.unwrap();
    assert_eq!(
        who(customer),
        ("user_guest".to_owned(), Some("guest@example.com".into()))
    );
    assert_eq!(read(&ada, SECRET, 17 * 60).await, Err(TokenError::Expired));
    let other = "fedcba9876543210fedcba9876543210";
    assert_eq!(read(&ada, other, 0).await, Err(TokenError::Signature));
}

#[tokio::test]
async fn a_shop_needs_the_address_of_surepass_and_the_secret() {
    let ended = run(command(&SANDBOX, &["--shop", "127.0.0.1:0"], &[])).await;
    assert_eq!(ended.status.code(), Some(2));
    let error = stderr(&ended);
    assert!(
        error.contains("--surepass") && error.contains("--jwt-secret"),
        "{error}"
    );
}
