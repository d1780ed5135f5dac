//! The contract of `POST /webhooks/stripe`: every answer that it names.

use surepass::stripe::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::raw_http;
use support::answer::Answer;
use support::program::stdout;
use support::shop::{COMPLETED, Shop, WEBHOOK_SECRET, now, signed};

const LIMIT: usize = 1_048_576;

/// The body, made longer by white space at its end: an event all the same.
fn padded(mut body: Vec<u8>, length: usize) -> Vec<u8> {
    body.resize(length, b' ');
    body
}

/// A body framed in two ways: with its length, and in chunks.
fn framings(body: &[u8]) -> [(String, Vec<u8>); 2] {
    let header = signed(WEBHOOK_SECRET, body);
    [
        (
            format!("stripe-signature: {header}\r\ncontent-length: {}\r\n", body.len()),
            body.to_vec(),
        ),
        (
            format!("stripe-signature: {header}\r\ntransfer-encoding: chunked\r\n"),
            raw_http::chunked(body, 10_000),
        ),
    ]
}

#[tokio::test]
async fn every_way_of_being_wrong_is_a_400_with_its_own_code_and_leaves_nothing_behind() {
    let shop = Shop::open().await;
    let body = shop.session().event(COMPLETED, 1);
    let genuine = signed(WEBHOOK_SECRET, &body);
    let stale = sign(&WEBHOOK_SECRET.into(), now().timestamp() - 302, &body);
    let forged = signed("whsec_forged", &body);
    let other_scheme = genuine.replace("v1=", "v0=");
    for (header, code) in [
        (None, "missing_signature"),
        (Some(""), "missing_signature"),
        (Some("who knows"), "malformed_signature"),
        (Some("t=soon,v1=00"), "malformed_signature"),
        (Some(other_scheme.as_str()), "malformed_signature"),
        (Some(forged.as_str()), "invalid_signature"),
        (Some(stale.as_str()), "stale_timestamp"),
    ] {
        let answer = shop.post(body.clone(), header).await;
        assert_eq!(answer.refusal(), (400, code), "{header:?}");
    }
    let mut changed = body.clone();
    changed.push(b'\n');
    assert_eq!(
        shop.post(changed, Some(&genuine)).await.refusal(),
        (400, "invalid_signature")
    );
    for no_event in [
        "",
        "not JSON",
        "[]",
        r#"{"id":"evt_1"}"#,
        r#"{"id":"cs_1","type":"a","data":{"object":{}}}"#,
    ] {
        let answer = shop.deliver(no_event.into()).await;
        assert_eq!(answer.refusal(), (400, "malformed_event"), "{no_event}");
    }
    // Refused requests are counted, never stored.
    let counts = shop.counts().await;
    assert_eq!(
        (counts.waiting, counts.running, counts.done, counts.log),
        (0, 0, 0, 0)
    );
    assert!(shop.events().await.is_empty());
    // And the event itself is not spoilt by it.
    assert_eq!(shop.post(body, Some(&genuine)).await, Answer::accepted());
}

#[tokio::test]
async fn a_signature_of_several_passes_if_one_fits_and_a_future_timestamp_passes() {
    let shop = Shop::open().await;
    let at = now().timestamp();
    let body = shop.session().event(COMPLETED, 1);
    let several = sign(&WEBHOOK_SECRET.into(), at, &body).replace("v1=", "v0=ab,v1=00,v1=");
    assert_eq!(shop.post(body, Some(&several)).await, Answer::accepted());
    for ahead in [60, 3_600] {
        let body = shop.session().event(COMPLETED, 1);
        let future = sign(&WEBHOOK_SECRET.into(), at + ahead, &body);
        assert_eq!(shop.post(body, Some(&future)).await, Answer::accepted());
    }
    let body = shop.session().event(COMPLETED, 1);
    let nearly_stale = sign(&WEBHOOK_SECRET.into(), now().timestamp() - 290, &body);
    assert_eq!(shop.post(body, Some(&nearly_stale)).await, Answer::accepted());
}

