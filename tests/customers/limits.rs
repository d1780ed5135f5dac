//! How often one may call.

use reqwest::Method;
use serde_json::json;

use crate::fixture::{Fixture, PASSES, Reply, UNAUTHORIZED};

fn assert_limited(reply: &Reply) {
    assert_eq!(reply.refusal(), (429, "Too many requests"));
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_has_a_limit_that_all_servers_count_together() {
    let mut studio = Fixture::open_with("requests_per_minute = 6").await;
    studio.shop.start_server().await;
    let kari = studio.sign_in.token("kari").await;
    let mut refused = None;
    // Three at once, and one more each ten seconds.
    for _ in 0..8 {
        let reply = studio.call(&kari, Method::GET, PASSES, None).await;
        studio.shop.servers.swap(0, 1);
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.status, 200);
    }
    assert_limited(&refused.expect("refused in the end"));
    let ola = studio.sign_in.token("ola").await;
    assert_eq!(studio.call(&ola, Method::GET, PASSES, None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_has_a_limit_and_bad_tokens_count() {
    let studio =
        Fixture::open_with("address_requests_per_minute = 6\naddress_header = \"X-Forwarded-For\"").await;
    let knock = async |address: &str| {
        let request = studio.request(Method::GET, PASSES).bearer_auth("not.a.token");
        studio.send(request.header("X-Forwarded-For", address)).await
    };
    let mut refused = None;
    for nth in 0..8 {
        // Who calls may have written the rest; the last is the proxy's own.
        let reply = knock(&format!("203.0.113.{nth}, 192.0.2.7")).await;
        if reply.status == 429 {
            refused = Some(reply);
            break;
        }
        assert_eq!(reply.refusal(), UNAUTHORIZED);
    }
    assert_limited(&refused.expect("refused in the end"));
    assert_eq!(knock("192.0.2.7, 192.0.2.8").await.refusal(), UNAUTHORIZED);
    // Some gateways add the port.
    assert_limited(&knock("192.0.2.7:50123").await);
    // One subscriber's network of IPv6 addresses is one.
    let mut last = 0;
    for nth in 0..8 {
        last = knock(&format!("2001:db8:1:2::{nth}")).await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
    // Whom the proxy does not name is counted as who connects, and not let through uncounted.
    for _ in 0..8 {
        let request = studio.request(Method::GET, PASSES).bearer_auth("not.a.token");
        last = studio.send(request).await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_up_sessions_does_not_keep_stripe_busy() {
    let studio = Fixture::open_with("asks_per_minute = 4\nrequests_per_minute = 1000").await;
    let token = studio.sign_in.token("kari").await;
    let mut asked = 0;
    for nth in 0..20 {
        let session = format!("cs_test_madeup{nth}");
        let told = studio.told(&token, &session).await;
        assert_eq!(
            (&told["found"], &told["state"]),
            (&json!(false), &json!("unknown"))
        );
        asked += studio.stripe.reads(&session).await;
    }
    // Two at once, and one each 15 s: far from twenty however slow this machine is.
    assert!((1..20).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_said_is_told_however_often_a_page_asks() {
    let studio = Fixture::open_with("asks_per_minute = 2").await;
    let token = studio.sign_in.token("kari").await;
    let session = studio.stripe.session("kari", "expired").await;
    for _ in 0..20 {
        assert_eq!(studio.told(&token, &session).await["state"], "expired");
    }
    assert_eq!(studio.stripe.reads(&session).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_verified_only_after_its_address_has_been_counted() {
    let studio = Fixture::open_with("address_requests_per_minute = 2").await;
    let token = studio.sign_in.token("kari").await;
    let mut last = 0;
    for _ in 0..8 {
        last = studio.send(studio.request(Method::GET, PASSES)).await.status;
        if last == 429 {
            break;
        }
    }
    assert_eq!(last, 429);
    assert_limited(&studio.call(&token, Method::GET, PASSES, None).await);
    // The keys are read when the first token is verified.
    assert_eq!(studio.sign_in.asked(), 0);
}
