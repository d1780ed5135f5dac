//! Bodies that are no answer of Stripe's, or too much of one.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use surepass::stripe::api::{ClientOptions, SessionFilter};

use support::stripe_faults::{Fake, KEY, Reply, client, ok, options, status_with};

fn once(base: &url::Url) -> ClientOptions {
    ClientOptions {
        attempts: 1,
        ..options(base)
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zipped(body: Vec<u8>) -> Reply {
    Reply::Whole(200, vec![("Content-Encoding", "gzip".to_owned())], body)
}

#[tokio::test]
async fn a_zipped_answer_is_read_and_a_broken_one_is_a_passing_error() {
    let zip = gzip(br#"{"id":"ch_1","amount":100}"#);
    let fake = Fake::always(zipped(zip.clone())).await;
    let charge = client(&fake.base, once)
        .account(None)
        .charge("ch_1")
        .await
        .unwrap();
    assert_eq!(charge.unwrap().amount, Some(100));
    for broken in [zip[..zip.len() / 2].to_vec(), b"no zip".to_vec()] {
        let fake = Fake::always(zipped(broken)).await;
        let error = client(&fake.base, once)
            .account(None)
            .charge("ch_1")
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test]
async fn no_answer_takes_more_memory_than_32_mib_zipped_or_not() {
    // 64 kB on the wire, 64 MiB behind it.
    let bomb = zipped(gzip(&vec![b' '; 64 << 20]));
    for giant in [Reply::Endless, bomb] {
        let fake = Fake::always(giant).await;
        let error = client(&fake.base, once)
            .account(None)
            .charge("ch_1")
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("longer than 33554432 bytes"),
            "{error}"
        );
        assert_eq!(fake.asked().len(), 1, "it would be as long again");
    }
}

#[tokio::test]
async fn an_answer_of_success_that_is_no_list_of_stripes_is_an_error_and_never_an_empty_list() {
    let bodies = [
        "",
        "null",
        "<html>Welcome to the airport's Wi-Fi</html>",
        r#"{"object":"list","data":[]}"#,
        r#"{"object":"list","has_more":false}"#,
        r#"{"object":"list","data":{},"has_more":false}"#,
        r#"{"object":"list","data":[],"has_more":"no"}"#,
        r#"{"object":"list","data":[],"has_more":false"#,
        r#"{"error":{}}"#,
    ];
    for body in bodies {
        let fake = Fake::always(ok(body)).await;
        let mut pages = client(&fake.base, once)
            .account(None)
            .sessions(SessionFilter::default());
        let error = pages.next().await.unwrap_err();
        assert!(error.is_transient(), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_so_nobody_else_gets_the_key() {
    let thief = Fake::always(ok("{}")).await;
    let location = [("Location", thief.base.as_str())];
    for status in [301, 302, 303, 307, 308] {
        let fake = Fake::always(status_with(status, &location, "{}")).await;
        let error = fake.account().charge("ch_1").await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(
            fake.asked()[0].header("authorization"),
            Some(format!("Bearer {KEY}").as_str())
        );
    }
    assert!(thief.asked().is_empty());
}