#[tokio::test]
async fn two_secrets_hold_while_one_is_being_rolled() {
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_WEBHOOK_SECRET", "whsec_HemmeligOld, whsec_HemmeligNew");
    shop.start_server().await;
    for secret in ["whsec_HemmeligOld", "whsec_HemmeligNew"] {
        let body = shop.session().event(COMPLETED, 1);
        let header = signed(secret, &body);
        assert_eq!(shop.post(body, Some(&header)).await, Answer::accepted());
    }
    let body = shop.session().event(COMPLETED, 1);
    let both = signed("whsec_HemmeligOld, whsec_HemmeligNew", &body);
    assert_eq!(
        shop.post(body, Some(&both)).await.refusal(),
        (400, "invalid_signature")
    );
}

#[tokio::test]
async fn a_body_is_taken_as_it_was_sent_and_signed_whatever_its_headers_say_of_it_and_in_however_many_pieces()
{
    let shop = Shop::open().await;
    let address = shop.servers[0].address;
    for extra in [
        "content-encoding: gzip\r\n",
        "content-type: text/html; charset=utf-16\r\n",
        "",
    ] {
        let body = shop.session().event(COMPLETED, 1);
        let header = signed(WEBHOOK_SECRET, &body);
        let headers = format!("stripe-signature: {header}\r\ntransfer-encoding: chunked\r\n{extra}");
        let (status, answer) = raw_http::post(address, &headers, &raw_http::chunked(&body, 7)).await;
        assert_eq!(status, 200, "{extra} {answer}");
        assert!(
            answer.ends_with(r#"{"received":true,"duplicate":false}"#),
            "{extra} {answer}"
        );
    }
}

#[tokio::test]
async fn a_body_over_1_mib_is_a_413_with_and_without_content_length_and_one_of_1_mib_passes() {
    let shop = Shop::open().await;
    let address = shop.servers[0].address;
    let too_large = padded(shop.session().event(COMPLETED, 1), LIMIT + 1);
    for (headers, framed) in framings(&too_large) {
        let (status, answer) = raw_http::post(address, &headers, &framed).await;
        assert_eq!(status, 413, "{headers} {answer}");
        assert!(answer.contains(r#""code":"body_too_large""#), "{answer}");
    }
    for way in 0..2 {
        let body = padded(shop.session().event(COMPLETED, 1), LIMIT);
        let (headers, framed) = &framings(&body)[way];
        let (status, answer) = raw_http::post(address, headers, framed).await;
        assert_eq!(status, 200, "{headers} {answer}");
        assert!(
            answer.ends_with(r#"{"received":true,"duplicate":false}"#),
            "{answer}"
        );
        // The limit is looked at before the signature, so only here the signature is.
        let unsigned = headers.replace("v1=", "v1=00");
        let (status, answer) = raw_http::post(address, &unsigned, framed).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains("invalid_signature"), "{answer}");
    }
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 2);
}

#[tokio::test]
async fn chunked_bodies_are_taken_however_small_their_chunks() {
    let shop = Shop::open().await;
    let body = shop.session().event(COMPLETED, 1);
    let header = signed(WEBHOOK_SECRET, &body);
    let headers = format!("stripe-signature: {header}\r\ntransfer-encoding: chunked\r\n");
    let (status, answer) =
        raw_http::post(shop.servers[0].address, &headers, &raw_http::chunked(&body, 7)).await;
    assert_eq!(status, 200, "{answer}");
    shop.settled().await;
    assert_eq!(shop.subscriptions().await.len(), 1);
}

#[tokio::test]
async fn a_connection_whose_body_is_not_waited_for_says_that_it_closes() {
    let shop = Shop::open().await;
    let mut connection = TcpStream::connect(shop.servers[0].address).await.unwrap();
    let head = "POST /webhooks/stripe HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

/// The processor time, in the kernel's ticks, that a process' threads have had: those that serve connections, and the
/// others.
fn ticks(pid: i32) -> (u64, u64) {
    let (mut serving, mut others) = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else {
            continue;
        };
        // The name is in brackets and may hold anything; user and system time are the 12th and 13th field after it.
        let (name, rest) = stat.rsplit_once(") ").unwrap();
        let spent = rest.split(' ').skip(11).take(2);
        let spent: u64 = spent.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        let of = if name.contains("actix-rt") {
            &mut serving
        } else {
            &mut others
        };
        *of += spent;
    }
    (serving, others)
}

#[tokio::test]
async fn large_bodies_are_hashed_and_read_off_the_threads_that_serve_small_ones() {
    let shop = Shop::open().await;
    let pid = shop.servers[0].program.pid();
    let before = ticks(pid);
    for _ in 0..30 {
        let large = padded(shop.session().event(COMPLETED, 1), LIMIT);
        assert_eq!(shop.deliver(large).await, Answer::accepted());
    }
    let after = ticks(pid);
    let (serving, others) = (after.0 - before.0, after.1 - before.1);
    // The body itself is received by the thread that serves its connection.
    assert!(others > 3 * serving, "{serving} ticks served, {others} elsewhere");
}

#[tokio::test]
async fn an_event_of_a_type_we_do_not_act_on_is_ignored_and_logged() {
    let shop = Shop::open().await;
    let body = shop.session().event("charge.refunded", 1);
    for _ in 0..2 {
        assert_eq!(shop.deliver(body.clone()).await, Answer::ignored());
    }
    shop.settled().await;
    let events = shop.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].kind.as_str(), events[0].outcome.as_str()),
        ("charge.refunded", "ignored: other_event_type")
    );
    assert_eq!(shop.counts().await.done, 0);
}

