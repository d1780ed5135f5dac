//! Whose token it is.

use serde_json::{Value, json};

use crate::fixture::{Fixture, PASSES, SECRET, UNAUTHORIZED};
use crate::sign_in::{Manner, claims, claims_with};
use support::program::eventually;
use support::shop::now;

impl Fixture {
    /// The answer to a list of passes with this token.
    async fn ask(&self, token: &str) -> crate::fixture::Reply {
        self.call(token, reqwest::Method::GET, PASSES, None).await
    }

    async fn assert_refused(&self, order: Value, why: &str) {
        let token = self.sign_in.token_of(order).await;
        assert_eq!(self.ask(&token).await.refusal(), UNAUTHORIZED, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_of_hs256_rs256_and_es256_are_taken() {
    let studio = Fixture::open_with("").await;
    let claims = claims("kari");
    for order in [
        json!({"sign": "rsa", "claims": claims}),
        json!({"sign": "ec", "claims": claims}),
        json!({"secret": SECRET, "claims": claims}),
        // Their services differ: several audiences, a token type, no key id.
        json!({"sign": "ec", "claims": claims_with("kari", "aud", json!(["else", "studio"]))}),
        json!({"sign": "rsa", "claims": claims, "header": {"typ": "at+jwt"}}),
        json!({"sign": "rsa", "claims": claims, "header": {"kid": null}}),
        // Within the leeway of a minute.
        json!({"sign": "rsa", "claims": claims_with("kari", "exp", json!(now().timestamp() - 30))}),
        json!({"sign": "rsa", "claims": claims_with("kari", "nbf", json!(now().timestamp() + 30))}),
    ] {
        let token = studio.sign_in.token_of(order.clone()).await;
        let reply = studio.ask(&token).await;
        assert_eq!(reply.status, 200, "{order}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exp_nbf_iss_and_aud_are_checked() {
    let studio = Fixture::open_with("").await;
    let (now, gone) = (now().timestamp(), Value::Null);
    for key in ["rsa", "ec", "secret"] {
        for (name, value) in [
            ("exp", json!(now - 61)),
            ("exp", gone.clone()),
            ("exp", json!("never")),
            ("nbf", json!(now + 90)),
            ("nbf", json!("now")),
            ("iss", json!("https://evil.example.com/")),
            ("iss", gone.clone()),
            ("aud", json!("another")),
            ("aud", json!(["another"])),
            ("aud", gone.clone()),
            ("sub", gone.clone()),
            ("sub", json!("")),
            ("sub", json!(7)),
        ] {
            let claims = claims_with("kari", name, value.clone());
            let order = match key {
                "secret" => json!({"secret": SECRET, "claims": claims}),
                key => json!({"sign": key, "claims": claims}),
            };
            studio
                .assert_refused(order, &format!("{key}: {name} {value}"))
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_key_without_a_signature_or_signed_with_the_public_key_is_refused() {
    let studio = Fixture::open_with("").await;
    let claims = claims("kari");
    // Its name is a known one, its key is not.
    studio.sign_in.secret_key("forged", "RS256").await;
    studio.sign_in.secret_key("wide", "RS512").await;
    studio.sign_in.secret_key("other curve", "ES384").await;
    for (order, why) in [
        (
            json!({"sign": "forged", "claims": claims, "header": {"kid": "rsa"}}),
            "wrong key",
        ),
        (json!({"sign": "forged", "claims": claims}), "unknown key"),
        (
            json!({"sign": "forged", "claims": claims, "header": {"kid": null}}),
            "no key id",
        ),
        (
            json!({"sign": "ec", "claims": claims, "header": {"kid": "rsa"}}),
            "a key of another kind",
        ),
        (
            json!({"secret": "another secret that is long enough", "claims": claims}),
            "wrong secret",
        ),
        (
            json!({"secret": SECRET, "claims": claims, "header": {"alg": "HS512"}}),
            "HS512",
        ),
        (json!({"unsigned": claims}), "alg none"),
        (
            json!({"confused": "rsa", "claims": claims}),
            "HS256 with the RSA public key",
        ),
        (
            json!({"confused": "ec", "claims": claims}),
            "HS256 with the EC public key",
        ),
        (
            json!({"sign": "wide", "claims": claims, "header": {"kid": "rsa"}}),
            "RS512",
        ),
        (
            json!({"sign": "other curve", "claims": claims, "header": {"kid": "ec"}}),
            "ES384",
        ),
    ] {
        studio.assert_refused(order, why).await;
    }
    let token = studio.sign_in.token("kari").await;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = head.split_once('.').unwrap();
    let other = studio.sign_in.token("ola").await;
    let others_payload = other.split('.').nth(1).unwrap();
    for forged in [
        format!("{header}.{others_payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{}", &signature[1..]),
        String::from("null"),
    ] {
        assert_eq!(studio.ask(&forged).await.refusal(), UNAUTHORIZED, "{forged}");
    }
    assert_eq!(studio.ask(&token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_alone_no_key_counts_and_with_a_jwks_alone_no_secret_does() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("SUREPASS_JWKS_URL", "");
    studio.shop.start_server().await;
    let by_key = studio.sign_in.token("kari").await;
    let by_secret = json!({"secret": SECRET, "claims": claims("kari")});
    let by_secret = studio.sign_in.token_of(by_secret).await;
    assert_eq!(studio.ask(&by_key).await.refusal(), UNAUTHORIZED);
    assert_eq!(studio.ask(&by_secret).await.status, 200);

    studio.shop.set("SUREPASS_JWKS_URL", &studio.sign_in.jwks_url());
    studio.shop.set("SUREPASS_JWT_SECRET", "");
    studio.shop.start_server().await;
    studio.shop.servers.swap(0, 1);
    assert_eq!(studio.ask(&by_key).await.status, 200);
    assert_eq!(studio.ask(&by_secret).await.refusal(), UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_to_verify_tokens_customer_routes_answer_503_with_the_reason() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("SUREPASS_JWKS_URL", "");
    studio.shop.set("SUREPASS_JWT_SECRET", "");
    studio.shop.start_server().await;
    let token = studio.sign_in.token("kari").await;
    for reply in [
        studio.ask(&token).await,
        studio.ask("").await,
        studio.status(&token, "cs_test_1").await,
        studio.sync(&token).await,
    ] {
        let (status, reason) = reply.refusal();
        assert_eq!(status, 503);
        assert!(
            reason.contains("SUREPASS_JWT_SECRET") && reason.contains("SUREPASS_JWKS_URL"),
            "{reason}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_an_old_one_goes_and_made_up_keys_make_the_host_asked_at_a_limited_rate() {
    let studio = Fixture::open_with("").await;
    let old = studio.sign_in.token("kari").await;
    assert_eq!(studio.ask(&old).await.status, 200);
    assert_eq!(studio.sign_in.asked(), 1);

    // The service begins to use a new key, and withdraws the old one.
    studio.sign_in.new_key("new", "RS256").await;
    studio.sign_in.tell_only(&["new"]);
    let new = studio.sign_in.signed("new", claims("kari")).await;
    let began = std::time::Instant::now();
    eventually("the new key is found", async || {
        studio.ask(&new).await.status == 200
    })
    .await;
    assert_eq!(studio.ask(&old).await.refusal(), UNAUTHORIZED);

    studio.sign_in.secret_key("forged", "RS256").await;
    for name in 0..50 {
        let order =
            json!({"sign": "forged", "claims": claims("kari"), "header": {"kid": format!("k{name}")}});
        studio.assert_refused(order, "a made-up key").await;
    }
    // Once in five seconds, and the first time of all.
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() / 5 + 2;
    assert!(
        studio.sign_in.asked() <= most,
        "asked {} times",
        studio.sign_in.asked()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_jwks_host_is_down_the_keys_known_go_on_and_none_known_is_503() {
    let mut studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    studio.sign_in.goes_down().await;
    let reply = studio.ask(&token).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some());

    studio.sign_in.comes_up().await;
    eventually("the host is asked again", async || {
        studio.ask(&token).await.status == 200
    })
    .await;

    studio.sign_in.goes_down().await;
    assert_eq!(studio.ask(&token).await.status, 200);
    // Its key is not known, and cannot be asked for: that is no reason to be let in.
    studio.sign_in.secret_key("forged", "RS256").await;
    studio
        .assert_refused(json!({"sign": "forged", "claims": claims("kari")}), "unknown key")
        .await;
    assert_eq!(studio.ask(&token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_can_be_guessed_stops_the_start_and_is_never_shown() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("SUREPASS_JWT_SECRET", "HemmeligKort");
    let mut server = studio.shop.launch_server();
    server.says("SUREPASS_JWT_SECRET is shorter than 32 bytes").await;
    assert_eq!(server.ended().await.code(), Some(1));
    studio.shop.bury(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwks_host_that_is_silent_endless_or_sends_elsewhere_gives_no_keys_and_stops_nothing() {
    let mut studio = Fixture::prepare("").await;
    let by_key = studio.sign_in.token("kari").await;
    let by_secret = json!({"secret": SECRET, "claims": claims("kari")});
    let by_secret = studio.sign_in.token_of(by_secret).await;
    for manner in [
        Manner::Huge,
        Manner::Silent,
        Manner::Elsewhere,
        Manner::Sorry,
        Manner::Odd,
    ] {
        studio.sign_in.answers(manner);
        // A server that has not read them yet.
        studio.shop.start_server().await;
        let newest = studio.shop.servers.len() - 1;
        studio.shop.servers.swap(0, newest);
        assert_eq!(studio.ask(&by_key).await.status, 503, "{manner:?}");
        assert_eq!(studio.ask(&by_secret).await.status, 200, "{manner:?}");
    }
    studio.sign_in.answers(Manner::Good);
    studio.shop.start_server().await;
    let newest = studio.shop.servers.len() - 1;
    studio.shop.servers.swap(0, newest);
    assert_eq!(studio.ask(&by_key).await.status, 200);
}
