//! A customer asks for what is theirs: what it costs, and that nothing of theirs stays unseen.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::json;
use surepass::queue::{Redis, RedisOptions, TokenBucket};
use surepass::store::{CreatedVia, RunPhase, Watermark};
use surepass::stripe_rate_limit;

use crate::end_to_end::customer::{ACCOUNT, KARI, by_kari, nobodys};
use crate::end_to_end::world::{SETTINGS, World};
use support::program::{eventually, stderr};
use support::shop::now;

/// Sessions of the large shop. `SUREPASS_VISIT_SESSIONS` for another size: 12000 is the month that the goal speaks of.
fn sessions() -> usize {
    match std::env::var("SUREPASS_VISIT_SESSIONS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 1_200,
    }
}

#[tokio::test]
async fn a_visit_costs_three_calls_however_large_the_shop_and_finds_a_purchase_of_a_second_ago() {
    let world = World::unheard(SETTINGS).await;
    let paid = sessions() / 10;
    for (outcome, count) in [("expired", sessions() - paid), ("paid", paid)] {
        let order = json!({
            "count": count, "outcome": outcome, "email": "dancer{n}@example.com",
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": "{n}", "tenantId": "tenant-dance"},
            "created_from": now() - TimeDelta::days(29), "created_to": now() - TimeDelta::hours(1),
        });
        world.stripe.purchases(by_kari(order)).await;
    }
    let before = world.order(json!({"guests": false})).await;
    assert_eq!(world.sweep().await.created_count, paid as u64 + 1);

    let lost = world
        .order(json!({"guests": false, "created_from": null, "created_to": null}))
        .await;
    let (report, calls) = world.visit("dance", Some(KARI)).await;
    eprintln!("a visit to a shop of {} sessions: {calls} calls", sessions());
    assert_eq!(
        (&report.created, report.skipped_count, report.error_count),
        (&vec![lost.clone()], 1, 0)
    );
    assert!(calls <= 3, "{calls}");
    assert!(world.shop.fulfilled().await.contains(&lost));
    // And one that finds all in order tells so.
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!(
        (
            report.created_count,
            report.skipped_count,
            report.total_sessions_found
        ),
        (0, 2, 2)
    );
    assert!(calls <= 2, "{calls}");
    assert_eq!(
        world
            .shop
            .fulfilled()
            .await
            .iter()
            .filter(|id| **id == before)
            .count(),
        1
    );
}

#[tokio::test]
async fn a_purchase_that_a_bank_confirmed_after_the_mark_is_found() {
    let world = World::unheard(SETTINGS).await;
    let earlier = now() - TimeDelta::hours(5);
    let session = world
        .order(json!({"outcome": "unpaid", "created_from": earlier, "created_to": earlier}))
        .await;
    assert_eq!(world.sweep().await.total_sessions_found, 0);
    // Sweeps over what came later raise the mark, and do not list it.
    let mark = world.mark().await.unwrap();
    let run = world.begin_sweep_from(now() - TimeDelta::hours(3)).await;
    world.ended(&run).await;
    assert!(world.mark().await.unwrap().to > mark.to);
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.total_sessions_found, calls), (0, 2));
    world.act(&session, "settle", json!({"arrives": true})).await;
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.created, calls), (vec![session.clone()], 2));
    // It has its subscription: nobody asks for it any more.
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.created_count, report.skipped_count, calls), (0, 1, 1));
    assert_eq!(world.shop.fulfilled().await, [session]);
}

#[tokio::test]
async fn a_checkout_that_was_open_when_the_sweep_came_and_was_paid_since_is_found() {
    let world = World::unheard(SETTINGS).await;
    let (paid, left) = (
        world.order(json!({"outcome": "open"})).await,
        world.order(json!({"outcome": "open"})).await,
    );
    world.sweep().await;
    world
        .act(&paid, "pay", json!({"email": "other@example.com"}))
        .await;
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.created, report.error_count, calls), (vec![paid], 0, 3));
    // The other one has expired: seen once, it is not asked for again.
    let path = format!("checkout/sessions/{left}/expire");
    let who = support::stripe_sandbox::As {
        account: Some(ACCOUNT),
        ..Default::default()
    };
    let expired = world.stripe.ask(who, Method::POST, &path, &[]).await;
    assert_eq!(expired.status(), 200);
    assert_eq!(world.visit("dance", None).await.1, 2);
    assert_eq!(world.visit("dance", None).await.1, 1);
}

