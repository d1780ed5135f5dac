//! Which passes a customer holds.

use chrono::TimeDelta;
use reqwest::Method;
use serde_json::json;

use crate::shop::now;
use crate::sign_in::claims;
use crate::studio::{PASSES, Studio, of};

#[tokio::test(flavor = "multi_thread")]
async fn active_and_expired_passes_are_told_as_the_existing_page_expects() {
    let studio = Studio::open().await;
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
    let studio = Studio::open().await;
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
    let verified = studio.sign_in.token("kari").await;
    assert_eq!(count(&verified).await, 1);
    assert_eq!(
        studio.told(&verified, &session.session_id()).await["state"],
        "active"
    );
    let mut unverified = claims("kari");
    unverified["email_verified"] = json!(false);
    let unverified = studio.sign_in.signed("rsa", unverified).await;
    assert_eq!(count(&unverified).await, 0);
    assert_eq!(count(&studio.sign_in.token("ola").await).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_are_told_while_redis_is_away() {
    let mut studio = Studio::open().await;
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
