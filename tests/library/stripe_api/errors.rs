//! What an error says, and what it never says.

use std::time::Duration;

use surepass::stripe::api::{ClientOptions, SessionFilter, StripeError};

use support::stripe_faults::{Fake, KEY, Reply, client, ok, options, status_with};

async fn error_of(reply: Reply) -> StripeError {
    let fake = Fake::always(reply).await;
    let once = |base: &_| ClientOptions {
        attempts: 1,
        ..options(base)
    };
    let account = client(&fake.base, once).account(None);
    account.session("cs_test_1").await.unwrap_err()
}

#[tokio::test]
async fn errors_are_sorted_into_transient_and_permanent_as_stripe_documents() {
    for permanent in [400, 401, 402, 403, 404, 405, 410, 422] {
        let error = error_of(status_with(permanent, &[], "{}")).await;
        assert_eq!(
            (error.is_transient(), error.status()),
            (false, Some(permanent)),
            "{error}"
        );
    }
    for transient in [408, 409, 425, 429, 500, 502, 503, 504, 301, 307] {
        let error = error_of(status_with(transient, &[], "{}")).await;
        assert_eq!(
            (error.is_transient(), error.status()),
            (true, Some(transient)),
            "{error}"
        );
    }
    let network = [
        Reply::Close,
        Reply::CutOff(b"{}".to_vec()),
        ok("<html>"),
        ok(""),
        ok("[]"),
        Reply::Endless,
    ];
    for reply in network {
        let error = error_of(reply.clone()).await;
        assert_eq!((error.is_transient(), error.status()), (true, None), "{error}");
    }
}

#[tokio::test]
async fn an_error_carries_stripes_code_parameter_and_request_id_and_a_sentence_for_people() {
    let body = r#"{"error":{"type":"invalid_request_error","code":"parameter_unknown","param":"created[gte]",
        "message":"Received unknown parameter for kari@example.com","doc_url":"https://stripe.com/docs"}}"#;
    let error = error_of(status_with(400, &[("Request-Id", "req_AbC123")], body)).await;
    assert_eq!(error.code(), Some("parameter_unknown"));
    assert_eq!(error.param(), Some("created[gte]"));
    assert_eq!(error.request_id(), Some("req_AbC123"));
    assert_eq!(
        error.to_string(),
        "GET /v1/checkout/sessions/…: Stripe refused the request (HTTP 400, invalid_request_error, code \
         parameter_unknown, parameter created[gte], request req_AbC123)"
    );
    let sentences = [
        (
            401,
            "",
            "Stripe refused the key: STRIPE_SECRET_KEY is wrong, expired or revoked",
        ),
        (403, "", "the key may not do this"),
        (
            403,
            "account_invalid",
            "the key has no access to this connected account",
        ),
        (404, "", "is STRIPE_API_BASE right?"),
        (429, "rate_limit", "too many calls for Stripe"),
        (429, "lock_timeout", "Stripe is busy with the same object"),
        (302, "", "Stripe does not redirect"),
        (503, "", "Stripe could not answer"),
    ];
    for (status, code, sentence) in sentences {
        let body = format!(r#"{{"error":{{"code":"{code}"}}}}"#);
        let error = error_of(status_with(status, &[], &body)).await;
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[tokio::test]
async fn an_error_shows_neither_the_key_nor_a_body_nor_what_was_searched_for() {
    let echo = format!(
        r#"{{"error":{{"type":"{KEY}","code":"code-{KEY}","param":"{KEY}","message":"no such key: {KEY}, kari@example.com"}}}}"#
    );
    let replies = [
        status_with(
            401,
            &[("Request-Id", KEY), ("Stripe-Rate-Limited-Reason", KEY)],
            &echo,
        ),
        status_with(500, &[("Request-Id", "kari@example.com")], "kari@example.com"),
        ok(format!("{KEY} kari@example.com")),
        Reply::CutOff(KEY.as_bytes().to_vec()),
        Reply::Close,
    ];
    for reply in replies {
        let fake = Fake::always(reply).await;
        let once = |base: &_| ClientOptions {
            attempts: 1,
            ..options(base)
        };
        let client = client(&fake.base, once);
        let filter = SessionFilter {
            email: Some("kari@example.com".to_owned()),
            ..SessionFilter::default()
        };
        let mut pages = client.account(None).sessions(filter);
        let error = pages.next().await.unwrap_err();
        let shown = format!("{error} {error:?} {client:?} {pages:?}").to_lowercase();
        for secret in [KEY, "kari"] {
            assert!(!shown.contains(&secret.to_lowercase()), "{shown}");
        }
    }
    // Nobody there at all: reqwest's own words would name the address with its query.
    let nobody = "http://127.0.0.1:1".parse().unwrap();
    let once = |base: &_| ClientOptions {
        attempts: 1,
        ..options(base)
    };
    let error = client(&nobody, once)
        .account(None)
        .sessions(SessionFilter {
            email: Some("kari@example.com".to_owned()),
            ..SessionFilter::default()
        })
        .next()
        .await
        .unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(
        !shown.contains("kari") && shown.contains("no connection to Stripe"),
        "{shown}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn of_a_hostile_error_body_only_short_words_are_kept() {
    let long = "a".repeat(10_000);
    let bodies = [
        format!(r#"{{"error":{{"code":"{long}","type":"a\nb","param":"ø"}}}}"#),
        r#"{"error":{"code":7,"type":[],"param":{}}}"#.to_owned(),
        r#"{"error":"no"}"#.to_owned(),
        "[".repeat(60_000),
        format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(200_000)),
    ];
    for body in bodies {
        let headers = [("Request-Id", "spaces are no word"), ("Retry-After", "soon")];
        let error = error_of(status_with(500, &headers, &body)).await;
        assert_eq!(
            (error.code(), error.param(), error.request_id()),
            (None, None, None)
        );
        assert_eq!((error.status(), error.retry_after()), (Some(500), None));
        assert!(error.to_string().len() < 200, "{error}");
    }
}

#[tokio::test]
async fn what_stripe_does_not_have_is_none_and_every_other_404_an_error() {
    let missing = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"session"}}"#;
    let fake = Fake::always(status_with(404, &[], missing)).await;
    let account = fake.account();
    assert_eq!(account.session("cs_1").await.unwrap(), None);
    assert_eq!(account.payment_intent("pi_1").await.unwrap(), None);
    assert_eq!(account.charge("ch_1").await.unwrap(), None);
    let unrecognized = r#"{"error":{"type":"invalid_request_error","message":"Unrecognized request URL"}}"#;
    let error = error_of(status_with(404, &[], unrecognized)).await;
    assert_eq!(
        (error.is_transient(), error.reason()),
        (false, "stripe_not_found")
    );
}

#[tokio::test]
async fn a_refusal_is_one_even_if_its_body_does_not_come() {
    for permanent in [401, 404] {
        let error = error_of(Reply::HeadOf(permanent)).await;
        assert_eq!((error.status(), error.is_transient()), (Some(permanent), false));
    }
}

#[tokio::test]
async fn a_retry_after_beyond_all_reason_is_an_hour() {
    let error = error_of(status_with(503, &[("Retry-After", "999999999")], "{}")).await;
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
}