#[tokio::test]
async fn a_purchase_by_a_stripe_customer_of_theirs_under_an_email_that_they_have_not_proved_is_a_guests() {
    let world = World::unheard(SETTINGS).await;
    // Kari has bought before, and the store knows by which Stripe customer.
    world.order(json!({"guests": false})).await;
    let nameless = json!({"guests": false, "metadata": nobodys(), "outcome": "open"});
    let session = world.order(nameless).await;
    assert_eq!(world.sweep().await.created_count, 1);
    world
        .act(&session, "pay", json!({"email": "office@example.com"}))
        .await;
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.created_count, report.skipped_count, calls), (0, 1, 3));
    assert_eq!(world.sweep().await.created, [session]);
    let all = world.shop.subscriptions().await;
    let office = surepass::guest::of_email("tenant-dance", "office@example.com");
    let mut owners: Vec<_> = all.iter().map(|one| one["user"].as_str().unwrap()).collect();
    owners.sort_unstable();
    assert_eq!(owners, [&office, "kari"]);
}

#[tokio::test]
async fn a_purchase_that_only_a_verified_email_tells_is_found_though_nobody_knew_whose_the_open_checkout_was()
{
    let world = World::unheard(SETTINGS).await;
    let session = world
        .order(json!({"metadata": nobodys(), "outcome": "open"}))
        .await;
    world.sweep().await;
    world.act(&session, "pay", json!({"email": KARI})).await;
    let (report, _) = world.visit("dance", None).await;
    assert_eq!(report.total_sessions_found, 0, "an email that is not verified");
    let (report, calls) = world.visit("dance", Some("Kari@Example.com")).await;
    assert_eq!(report.created, [session]);
    assert_eq!(
        calls, 3,
        "what came since the mark, and the email as it is and in lower case"
    );
}

#[tokio::test]
async fn a_sweep_that_failed_midway_proves_nothing_beyond_the_mark_before_it() {
    let world = World::unheard(SETTINGS).await;
    let earlier = now() - TimeDelta::hours(5);
    world.order(json!({"outcome": "expired"})).await;
    let run = world.begin_sweep(Some(ACCOUNT), earlier).await;
    world.ended(&run).await;
    let mark = world.mark().await.unwrap();
    assert!(mark.to <= earlier);

    let others = json!({
        "count": 250, "email": "dancer{n}@example.com", "outcome": "expired",
        "created_from": now() - TimeDelta::hours(3), "created_to": now() - TimeDelta::hours(1)
    });
    world.stripe.purchases(by_kari(others)).await;
    let lost = world
        .order(
            json!({"created_from": now() - TimeDelta::hours(4), "created_to": now() - TimeDelta::hours(4)}),
        )
        .await;
    // Its first page is answered; then the key loses its right.
    let path = "/v1/checkout/sessions";
    let broken = json!({"once": [{"path": path, "nth": 2, "times": 100_000, "fault": "error"}]});
    world.break_api(broken).await;
    let run = world.begin_sweep(Some(ACCOUNT), now()).await;
    let lookback = world.lookback().await;
    eventually("the first page", async || {
        lookback.report(&run).await.unwrap().unwrap().pages != 0
    })
    .await;
    let refusal = json!({"sk_test_HemmeligKey": {"refuse": [path]}});
    world.stripe.control(Method::PUT, "keys", refusal).await;
    world.break_api(json!({})).await;
    assert_eq!(world.ended(&run).await.phase, RunPhase::Failed);
    world.stripe.control(Method::PUT, "keys", json!({})).await;
    assert_eq!(world.mark().await, Some(mark));

    let (report, calls) = world.visit("dance", None).await;
    assert_eq!(
        (report.created, calls),
        (vec![lost], 3),
        "all since the mark is listed"
    );
}

