//! What browsers do: pages of other sites, cookies.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use crate::fixture::{Fixture, PASSES, Reply, SESSION, SYNC, UNAUTHORIZED};
use crate::sign_in::claims_with;
use support::shop::now;

const SHOP: &str = "https://shop.example.com";
const EVIL: &str = "https://evil.example.com";

fn preflight(studio: &Fixture, origin: &str) -> RequestBuilder {
    studio
        .request(Method::OPTIONS, SYNC)
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header(
            "Access-Control-Request-Headers",
            "authorization,content-type,x-tenant-slug",
        )
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_configured_origins_may_call_and_others_may_not_read() {
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let token = studio.sign_in.token("kari").await;
    let allowed = studio.send(preflight(&studio, SHOP)).await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), Some(SHOP));
    assert_eq!(allowed.header("access-control-allow-credentials"), Some("true"));
    let headers = allowed
        .header("access-control-allow-headers")
        .unwrap()
        .to_lowercase();
    assert!(
        headers.contains("authorization") && headers.contains("x-tenant-slug"),
        "{headers}"
    );
    let refused = studio.send(preflight(&studio, EVIL)).await;
    assert_eq!(refused.header("access-control-allow-origin"), None);

    let call = async |origin: &str, token: &str| {
        let request = studio.request(Method::GET, PASSES).header("Origin", origin);
        let request = request.bearer_auth(token).header("x-tenant-slug", "studio");
        studio.send(request).await
    };
    let answer = call(SHOP, &token).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some(SHOP))
    );
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // Its page must be able to read why it was refused.
    let answer = call(SHOP, "bad").await;
    assert_eq!(
        (answer.refusal(), answer.header("access-control-allow-origin")),
        (UNAUTHORIZED, Some(SHOP))
    );
    assert_eq!(
        call(EVIL, &token).await.header("access-control-allow-origin"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_configured_origins_no_other_site_may_call() {
    let studio = Fixture::open_with("").await;
    let refused = studio.send(preflight(&studio, SHOP)).await;
    assert_eq!(refused.header("access-control-allow-origin"), None);
}

impl Fixture {
    async fn begin_session(&self, token: &str, host: &str) -> Reply {
        let request = self.request(Method::POST, SESSION).header("Host", host);
        self.send(request.bearer_auth(token)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_once_into_a_cookie_that_no_script_reads_and_that_lives_no_longer_than_it() {
    let studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let begun = studio.begin_session(&token, "passes.example.com").await;
    assert_eq!(begun.status, 204);
    let cookie = begun.header("set-cookie").unwrap();
    let mut parts: Vec<_> = cookie.split("; ").collect();
    assert_eq!(parts.remove(0), format!("__Host-surepass={token}"));
    parts.sort_unstable();
    let age: i64 = parts
        .iter()
        .find_map(|part| part.strip_prefix("Max-Age="))
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=300).contains(&age), "{age}");
    parts.retain(|part| !part.starts_with("Max-Age="));
    assert_eq!(parts, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    // A token of a day makes a cookie of an hour.
    let long = claims_with("kari", "exp", json!(now().timestamp() + 86_400));
    let long = studio.sign_in.signed("rsa", long).await;
    let begun = studio.begin_session(&long, "passes.example.com").await;
    assert!(begun.header("set-cookie").unwrap().contains("Max-Age=3600"));

    assert_eq!(
        studio.begin_session("bad", "passes.example.com").await.refusal(),
        UNAUTHORIZED
    );
    let cookie = format!("__Host-surepass={token}");
    let prolonged = studio.request(Method::POST, SESSION).header("Cookie", &cookie);
    let prolonged = prolonged.header("Host", "passes.example.com");
    assert_eq!(
        studio.send(prolonged).await.refusal(),
        UNAUTHORIZED,
        "a cookie cannot prolong itself"
    );
    let ended = studio.send(studio.request(Method::DELETE, SESSION)).await;
    assert!(ended.header("set-cookie").unwrap().contains("Max-Age=0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_lets_in_its_own_pages_and_no_other_sites_page_can_use_it() {
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let token = studio.sign_in.token("kari").await;
    let begun = studio.begin_session(&token, "localhost").await;
    let cookie = begun.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("surepass=") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let call = async |method: Method, path: &str, headers: &[(&str, &str)]| {
        let mut request = studio
            .request(method, path)
            .header("Host", "localhost")
            .header("Cookie", cookie)
            .header("x-tenant-slug", "studio");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        studio.send(request).await
    };
    assert_eq!(call(Method::GET, PASSES, &[]).await.status, 200);
    let status = crate::fixture::STATUS;
    let fine: [&[(&str, &str)]; 4] = [
        &[("Origin", "http://localhost")],
        &[("Origin", "https://localhost"), ("X-Forwarded-Proto", "https")],
        &[("Origin", SHOP)],
        &[("Sec-Fetch-Site", "same-origin")],
    ];
    for headers in fine {
        // 400: it was let in, and names no session.
        assert_eq!(
            call(Method::POST, status, headers).await.refusal(),
            (400, "Session ID required")
        );
    }
    let forged: [&[(&str, &str)]; 11] = [
        &[("Origin", "file://localhost")],
        &[("Origin", "https://localhost")],
        &[("Origin", "http://localhost"), ("X-Forwarded-Proto", "https")],
        &[("Origin", "file://localhost"), ("X-Forwarded-Proto", "file")],
        &[("Origin", "http://localhost:81")],
        &[],
        &[("Origin", EVIL)],
        &[("Origin", "null")],
        &[("Origin", "http://localhost.evil.example.com")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Origin", EVIL), ("Sec-Fetch-Site", "same-origin")],
    ];
    for headers in forged {
        for path in [status, SYNC] {
            assert_eq!(call(Method::POST, path, headers).await.status, 403, "{headers:?}");
        }
    }
    // Who sends the token itself is no browser that was tricked.
    let request = studio.request(Method::POST, status).header("Origin", EVIL);
    let request = request.bearer_auth(&token).header("x-tenant-slug", "studio");
    assert_eq!(studio.send(request).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_that_writes_host_anew_the_public_address_tells_whose_page_calls() {
    const PUBLIC: &str = "https://passes.example.com";

    let mut studio = Fixture::prepare("").await;
    studio.shop.set("SUREPASS_PUBLIC_URL", PUBLIC);
    studio.shop.start_server().await;
    let said = studio.shop.servers[0].program.said();
    assert!(said.contains("customers.address_header is empty"), "{said}");
    let token = studio.sign_in.token("kari").await;
    // As nginx does where it is told nothing.
    let begun = studio.begin_session(&token, "127.0.0.1:8080").await;
    let cookie = begun.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("__Host-surepass=") && cookie.contains("Secure"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let post = async |origin: &str| {
        let request = studio
            .request(Method::POST, crate::fixture::STATUS)
            .header("Host", "127.0.0.1:8080")
            .header("Origin", origin)
            .header("Cookie", cookie)
            .header("x-tenant-slug", "studio");
        studio.send(request).await.status
    };
    // 400: it was let in, and names no session.
    assert_eq!(post(PUBLIC).await, 400);
    for other in [
        EVIL,
        "http://passes.example.com",
        "https://passes.example.com.evil.example.com",
        "https://passes.example.com:8443",
        "file://passes.example.com",
        "null",
        // The host is the one that was called, and not our public address.
        "http://127.0.0.1:8080",
        "https://127.0.0.1:8080",
        "file://127.0.0.1:8080",
    ] {
        assert_eq!(post(other).await, 403, "{other}");
    }
}
