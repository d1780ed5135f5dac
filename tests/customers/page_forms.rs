//! The page's forms: "Missing Pass?", and the sign-in from a shop on another site.

use reqwest::Method;
use serde_json::json;
use support::program::eventually;

use crate::fixture::{Fixture, SESSION, SYNC};
use crate::reader::{ACTIVE, PAGE, Reader, hold};
use crate::sign_in::claims_with;
use support::shop::now;

const SHOP: &str = "https://shop.example.com";
const EVIL: &str = "https://evil.example.com";

#[tokio::test(flavor = "multi_thread")]
async fn missing_pass_without_a_script_brings_the_pass_and_the_page_says_what_came_of_it() {
    let studio = Fixture::open_with("syncs_per_minute = 100").await;
    let _worker = working(&studio).await;
    let kari = Reader::signed_in(&studio, "kari")
        .await
        .sending("Accept-Language", "en");
    let press = async |kari: &Reader| {
        let seen = kari.get(PAGE).await;
        let action = seen
            .attribute("form[data-missing][method=post]", "action")
            .unwrap();
        let sent = kari.submit(kari.own_origin(), &action, &[]).await;
        assert_eq!(
            (sent.status, sent.header("cache-control")),
            (303, "no-store"),
            "{}",
            sent.html
        );
        let back = sent.header("location").to_owned();
        let seen = kari.get(&back).await;
        (back, seen)
    };
    let (back, seen) = press(&kari).await;
    assert_eq!(back, "/studio/subscriptions?sync=none");
    assert_eq!(
        seen.message(),
        "ℹ️ We found no other payments in the last 30 days. Paid with a different email? Sign in with that one, or contact the shop."
    );
    for _ in 0..2 {
        studio.stripe.session("kari", "paid").await;
    }
    let (back, seen) = press(&kari).await;
    assert_eq!(back, "/studio/subscriptions?sync=found&n=2");
    assert_eq!(seen.message(), "✅ Found and activated 2 missing pass(es)!");
    assert_eq!(seen.passes(ACTIVE).len(), 2);
    let (back, seen) = press(&kari).await;
    assert_eq!(back, "/studio/subscriptions?sync=already");
    assert_eq!(seen.message(), "✅ All your passes are here.");
    // The language that was chosen is kept on the way.
    let sent = kari
        .submit(kari.own_origin(), "/studio/subscriptions?lang=nb", &[])
        .await;
    assert_eq!(
        sent.header("location"),
        "/studio/subscriptions?sync=already&lang=nb"
    );
    assert_eq!(
        kari.get(sent.header("location")).await.message(),
        "✅ Alle kortene dine er her."
    );
    let odd = kari.get("/studio/subscriptions?sync=%3Cscript%3E&n=2").await;
    assert_eq!(odd.message(), "");
}

