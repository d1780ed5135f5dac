//! The customer's page: what stands on it, and for whom.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::json;
use surepass::money::Money;

use crate::fixture::{Fixture, of};
use crate::page_states;
use crate::reader::{ACTIVE, OVER, PAGE, Reader, hold};
use crate::sign_in::claims_with;
use support::shop::now;

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn money(amount: i64, currency: &str) -> Money {
    Money {
        amount,
        currency: currency.parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn active_and_expired_passes_are_shown_in_the_readers_language_and_the_shops_time_zone() {
    let studio = Fixture::open_with("").await;
    hold(&studio, "kari", "one", |pass| {
        pass.created_at = now() - TimeDelta::minutes(9);
        pass.remaining_clips = Some(1);
        // 23:59:59 in Oslo.
        pass.end_date = instant("2030-06-30T21:59:59Z");
    })
    .await;
    hold(&studio, "kari", "two", |pass| {
        pass.created_at = now() - TimeDelta::minutes(8);
        pass.pass_id = "no-longer-sold".to_owned();
        pass.pass_name = "Vår".to_owned();
        pass.remaining_clips = Some(3);
        // A minute past midnight in Oslo, the day before in UTC.
        pass.end_date = instant("2030-01-31T23:01:00Z");
        pass.purchase_price = money(1_500, "jpy");
    })
    .await;
    hold(&studio, "kari", "three", |pass| {
        pass.created_at = now() - TimeDelta::minutes(7);
        pass.remaining_clips = None;
        pass.end_date = instant("2030-12-31T23:00:00Z");
        pass.purchase_price = money(1_234_567, "kwd");
    })
    .await;
    hold(&studio, "kari", "over", |pass| {
        pass.remaining_clips = Some(0);
        pass.end_date = instant("2024-02-29T22:59:59Z");
    })
    .await;
    hold(&studio, "kari", "switched-off", |pass| pass.is_active = false).await;
    hold(&studio, "ola", "others", |_| {}).await;

    let kari = Reader::signed_in(&studio, "kari").await;
    let seen = kari.sending("Accept-Language", "en-GB,en;q=0.9").get(PAGE).await;
    assert_eq!(seen.status, 200);
    assert_eq!(seen.text("title"), "Your passes – Studio One");
    assert_eq!(seen.text("header"), "Studio One");
    assert_eq!(seen.text("button"), "Missing Pass?");
    assert_eq!(seen.texts("h2"), ["Active passes", "Expired passes"]);
    assert_eq!(seen.message(), "");
    let unlimited = [
        "10 classes",
        "Unlimited classes",
        "Valid until 31 December 2030",
        "KWD\u{a0}1,234.567",
    ];
    let without_total = [
        "Vår",
        "3 classes left",
        "Valid until 1 February 2030 at 00:01",
        "¥1,500",
    ];
    let last = [
        "10 classes",
        "1 of 10 classes left",
        "Valid until 30 June 2030",
        "NOK\u{a0}1,500.00",
    ];
    assert_eq!(seen.passes(ACTIVE), [unlimited, without_total, last]);
    let over = seen.passes(OVER);
    assert_eq!(over.len(), 2);
    let used_up = [
        "10 classes",
        "0 of 10 classes left",
        "Ended 29 February 2024",
        "NOK\u{a0}1,500.00",
    ];
    assert!(over.iter().any(|pass| *pass == used_up), "{over:?}");
    assert!(over.iter().any(|pass| pass[2] == "No longer active"), "{over:?}");
    let ends = seen.attributes("#passes time", "datetime");
    assert!(ends.contains(&"2030-06-30T21:59:59Z".to_owned()), "{ends:?}");

    let kari = Reader::signed_in(&studio, "kari").await;
    let seen = kari.sending("Accept-Language", "nb-NO").get(PAGE).await;
    assert_eq!(seen.text("title"), "Kortene dine – Studio One");
    assert_eq!(seen.attribute("html", "lang").as_deref(), Some("nb"));
    assert_eq!(seen.header("content-language"), "nb");
    let unlimited = [
        "10 classes",
        "Ubegrenset antall timer",
        "Gyldig til 31. desember 2030",
        "1\u{a0}234,567\u{a0}KWD",
    ];
    let without_total = [
        "Vår",
        "3 klipp igjen",
        "Gyldig til 1. februar 2030 kl. 00:01",
        "1\u{a0}500\u{a0}JPY",
    ];
    let last = [
        "10 classes",
        "1 av 10 klipp igjen",
        "Gyldig til 30. juni 2030",
        "1\u{a0}500,00\u{a0}kr",
    ];
    assert_eq!(seen.passes(ACTIVE), [unlimited, without_total, last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_course_that_was_bought_is_valid_until_its_date_and_who_has_nothing_is_told_so() {
    let studio = Fixture::open().await;
    let course = of(studio.shop.session(), "kari").with("passId", Some("pass-course"));
    studio.shop.buy(&course).await;
    studio.shop.settled().await;
    let seen = Reader::signed_in(&studio, "kari").await.get(PAGE).await;
    assert_eq!(
        seen.passes(ACTIVE)[0][1..3],
        ["24 of 24 classes left", "Valid until June 30, 2027"]
    );
    let bearer = format!("Bearer {}", studio.sign_in.token("ola").await);
    let ola = Reader::stranger(&studio).sending("Authorization", &bearer);
    let seen = ola.get(PAGE).await;
    assert_eq!(
        (seen.status, seen.text("#passes p")),
        (200, "You have no active passes.".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_is_shown_as_text_and_nothing_on_the_page_is_inline() {
    const NAME: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp;";
    let studio = Fixture::open_with("").await;
    hold(&studio, "kari", "hostile", |pass| {
        pass.pass_name = NAME.to_owned();
    })
    .await;
    let catalog =
        json!({"tenants": [{"id": "tenant-1", "slug": "studio", "name": NAME, "color": "#ffff00"}]});
    let file = studio.shop.file("hostile.json", &catalog.to_string());
    let imported = studio
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success());
    let kari = Reader::signed_in(&studio, "kari").await;
    let seen = support::program::awaited("the new name", async {
        loop {
            let seen = kari.get(PAGE).await;
            if seen.text("header") == NAME {
                return seen;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(seen.text("#passes h3"), NAME);
    assert_eq!(seen.text("title"), format!("Your passes – {NAME}"));
    let sources = seen.attributes("script", "src");
    assert_eq!(seen.texts("script").len(), 1, "{}", seen.html);
    assert!(sources[0].starts_with("/assets/surepass.js?v="), "{sources:?}");
    assert_eq!(seen.texts("style, [style], [onerror], [onclick], img"), [""; 0]);
    let sheets = seen.attributes("link[rel=stylesheet]", "href");
    assert_eq!(sheets[1], "/assets/accent-ffff00.css");
    assert_eq!(
        kari.get(&sheets[1]).await.header("content-type"),
        "text/css; charset=utf-8"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lets_no_other_site_in_and_tells_none_its_address() {
    let studio = Fixture::open_with("").await;
    let kari = Reader::signed_in(&studio, "kari").await;
    for (reader, path, status) in [
        (&kari, PAGE, 200),
        (&Reader::stranger(&studio), PAGE, 401),
        (&kari, "/nowhere/subscriptions", 404),
    ] {
        let seen = reader.get(path).await;
        assert_eq!(seen.status, status);
        let policy: Vec<_> = seen.header("content-security-policy").split("; ").collect();
        assert_eq!(
            policy,
            [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "connect-src 'self'",
                "img-src 'self' data:",
                "form-action 'self'",
                "base-uri 'none'",
                "frame-ancestors 'none'"
            ]
        );
        for (name, value) in [
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("content-type", "text/html; charset=utf-8"),
            ("vary", "Accept-Language, Authorization, Cookie"),
        ] {
            assert_eq!(seen.header(name), value, "{name}");
        }
        let head = reader.send(Method::HEAD, path, None).await;
        assert_eq!((head.status, head.html.as_str()), (status, ""));
        assert_eq!(
            head.header("content-security-policy"),
            seen.header("content-security-policy")
        );
    }
    let other = kari.send(Method::PUT, PAGE, None).await;
    assert_eq!(other.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_or_no_longer_is_sent_to_the_shops_own_sign_in_and_back() {
    let studio =
        Fixture::open_with("sign_in_url = \"https://{tenant}.example.com/sign-in?next={return}\"").await;
    let expired = claims_with("kari", "exp", json!(now().timestamp() - 120));
    let expired = studio.sign_in.signed("rsa", expired).await;
    let readers = [
        Reader::stranger(&studio),
        Reader::with_cookie(&studio, &expired),
        Reader::with_cookie(&studio, "rubbish"),
        Reader::stranger(&studio).sending("Authorization", "Basic a2FyaTprYXJp"),
    ];
    for reader in readers {
        // Without `success` it is a visit like any other.
        let seen = reader
            .get("/studio/subscriptions?session_id=cs_test_1&lang=en")
            .await;
        assert_eq!((seen.status, seen.text("h1")), (401, "Please sign in".to_owned()));
        assert_eq!(seen.text("header"), "Studio One");
        assert!(
            seen.text("main").contains("Your passes are safe"),
            "{}",
            seen.html
        );
        assert_eq!(
            seen.attribute("main a", "href").unwrap(),
            "https://studio.example.com/sign-in?next=%2Fstudio%2Fsubscriptions%3Flang%3Den"
        );
        assert_eq!(seen.texts("#passes, button, surepass-passes"), [""; 0]);
    }
    let studio = Fixture::open_with("").await;
    let seen = Reader::stranger(&studio).get(PAGE).await;
    assert_eq!((seen.status, seen.attribute("main a", "href")), (401, None));
    assert!(seen.text("main").contains("the shop's website"), "{}", seen.html);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_told_calmly_and_with_a_way_on() {
    let studio = Fixture::open_with("address_requests_per_minute = 6").await;
    let stranger = Reader::stranger(&studio).sending("Accept-Language", "nb");
    let seen = stranger.get("/nowhere/subscriptions").await;
    assert_eq!(
        (seen.status, seen.text("h1")),
        (404, "Fant ikke siden".to_owned())
    );
    let mut refused = None;
    for _ in 0..8 {
        let seen = stranger.get(PAGE).await;
        if seen.status == 429 {
            refused = Some(seen);
            break;
        }
    }
    let refused = refused.expect("refused in the end");
    page_states::check("too-many-requests", &refused);
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(refused.attribute("main a", "href").as_deref(), Some(PAGE));

    // A slug that is none must not lead anywhere else either.
    let studio = Fixture::open_with("").await;
    let seen = Reader::stranger(&studio)
        .get("/%2Fevil.example.com/subscriptions")
        .await;
    assert_eq!(seen.status, 404);
    for to in seen.attributes("a", "href") {
        assert!(to.starts_with("/%2Fevil.example.com/subscriptions?"), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_the_page_is_a_calm_503_with_retry_after() {
    let mut studio = Fixture::prepare("").await;
    studio
        .shop
        .set("DATABASE_URL", "postgres://surepass@127.0.0.1:9/surepass");
    studio.shop.start_server().await;
    let seen = Reader::signed_in(&studio, "kari").await.get(PAGE).await;
    assert_eq!(seen.status, 503);
    page_states::check("store-away", &seen);
    assert!(seen.header("retry-after").parse::<u32>().unwrap() > 0);
    assert_eq!(seen.attribute("main a", "href").as_deref(), Some(PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_customers_cannot_be_told_apart_the_page_says_that_it_is_not_open() {
    let mut studio = Fixture::prepare("").await;
    studio.shop.set("SUREPASS_JWKS_URL", "");
    studio.shop.set("SUREPASS_JWT_SECRET", "");
    studio.shop.start_server().await;
    let seen = Reader::stranger(&studio).get(PAGE).await;
    assert_eq!(seen.status, 503);
    page_states::check("not-set-up", &seen);
    assert_eq!(seen.text("header"), "Studio One");
    assert_eq!(
        Reader::stranger(&studio)
            .get("/nowhere/subscriptions")
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_the_passes_while_redis_is_away() {
    let mut studio = Fixture::open_with("").await;
    hold(&studio, "kari", "held", |_| {}).await;
    let kari = Reader::signed_in(&studio, "kari").await;
    studio.shop.kill_redis().await;
    let seen = kari.get(PAGE).await;
    assert_eq!((seen.status, seen.passes(ACTIVE).len()), (200, 1));
    let seen = kari
        .get("/studio/subscriptions?success=true&session_id=cs_test_other")
        .await;
    assert_eq!((seen.status, seen.passes(ACTIVE).len()), (200, 1));
    assert_eq!(seen.message(), "⏳ Confirming your purchase… (1/15)");
    studio.shop.restart_redis().await;
}
