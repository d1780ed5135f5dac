//! Which passes a customer holds.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{Fixture, PASSES, UNAUTHORIZED, of};
use crate::sign_in::claims;
use support::shop::now;

#[tokio::test(flavor = "multi_thread")]
async fn active_and_expired_passes_are_told_as_the_existing_page_expects() {
    let studio = Fixture::open().await;
    let active = of(studio.shop.session(), "kari");
    let mut expired = of(studio.shop.session(), "kari");
    expired.created = now() - TimeDelta::days(200);
    let others = of(studio.shop.session(), "ola");
    let mut unlimited = of(studio.shop.session(), "kari")
        .with("passId", Some("pass-month"))
        .with("passName", None);
    unlimited.amount = 99_050;
    for session in [&active, &expired, &others, &unlimited] {
        studio.shop.buy(session).await;
    }
    studio.shop.settled().await;
    let token = studio.sign_in.token("kari").await;
    let passes = studio.passes(&token).await;
    let find = |list: &str, session: &str| {
        let id = format!("subscription-{session}");
        let all = passes[list].as_array().unwrap();
        all.iter()
            .find(|one| one["_id"] == json!(id))
            .cloned()
            .unwrap_or_else(|| panic!("{passes:#}"))
    };
    assert_eq!(passes["activeSubscriptions"].as_array().unwrap().len(), 2);
    assert_eq!(passes["expiredSubscriptions"].as_array().unwrap().len(), 1);
    let told = find("activeSubscriptions", &active.session_id());
    for (name, value) in [
        ("type", json!("clipcard")),
        ("passName", json!("10 classes")),
        ("remainingClips", json!(10)),
        ("isActive", json!(true)),
        ("purchasePrice", json!(1500)),
        ("daysRemaining", json!(90)),
        ("isExpired", json!(false)),
        ("originalPass", json!({"name": "10 classes", "type": "multi"})),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    let told = find("activeSubscriptions", &unlimited.session_id());
    assert!(told.get("remainingClips").is_none(), "{told}");
    assert_eq!(
        (&told["type"], &told["purchasePrice"]),
        (&json!("monthly"), &json!(990.5))
    );
    let told = find("expiredSubscriptions", &expired.session_id());
    assert_eq!(
        (&told["isExpired"], &told["daysRemaining"]),
        (&json!(true), &json!(0))
    );

    let nobody = studio.sign_in.token("nobody").await;
    let empty = json!({"activeSubscriptions": [], "expiredSubscriptions": [], "timeZone": "Europe/Oslo"});
    assert_eq!(studio.passes(&nobody).await, empty);
    let elsewhere = studio.request(Method::GET, PASSES).bearer_auth(&token);
    let elsewhere = studio.send(elsewhere.header("x-tenant-slug", "other")).await;
    assert_eq!(elsewhere.body, empty, "at another school they hold nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_was_bought_with_an_email_alone_is_theirs_who_have_it_verified() {
    let studio = Fixture::open().await;
    let mut session = studio.shop.session().with("userId", None);
    session.email = "Kari@Example.com".to_owned();
    studio.shop.buy(&session).await;
    studio.shop.settled().await;
    let count = async |token: &str| {
        studio.passes(token).await["activeSubscriptions"]
            .as_array()
            .unwrap()
            .len()
    };
    let of = async |user: &str, email: &str, is_verified: bool| {
        let mut claims = claims(user);
        claims["email"] = json!(email);
        claims["email_verified"] = json!(is_verified);
        studio.sign_in.signed("rsa", claims).await
    };
    let unverified = of("kari", "kari@example.com", false).await;
    assert_eq!(count(&unverified).await, 0);
    assert_eq!(count(&studio.sign_in.token("ola").await).await, 0);
    let kelvin = of("mallory", "\u{212a}ari@example.com", true).await;
    assert_eq!(count(&kelvin).await, 0, "another address");
    assert_eq!(
        studio.told(&kelvin, &session.session_id()).await["state"],
        "unknown"
    );
    let verified = studio.sign_in.token("kari").await;
    assert_eq!(count(&verified).await, 1);
    assert_eq!(
        studio.told(&verified, &session.session_id()).await["state"],
        "active"
    );
    // The pass is kari's account's from then on, and so is what a guest buys with that email later.
    assert_eq!(count(&unverified).await, 1);
    let mut later = studio.shop.session().with("userId", None);
    later.email = "kari@EXAMPLE.com".to_owned();
    studio.shop.buy(&later).await;
    studio.shop.settled().await;
    assert_eq!(count(&verified).await, 2);
    let second = of("kari-again", "kari@example.com", true).await;
    assert_eq!(count(&second).await, 0, "a later prover gets none of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_email_typed_by_another_account_leads_nobody_elses_purchase_to_it() {
    let studio = Fixture::open().await;
    let victim = "victim@example.com".to_owned();
    let mut bait = of(studio.shop.session(), "evil");
    bait.email.clone_from(&victim);
    let mut guests = studio.shop.session().with("userId", None);
    guests.email = victim;
    for session in [&bait, &guests] {
        studio.shop.buy(session).await;
        studio.shop.settled().await;
    }
    let held = async |token: &str| {
        let passes = studio.passes(token).await;
        passes["activeSubscriptions"].as_array().unwrap().len()
    };
    assert_eq!(held(&studio.sign_in.token("evil").await).await, 1, "their own");
    // Nor does a token that has a guest's id for its subject.
    let made_up = surepass::guest::of_email("tenant-1", "victim@example.com");
    let old = surepass::guest::old_of_email("victim@example.com").remove(0);
    for id in [made_up, old] {
        let token = studio.sign_in.token(&id).await;
        let reply = studio.call(&token, Method::GET, PASSES, None).await;
        assert_eq!(reply.refusal(), UNAUTHORIZED);
    }
    assert_eq!(held(&studio.sign_in.token("victim").await).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_are_told_while_redis_is_away() {
    let mut studio = Fixture::open().await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    studio.shop.settled().await;
    let token = studio.sign_in.token("kari").await;
    studio.shop.kill_redis().await;
    let passes = studio.passes(&token).await;
    assert_eq!(passes["activeSubscriptions"].as_array().unwrap().len(), 1);
    assert_eq!(
        studio.told(&token, &session.session_id()).await["state"],
        "active"
    );
    // What only the queue could tell is no "unknown".
    let reply = studio.status(&token, "cs_test_unknown").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.header("retry-after").is_some());
    studio.shop.restart_redis().await;
}