async fn working(studio: &Fixture) -> support::program::Program {
    let worker = studio.shop.launch_worker(&[]);
    worker.says(r#""message":"working""#).await;
    worker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_cannot_sync_a_customer_and_one_without_a_token_is_sent_to_sign_in() {
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let kari = Reader::signed_in(&studio, "kari").await;
    for origin in [EVIL, "null", "http://127.0.0.1.evil.example.com"] {
        let sent = kari.submit(origin, PAGE, &[]).await;
        assert_eq!(
            (sent.status, sent.text("h1")),
            (403, "Please try again".to_owned())
        );
    }
    let sent = kari.send(Method::POST, PAGE, None).await;
    assert_eq!(sent.status, 403, "a browser tells where a form comes from");
    let runs = studio.shop.store().await.lookback().runs(10).await.unwrap();
    assert!(runs.is_empty(), "{runs:?}");

    let stranger = Reader::stranger(&studio);
    let sent = stranger.submit(stranger.own_origin(), PAGE, &[]).await;
    assert_eq!((sent.status, sent.header("location")), (303, PAGE));
    assert_eq!(stranger.get(PAGE).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_goes_on_is_told_to_and_too_many_are_429() {
    let studio = Fixture::open_with("syncs_per_minute = 2").await;
    let kari = Reader::signed_in(&studio, "kari").await;
    // Without a worker.
    let sent = kari.submit(kari.own_origin(), PAGE, &[]).await;
    assert_eq!(sent.header("location"), "/studio/subscriptions?sync=working");
    let seen = kari.get(sent.header("location")).await;
    assert_eq!(
        seen.message(),
        "🔄 We are still checking your payments. Missing passes appear here by themselves."
    );
    let sent = kari.submit(kari.own_origin(), PAGE, &[]).await;
    assert_eq!(
        (sent.status, sent.text("h1")),
        (429, "One moment, please".to_owned())
    );
    assert!(sent.header("retry-after").parse::<u32>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_cannot_be_is_told_to_have_failed_beside_the_passes() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("STRIPE_SECRET_KEY", "");
    studio.shop.start_server().await;
    hold(&studio, "kari", "held", |_| {}).await;
    let kari = Reader::signed_in(&studio, "kari").await;
    let sent = kari.submit(kari.own_origin(), PAGE, &[]).await;
    assert_eq!(
        (sent.status, sent.header("location")),
        (303, "/studio/subscriptions?sync=failed")
    );
    let seen = kari.get(sent.header("location")).await;
    assert_eq!(
        seen.message(),
        "❌ Your payments are safe, but we couldn't check them just now. Please try again in a minute, or contact the shop."
    );
    assert_eq!(seen.passes(ACTIVE).len(), 1);
    studio.shop.kill_redis().await;
    let sent = kari.submit(kari.own_origin(), PAGE, &[]).await;
    assert_eq!(sent.header("location"), "/studio/subscriptions?sync=failed");
    studio.shop.restart_redis().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_on_another_site_signs_its_customer_in_by_a_form_and_no_other_site_can() {
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let token = studio.sign_in.token("kari").await;
    let stranger = Reader::stranger(&studio);
    let next = "/studio/subscriptions?success=true&session_id=cs_test_1";
    let form = [("token", token.as_str()), ("next", next)];
    for origin in [SHOP, stranger.own_origin()] {
        let sent = stranger.submit(origin, SESSION, &form).await;
        assert_eq!(
            (sent.status, sent.header("location")),
            (303, next),
            "{}",
            sent.html
        );
        assert_eq!(sent.header("cache-control"), "no-store");
        let cookie = sent.header("set-cookie");
        assert!(
            cookie.starts_with(&format!("surepass={token};")) && cookie.contains("HttpOnly"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap();
        let signed_in = Reader::stranger(&studio).sending("Cookie", cookie);
        assert_eq!(signed_in.get(sent.header("location")).await.status, 200);
    }
    // Else any site could sign its visitors in as somebody else.
    for origin in [EVIL, "null", "https://shop.example.com.evil.example.com"] {
        let sent = stranger.submit(origin, SESSION, &form).await;
        assert_eq!((sent.status, sent.header("set-cookie")), (403, ""), "{origin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_that_points_elsewhere_and_a_token_that_is_none_sign_nobody_in() {
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let token = studio.sign_in.token("kari").await;
    let stranger = Reader::stranger(&studio);
    let send = async |form: &[(&str, &str)]| {
        let sent = stranger.submit(SHOP, SESSION, form).await;
        assert_eq!(
            (sent.header("set-cookie"), sent.header("location")),
            ("", ""),
            "{form:?}"
        );
        (sent.status, sent.text("h1"))
    };
    for next in [
        "https://evil.example.com/",
        "//evil.example.com",
        "/\\evil.example.com",
        "/.//evil.example.com",
        "",
    ] {
        let refused = send(&[("token", &token), ("next", next)]).await;
        assert_eq!(refused, (400, "That did not work".to_owned()), "{next}");
    }
    let large = "x".repeat(100_000);
    let odd: [&[(&str, &str)]; 4] = [
        &[("token", &token)],
        &[("next", PAGE)],
        &[("token", &large), ("next", PAGE)],
        &[],
    ];
    for form in odd {
        assert_eq!(send(form).await.0, 400);
    }
    let expired = claims_with("kari", "exp", json!(now().timestamp() - 120));
    let expired = studio.sign_in.signed("rsa", expired).await;
    for token in ["", "rubbish", &expired] {
        let refused = send(&[("token", token), ("next", PAGE)]).await;
        assert_eq!(refused, (401, "Please sign in".to_owned()), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_syncs_quietly_at_most_once_a_minute_and_asking_again_tells_what_it_came_to() {
    let studio = Fixture::open().await;
    let session = studio.stripe.session("kari", "paid").await;
    let kari = Reader::signed_in(&studio, "kari").await;
    assert_eq!(kari.get(PAGE).await.passes(ACTIVE).len(), 0);
    let token = studio.sign_in.token("kari").await;
    let quiet = async || {
        let reply = studio
            .call(&token, Method::POST, SYNC, Some(json!({"quiet": true})))
            .await;
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body
    };
    // The visit alone has begun it.
    let told = quiet().await;
    assert_eq!(told["createdCount"], 1, "{told}");
    let another = studio.stripe.session("kari", "paid").await;
    for _ in 0..3 {
        assert_eq!(quiet().await, told, "told again, and nothing is done");
        kari.get(PAGE).await;
    }
    let runs = async || {
        let runs = studio.shop.store().await.lookback().runs(10).await.unwrap();
        runs.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(runs().await.len(), 1);
    assert_eq!(studio.shop.fulfilled().await, std::slice::from_ref(&session));
    let via = &studio.shop.subscriptions().await[0]["createdVia"];
    assert_eq!(via, "lookback");
    // Another customer's minute is their own, and the button is never quiet.
    Reader::signed_in(&studio, "ola").await.get(PAGE).await;
    eventually("ola's run", async || runs().await.len() >= 2).await;
    let told = studio.sync(&token).await.body;
    assert_eq!(
        (&told["createdCount"], &told["skippedCount"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    let mut all = [session, another];
    all.sort();
    assert_eq!(studio.shop.fulfilled().await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_syncs_that_are_asked_for_at_once_are_one_run() {
    let mut studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    studio.stripe.session("kari", "paid").await;
    studio.shop.start_worker().await;
    let ask = || studio.call(&token, Method::POST, SYNC, Some(json!({"quiet": true})));
    let answers = futures::future::join_all((0..8).map(|_| ask())).await;
    for answer in answers {
        assert_eq!(
            (answer.status, &answer.body["createdCount"]),
            (200, &json!(1)),
            "{answer:?}"
        );
    }
    let runs = studio.shop.store().await.lookback().runs(10).await.unwrap();
    assert_eq!(runs.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_visits_one_tenant_after_the_other_is_synced_with_a_few_a_minute_only() {
    let studio = Fixture::open_with("").await;
    let tenants: Vec<_> = (0..20)
        .map(|nth| {
            json!({"id": format!("shop-{nth}"), "slug": format!("shop-{nth}"), "name": "A shop", "timeZone": "Europe/Oslo",
                "webhookSecrets": [], "stripeAccount": null, "passes": []})
        })
        .collect();
    let file = json!({ "tenants": tenants }).to_string();
    let file = studio.shop.file("many.json", &file);
    let imported = studio
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    let kari = Reader::signed_in(&studio, "kari").await;
    for nth in 0..20 {
        kari.get(&format!("/shop-{nth}/subscriptions")).await;
    }
    let runs = studio.shop.store().await.lookback().runs(100).await.unwrap();
    // Three at once, and one each ten seconds, however slow this machine is.
    assert!((3..12).contains(&runs.len()), "{} runs", runs.len());
    // It is told to be under way rather than refused: nobody has pressed anything.
    let token = studio.sign_in.token("kari").await;
    let request = studio
        .request(Method::POST, SYNC)
        .bearer_auth(&token)
        .header("x-tenant-slug", "shop-19")
        .json(&json!({"quiet": true}));
    let reply = studio.send(request).await;
    assert_eq!((reply.status, &reply.body["processing"]), (200, &json!(true)));
}