#[tokio::test]
async fn what_is_no_webhook_gets_no_200() {
    let shop = Shop::open().await;
    assert_eq!(shop.get(0, "/webhooks/stripe").await, 405);
    assert_eq!(shop.get(0, "/healthz").await, 200);
    assert_eq!(shop.get(0, "/readyz").await, 200);
    // It is on an address of its own.
    assert_eq!(shop.get(0, "/metrics").await, 404);
    assert_eq!(shop.get(0, "/nowhere").await, 404);
}

/// Stripe's thin events and its Workbench's ping hold no object. A 4xx for days would have Stripe disable the endpoint.
#[tokio::test]
async fn a_thin_event_is_ignored_logged_and_told_by_the_doctor() {
    let shop = Shop::open().await;
    for event in [
        include_str!("cases/01-event-destination-ping.json"),
        include_str!("cases/01b-thin-account-event.json"),
        r#"{"id":"evt_bare","type":"checkout.session.completed"}"#,
    ] {
        assert_eq!(shop.deliver(event.into()).await, Answer::ignored(), "{event}");
    }
    shop.settled().await;
    let events = shop.events().await;
    assert_eq!(events.len(), 3);
    assert!(
        events.iter().all(|event| event.outcome == "ignored: thin_event"),
        "{events:?}"
    );
    let doctor = shop.surepass(&["doctor"]).await;
    let told = stdout(&doctor);
    assert!(told.contains("thin"), "{told}");
}

#[tokio::test]
async fn rule_3_an_event_whose_context_is_another_account_is_parked_and_never_fulfilled() {
    let shop = Shop::open().await;
    let event = include_str!("cases/20-context-of-another-account.json");
    let event = event
        .replace("tenant-a", "tenant-1")
        .replace("p-multi", "pass-10");
    assert_eq!(shop.deliver(event.into_bytes()).await, Answer::accepted());
    shop.settled().await;
    assert!(shop.subscriptions().await.is_empty());
    let death = shop.queue().death("fulfil:cs_test_ctx1").await.unwrap();
    assert_eq!(death.as_deref(), Some("tenant_mismatch"));
}
