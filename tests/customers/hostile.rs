//! Bodies and headers of those who try.

use reqwest::Method;
use serde_json::json;

use crate::fixture::{Fixture, PASSES, STATUS, SYNC, UNAUTHORIZED};

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_the_contracts() {
    let studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    for (method, path) in [
        (Method::POST, STATUS),
        (Method::POST, SYNC),
        (Method::GET, PASSES),
    ] {
        let request = |slug: Option<&str>, token: Option<&str>| {
            let mut request = studio.request(method.clone(), path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            match slug {
                Some(slug) => request.header("x-tenant-slug", slug),
                None => request,
            }
        };
        let refusal = async |slug: Option<&str>, token: Option<&str>| {
            let reply = studio.send(request(slug, token)).await;
            (reply.status, reply.body.clone())
        };
        let error = |text: &str| json!({"error": text});
        assert_eq!(
            refusal(Some("studio"), None).await,
            (401, error("Unauthorized")),
            "{path}"
        );
        assert_eq!(
            refusal(Some("studio"), Some("x")).await,
            (401, error("Unauthorized")),
            "{path}"
        );
        assert_eq!(
            refusal(None, Some(&token)).await,
            (400, error("Tenant slug required")),
            "{path}"
        );
        assert_eq!(
            refusal(Some(" "), Some(&token)).await,
            (400, error("Tenant slug required")),
            "{path}"
        );
        for slug in [
            "nowhere",
            "Studio",
            "tenant-1",
            "studio' OR '1'='1",
            &"s".repeat(5_000),
        ] {
            assert_eq!(
                refusal(Some(slug), Some(&token)).await,
                (404, error("Tenant not found")),
                "{path}"
            );
        }
    }
    let reply = studio.call(&token, Method::GET, "/api/user/nothing", None).await;
    assert_eq!(reply.refusal(), (404, "Not found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_names_no_session_is_400_and_a_huge_one_413() {
    let studio = Fixture::open_with("requests_per_minute = 10000").await;
    let token = studio.sign_in.token("kari").await;
    let post = async |body: Vec<u8>| {
        let request = studio.request(Method::POST, STATUS).bearer_auth(&token);
        studio
            .send(request.header("x-tenant-slug", "studio").body(body))
            .await
    };
    let deep = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let long = format!(r#"{{"sessionId":"cs_{}"}}"#, "x".repeat(300));
    let bodies = [
        "",
        "null",
        "{}",
        "[]",
        "7",
        "{\"sessionId\":null}",
        "{\"sessionId\":7}",
        "{\"sessionId\":\"\"}",
        "{\"sessionId\":[\"cs_test_1\"]}",
        "{\"sessionId\":\"pi_123\"}",
        "{\"sessionId\":\"cs_\"}",
        "{\"sessionId\":\"cs_test_1/../../events\"}",
        "{\"sessionId\":\"cs_test_1?expand=a\"}",
        "{\"sessionId\":\"cs_test_1} {x\"}",
        "{\"sessionId\":\"cs_test_\\u0000\"}",
        "{\"sessionId\":\"cs_tést\"}",
        "{\"sessionId\":\"cs_test_1\"",
        "sessionId=cs_test_1",
        &deep,
        &long,
    ];
    for body in bodies {
        let reply = post(body.as_bytes().to_vec()).await;
        assert_eq!(reply.refusal(), (400, "Session ID required"), "{body:.80}");
    }
    assert_eq!(post(vec![0xff; 64]).await.refusal(), (400, "Session ID required"));
    assert_eq!(post(vec![b' '; 5_000]).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_that_is_no_bearer_token_is_401() {
    let studio = Fixture::open_with("requests_per_minute = 10000").await;
    let token = studio.sign_in.token("kari").await;
    let with = async |values: &[Vec<u8>]| {
        let mut request = studio
            .request(Method::GET, PASSES)
            .header("x-tenant-slug", "studio");
        for value in values {
            request = request.header("Authorization", value.as_slice());
        }
        studio.send(request).await
    };
    assert_eq!(with(&[format!("bEARER {token}").into_bytes()]).await.status, 200);
    let long = format!("Bearer {}", "a.".repeat(8_000)).into_bytes();
    for values in [
        vec![b"Bearer".to_vec()],
        vec![b"Bearer ".to_vec()],
        vec![b"Basic a2FyaTprYXJp".to_vec()],
        vec![token.clone().into_bytes()],
        vec![b"Bearer \xc3\xa9.\xff.x".to_vec()],
        vec![b"Bearer a.b.c".to_vec()],
        vec![b"Bearer e30.e30.".to_vec()],
        vec![format!("Bearer {token}, Bearer {token}").into_bytes()],
        vec![
            format!("Bearer {token}").into_bytes(),
            format!("Bearer {token}").into_bytes(),
        ],
        vec![long],
    ] {
        let reply = with(&values).await;
        assert_eq!(
            reply.refusal(),
            UNAUTHORIZED,
            "{:.60}",
            String::from_utf8_lossy(&values[0])
        );
    }
    // A token has no business in an address, where logs and histories keep it.
    let path = format!("{PASSES}?token={token}&access_token={token}");
    let request = studio
        .request(Method::GET, &path)
        .header("x-tenant-slug", "studio");
    assert_eq!(studio.send(request).await.refusal(), UNAUTHORIZED);
    let said = studio.shop.servers[0].program.said();
    let signature = token.rsplit('.').next().unwrap();
    assert!(!said.contains(signature), "a token is in the log");
}
