//! Calls that are made again, and those that are not.

use std::sync::Arc;
use std::time::Duration;

use surepass::stripe::api::{Client, ClientOptions, Pace, StripeError, http};

use support::stripe_faults::{Fake, PATIENCE, Reply, Told, client, ok, options, status, status_with};

const CHARGE: &str = r#"{"id":"ch_1","object":"charge","amount":100}"#;

#[tokio::test]
async fn what_passes_is_tried_again_until_it_has_passed() {
    let passing = [
        Reply::Close,
        Reply::CutOff(CHARGE.as_bytes().to_vec()),
        ok(&CHARGE[..20]),
        ok("<html>The proxy is busy</html>"),
        status(500),
        status(503),
        status(409),
        status(429),
    ];
    for fault in passing {
        let fake = Fake::in_order(vec![fault.clone(), ok(CHARGE)]).await;
        let charge = fake.account().charge("ch_1").await.unwrap().unwrap();
        assert_eq!((charge.amount, fake.asked().len()), (Some(100), 2), "{fault:?}");
    }
}

#[tokio::test]
async fn attempts_are_all_that_is_made_and_the_last_error_comes_back() {
    let fake = Fake::in_order(vec![
        status(500),
        Reply::Close,
        status_with(503, &[("Request-Id", "req_3")], "{}"),
    ])
    .await;
    let thrice = |base: &_| ClientOptions {
        attempts: 3,
        ..options(base)
    };
    let error = client(&fake.base, thrice)
        .account(None)
        .charge("ch_1")
        .await
        .unwrap_err();
    assert_eq!((error.status(), error.request_id()), (Some(503), Some("req_3")));
    assert!(
        error.is_transient() && error.to_string().contains("3 attempts"),
        "{error}"
    );
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn what_can_never_succeed_is_asked_once() {
    for refusal in [400, 401, 402, 403, 404, 302] {
        let fake = Fake::always(status(refusal)).await;
        fake.account().charge("ch_1").await.unwrap_err();
        assert_eq!(fake.asked().len(), 1, "{refusal}");
    }
}

#[tokio::test]
async fn stripe_should_retry_is_obeyed_before_the_status() {
    let said = |status, retry| status_with(status, &[("Stripe-Should-Retry", retry)], "{}");
    let fake = Fake::always(said(500, "false")).await;
    let error = fake.account().charge("ch_1").await.unwrap_err();
    assert_eq!(fake.asked().len(), 1, "it said no");
    assert!(error.is_transient(), "the job may still come back later");
    let fake = Fake::in_order(vec![said(400, "true"), ok(CHARGE)]).await;
    assert!(
        fake.account().charge("ch_1").await.unwrap().is_some(),
        "it said yes"
    );
}

#[tokio::test]
async fn retry_after_is_waited_for_and_a_long_one_comes_back_at_once_for_the_job_to_be_rescheduled() {
    let fake = Fake::in_order(vec![status_with(503, &[("Retry-After", "1")], "{}"), ok(CHARGE)]).await;
    let began = tokio::time::Instant::now();
    assert!(fake.account().charge("ch_1").await.unwrap().is_some());
    assert!(began.elapsed() >= Duration::from_secs(1), "it said a second");
    let fake = Fake::always(status_with(429, &[("Retry-After", "60")], "{}")).await;
    let error = fake.account().charge("ch_1").await.unwrap_err();
    assert_eq!(
        (fake.asked().len(), error.retry_after()),
        (1, Some(Duration::from_mins(1)))
    );
}

fn paced(fake: &Fake) -> (Client, Arc<Told>) {
    let told = Arc::new(Told::default());
    let pace: Arc<dyn Pace> = told.clone();
    (Client::new(http().unwrap(), options(&fake.base), pace), told)
}

#[tokio::test]
async fn every_attempt_has_its_turn_and_a_429_slows_all_down_but_for_a_lock() {
    let fake = Fake::in_order(vec![
        status_with(429, &[("Retry-After", "1")], r#"{"error":{"code":"rate_limit"}}"#),
        status_with(429, &[], "too many"),
        status_with(429, &[], r#"{"error":{"code":"lock_timeout"}}"#),
        ok(CHARGE),
    ])
    .await;
    let (client, told) = paced(&fake);
    client.account(None).charge("ch_1").await.unwrap();
    assert_eq!(*told.turns.lock().unwrap(), 4);
    assert_eq!(
        *told.slowed.lock().unwrap(),
        [Duration::from_secs(1), Duration::from_secs(1)]
    );
}

#[tokio::test]
async fn a_long_429_slows_all_down_even_though_this_call_gives_up() {
    let fake = Fake::always(status_with(429, &[("Retry-After", "60")], "{}")).await;
    let (client, told) = paced(&fake);
    client.account(None).charge("ch_1").await.unwrap_err();
    assert_eq!(*told.slowed.lock().unwrap(), [Duration::from_mins(1)]);
}

#[derive(Debug)]
struct Full;

#[async_trait::async_trait]
impl Pace for Full {
    async fn turn(&self) -> Result<(), StripeError> {
        Err(StripeError::busy(Duration::from_secs(17)))
    }

    async fn slow_down(&self, _: Duration) {}
}

#[tokio::test]
async fn no_call_is_made_out_of_turn() {
    let fake = Fake::always(ok(CHARGE)).await;
    let client = Client::new(http().unwrap(), options(&fake.base), Arc::new(Full));
    let error = client.account(None).charge("ch_1").await.unwrap_err();
    assert_eq!(
        (error.reason(), error.retry_after()),
        ("stripe_busy", Some(Duration::from_secs(17)))
    );
    assert!(
        error.is_transient() && error.to_string().contains("/v1/charges/…"),
        "{error}"
    );
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_silent_server_and_one_that_drips_are_given_up_after_the_time_out() {
    let hurried = |base: &_| ClientOptions {
        attempts: 2,
        timeout: Duration::from_secs(1),
        ..options(base)
    };
    for fault in [Reply::Hang, Reply::Drip(vec![b' '; 10_000])] {
        let fake = Fake::always(fault.clone()).await;
        let calling = client(&fake.base, hurried).account(None);
        let ended = tokio::time::timeout(PATIENCE, calling.charge("ch_1")).await;
        let error = ended.expect("it does not wait for ever").unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(
            error
                .to_string()
                .contains("did not answer within 1s (2 attempts)"),
            "{error}"
        );
        assert_eq!(fake.asked().len(), 2, "{fault:?}");
    }
}