#[tokio::test]
async fn of_two_tenants_in_one_account_each_sees_its_own_though_they_share_the_mark() {
    let world = World::unheard(SETTINGS).await;
    let passes = json!([{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10,
        "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90, "isActive": true}]);
    let tenants = ["ballet", "theatre"].map(|name| {
        json!({"id": format!("tenant-{name}"), "slug": name, "name": name, "timeZone": "Europe/Oslo",
            "webhookSecrets": [], "passes": passes})
    });
    let file = world
        .shop
        .file("shared.json", &json!({ "tenants": tenants }).to_string());
    let imported = world
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{}", stderr(&imported));
    let at = |tenant: &str| {
        json!({"account": null, "outcome": "open",
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": "kari", "tenantId": tenant}})
    };
    let played = world.order(at("tenant-theatre")).await;
    let danced = world.order(at("ballet")).await;
    let run = world.begin_sweep(None, now()).await;
    world.ended(&run).await;
    for session in [&played, &danced] {
        world.act(session, "pay", json!({"email": KARI})).await;
    }
    let (report, _) = world.visit("ballet", None).await;
    assert_eq!(report.created, [danced]);
    let (report, _) = world.visit("theatre", None).await;
    assert_eq!(report.created, [played]);
    // Nor is what they hold at one counted at the other.
    let (report, _) = world.visit("ballet", None).await;
    assert_eq!((report.total_sessions_found, report.skipped_count), (1, 1));
}

#[tokio::test]
async fn the_whole_window_is_read_for_operators_and_where_no_fresh_mark_tells_that_it_need_not_be() {
    let world = World::unheard(SETTINGS).await;
    let others = json!({
        "count": 450, "email": "dancer{n}@example.com", "outcome": "expired",
        "created_from": now() - TimeDelta::days(29), "created_to": now() - TimeDelta::days(1)
    });
    world.stripe.purchases(by_kari(others)).await;
    let raise = async |from: DateTime<Utc>, to: DateTime<Utc>| {
        let mark = Watermark {
            detector: "sessions".to_owned(),
            account: Some(ACCOUNT.to_owned()),
            is_test: true,
            from,
            to,
            updated_at: now(),
        };
        world
            .shop
            .store()
            .await
            .lookback()
            .raise_watermark(&mark)
            .await
            .unwrap();
    };
    let visit = async || world.visit("dance", None).await.1;
    let month = TimeDelta::days(31);
    assert_eq!(visit().await, 5, "no mark");
    raise(now() - month, now() - TimeDelta::hours(27)).await;
    assert_eq!(visit().await, 5, "an old one");
    raise(now() - TimeDelta::hours(3), now() - TimeDelta::minutes(10)).await;
    assert_eq!(visit().await, 5, "one of the last hours only");
    raise(now() - month, now() - TimeDelta::minutes(9)).await;
    assert_eq!(visit().await, 1, "a good one");
    assert_eq!(world.ask("dance", None, CreatedVia::Status).await.1, 1);
    assert_eq!(
        world.ask("dance", None, CreatedVia::Support).await.1,
        5,
        "an operator"
    );
    raise(now() - month, now() + TimeDelta::hours(1)).await;
    assert_eq!(visit().await, 5, "one by a wrong clock");
}

#[tokio::test]
async fn who_has_left_many_checkouts_open_is_looked_for_in_the_whole_window() {
    let world = World::unheard(SETTINGS).await;
    let mut open = Vec::new();
    for _ in 0..21 {
        open.push(world.order(json!({"outcome": "open"})).await);
    }
    world.sweep().await;
    for session in [&open[0], &open[20]] {
        world.act(session, "pay", json!({"email": KARI})).await;
    }
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.created_count, calls), (2, 1), "one page, not 21 sessions");
}

#[tokio::test]
async fn a_dead_letter_is_told_to_its_customer_though_the_sweep_has_passed_it() {
    let world = World::unheard(SETTINGS).await;
    let odd =
        json!({"type": "pass_purchase", "passId": "none", "userId": "kari", "tenantId": "tenant-dance"});
    let session = world.order(json!({"metadata": odd})).await;
    let swept = world.sweep().await;
    assert_eq!(swept.errors[0].session, session);
    assert!(world.mark().await.is_some(), "a person knows of it");
    let (report, calls) = world.visit("dance", None).await;
    assert_eq!((report.error_count, &report.errors[0].session), (1, &session));
    assert!(
        report.errors[0].error.starts_with("unresolved_pass"),
        "{report:?}"
    );
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a_full_bucket_is_waiting_and_no_attempt() {
    // An attempt that failed would be the last.
    let settings = SETTINGS.replace("max_attempts = 100", "max_attempts = 1");
    let world = World::unheard(&settings).await;
    let session = world.order(json!({})).await;
    let redis = Redis::open(&world.shop.setting("REDIS_URL").into(), RedisOptions::default()).unwrap();
    let bucket = TokenBucket::new(&redis, stripe_rate_limit::options("surepass", 100)).unwrap();
    // Longer than anyone stands in line.
    bucket.pause(Duration::from_secs(12)).await.unwrap();
    let (report, _) = world.visit("dance", None).await;
    assert_eq!((report.phase, report.created), (RunPhase::Done, vec![session]));
    let said = world.shop.workers[0].said();
    assert!(said.contains("stripe_busy"), "it was put off");
}
