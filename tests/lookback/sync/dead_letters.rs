//! What a lookback does about dead letters.

use serde_json::{Value, json};
use surepass::fulfil::{ProvedBy, TenantPath};
use surepass::ingest::{Triage, triage};
use surepass::queue::Item;
use surepass::store::CreatedVia;
use surepass::stripe::Event;

use crate::sync::stripe::object;
use crate::sync::world::{World, ids};
use support::answer::Answer;
use support::program::stderr;
use support::shop::COMPLETED;

#[tokio::test]
async fn a_dead_fulfil_job_runs_again_if_what_killed_it_was_transient() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let old = world.shop.session().with("userId", Some("user_kari"));
    let upgrade = world
        .shop
        .session()
        .with("userId", Some("user_kari"))
        .with("type", Some("pass_upgrade"))
        .with(
            "upgradeFromSubscriptionId",
            Some(&format!("subscription-{}", old.session_id())),
        );
    assert_eq!(world.shop.buy(&upgrade).await, Answer::accepted());
    world.shop.settled().await;
    let job = format!("fulfil:{}", upgrade.session_id());
    let death = world.shop.queue().death(&job).await.unwrap();
    assert_eq!(death.as_deref(), Some("upgrade_source_not_found"));

    world.stripe.sell(&old);
    world.stripe.sell(&upgrade);
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(report["createdCount"], 2, "{report}");
    assert_eq!(world.shop.fulfilled().await, ids(&[old, upgrade]));
}

#[tokio::test]
async fn a_dead_fulfil_job_is_left_to_a_person_if_what_killed_it_was_not_transient() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let strange = world.shop.session().with("passId", Some("pass-unheard-of"));
    let strange = strange.with("passName", None).with("userId", Some("user_kari"));
    let fine = world.shop.session().with("userId", Some("user_kari"));
    assert_eq!(world.shop.buy(&strange).await, Answer::accepted());
    world.shop.settled().await;
    world.stripe.sell(&strange);
    world.stripe.sell(&fine);
    let job = format!("fulfil:{}", strange.session_id());
    let before = world.shop.queue().errors(&job).await.unwrap();
    for round in 0..2 {
        let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
        assert!(!is_content, "{report}");
        assert_eq!(
            (&report["errorCount"], &report["createdCount"]),
            (&json!(1), &json!(1 - round))
        );
        assert_eq!(report["errors"][0]["session"], json!(strange.session_id()));
        let error = report["errors"][0]["error"].as_str().unwrap();
        assert!(error.starts_with("unresolved_pass: "), "{error}");
    }
    assert_eq!(world.shop.queue().errors(&job).await.unwrap(), before);
    assert_eq!(world.shop.fulfilled().await, [fine.session_id()]);
}

/// The catalog, with a price of Stripe's for ten classes.
pub(crate) fn with_price() -> Value {
    json!({"tenants": [{"id": "tenant-1", "slug": "studio", "name": "Studio One", "timeZone": "Europe/Oslo",
        "webhookSecrets": [], "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi",
            "classesLimit": 10, "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90,
            "isActive": true, "stripePriceIds": ["price_10"]}]}]})
}

#[tokio::test]
async fn a_session_that_only_its_line_items_tell_is_brought_even_from_a_dead_letter() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    world.import(&with_price()).await;
    let untold = |kind: Option<&str>| {
        let session = world.shop.session().with("type", kind);
        let session = session.with("passId", None).with("passName", None);
        let session = session.with("userId", Some("user_kari"));
        let mut listed = object(&session);
        listed["line_items"] = json!({"object": "list", "has_more": false, "data": [
            {"id": "li_1", "object": "item", "price": {"id": "price_10", "object": "price"}}]});
        (session, listed)
    };
    // The line items cannot be read while they are sold: one that says it is ours dies of it, one that does not waits for
    // a person.
    let ((typed, first), (typeless, second)) = (untold(Some("pass_purchase")), untold(None));
    for session in [&typed, &typeless] {
        assert_eq!(world.shop.buy(session).await, Answer::accepted());
    }
    world.shop.settled().await;
    assert!(world.shop.subscriptions().await.is_empty());
    let job = format!("fulfil:{}", typed.session_id());
    let death = world.shop.queue().death(&job).await.unwrap();
    assert_eq!(death.as_deref(), Some("unresolved_pass"));

    for listed in [first, second] {
        world.stripe.add(None, listed);
    }
    let before = world.stripe.calls().len();
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(world.shop.fulfilled().await, ids(&[typed, typeless]));
    assert_eq!(
        world.stripe.calls().len() - before,
        1,
        "the list has carried the line items"
    );
}

/// As an older program left it: at another tenant's path, under the key that everybody's purchases had.
#[tokio::test]
async fn what_a_wrong_path_had_buried_runs_again_by_what_stripe_says_whose_it_is() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let yoga = json!({"tenants": [{"id": "tenant-2", "slug": "yoga", "name": "Yoga", "timeZone": "Europe/Oslo",
        "webhookSecrets": ["whsec_HemmeligYoga"], "passes": []}]});
    world.import(&yoga).await;
    let session = world.shop.session().with("userId", Some("user_kari"));
    let event = Event::parse(&session.event(COMPLETED, 1)).unwrap();
    let path = TenantPath {
        slug: "yoga",
        proved_by: ProvedBy::Tenant,
    };
    let Triage::Fulfil(mut purchase) = triage(&event, Some(path), CreatedVia::Webhook) else {
        panic!("no purchase");
    };
    purchase.proved_by = None;
    let job = [Item::job(&purchase).unwrap()];
    world.shop.queue().enqueue(&job).await.unwrap();
    world.shop.settled().await;
    let death = world.shop.queue().death(&purchase.job_key()).await.unwrap();
    assert_eq!(death.as_deref(), Some("tenant_mismatch"));

    world.stripe.sell(&session);
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(report["createdCount"], 1, "{report}");
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
    assert_eq!(world.shop.counts().await.dead, 0);
}

#[tokio::test]
async fn a_dead_letter_of_a_tenants_own_endpoint_needs_nobody_once_a_lookback_has_fulfilled_its_purchase() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let yoga = |passes: &[&str]| {
        let passes = passes.iter().map(|id| json!({"id": id, "name": id, "type": "multi", "classesLimit": 10,
            "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90, "isActive": true}));
        json!({"tenants": [{"id": "tenant-2", "slug": "yoga", "name": "Yoga", "timeZone": "Europe/Oslo",
            "webhookSecrets": ["whsec_HemmeligYoga"], "passes": passes.collect::<Vec<_>>()}]})
    };
    world.import(&yoga(&[])).await;
    let session = world.shop.session().with("userId", Some("user_kari"));
    let session = session.with("tenantId", Some("tenant-2")).with("passName", None);
    let told = world
        .shop
        .deliver_to("yoga", "whsec_HemmeligYoga", session.event(COMPLETED, 1))
        .await;
    assert_eq!(told, Answer::accepted());
    world.shop.settled().await;
    assert_eq!(world.shop.counts().await.dead, 1);
    world.import(&yoga(&["pass-10"])).await;
    world.stripe.sell(&session);
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
    assert_eq!(world.shop.counts().await.dead, 0);
}

#[tokio::test]
async fn a_session_with_more_line_items_than_a_list_carries_is_read_to_its_last_one() {
    let world = World::open().await;
    world.import(&with_price()).await;
    let item =
        |n: u32, price: &str| json!({"id": format!("li_{n}"), "object": "item", "price": {"id": price}});
    let all: Vec<_> = (0..11)
        .map(|n| item(n, "price_shirt"))
        .chain([item(11, "price_10")])
        .collect();
    let session = world.shop.session().with("passId", None).with("passName", None);
    let mut listed = object(&session);
    listed["line_items"] = json!({"object": "list", "has_more": true, "data": all[..10]});
    listed["all_line_items"] = json!(all);
    world.stripe.add(None, listed);
    for arguments in [&["--user", &format!("user_{}", session.unique)][..], &["--all"]] {
        let (report, is_content) = world.sync(arguments).await;
        assert!(is_content, "{report}");
        assert_eq!(report["totalSessionsFound"], 1, "{report}");
    }
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
    // A list, the session and its items; then a list that finds it in order.
    assert_eq!(world.stripe.calls().len(), 4);
}

#[tokio::test]
async fn a_sync_that_died_runs_again_when_it_is_asked_for_again() {
    let world = World::open().await;
    world.stripe.close("");
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(!is_content, "{report}");
    let dead = world.queue("sync").death("sync:*:user_kari").await.unwrap();
    assert_eq!(dead.as_deref(), Some("stripe_forbidden"));
    let list = world.shop.surepass(&["jobs", "show", "sync:*:user_kari"]).await;
    assert!(list.status.success(), "{}", stderr(&list));
    let (again, _) = world.sync(&["--user", "user_kari"]).await;
    assert_ne!(again["runs"], report["runs"]);
    // Nobody can be told to wait for the first one.
    let store = world.shop.store().await;
    let first = report["runs"][0].as_str().unwrap();
    let first = store.lookback().run(first).await.unwrap().unwrap();
    assert!(first.phase.is_over(), "{first:?}");
    assert!(first.error.unwrap().starts_with("asked_again"));
    assert_eq!(world.stripe.lists(), 2);
}

#[tokio::test]
async fn who_has_all_of_the_money_back_gets_no_pass_any_more_and_who_has_a_part_of_it_does() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    let sold = |refunded: i64| {
        let session = world.shop.session().with("userId", Some("user_kari"));
        let mut listed = object(&session);
        let amount = listed["amount_total"].as_i64().unwrap();
        assert!(refunded <= amount && amount > 1);
        let refunded = if refunded < 0 { amount } else { refunded };
        listed["payment_intent"] = json!({
            "id": listed["payment_intent"], "object": "payment_intent", "amount": amount, "currency": "nok",
            "status": "succeeded",
            "latest_charge": {"id": "ch_1", "object": "charge", "amount": amount, "amount_refunded": refunded},
        });
        world.stripe.add(None, listed);
        session
    };
    let (all, part) = (sold(-1), sold(1));
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(report["createdCount"], 1, "{report}");
    // It is named, and no purchase of anybody's any more.
    let refunded = |report: &serde_json::Value| {
        (
            report["totalSessionsFound"].clone(),
            report["refundedCount"].clone(),
            report["refunded"].clone(),
        )
    };
    let expected = (json!(1), json!(1), json!([all.session_id()]));
    assert_eq!(refunded(&report), expected, "{report}");
    let asked = world
        .request_account_sync(&crate::sync::world::sweep("nightly", 30))
        .await;
    let swept = json!(world.report(&asked.run).await);
    assert_eq!(refunded(&swept), expected, "{swept}");
    let told = world.shop.surepass(&["sync", "--user", "user_kari"]).await;
    let told = String::from_utf8(told.stdout).unwrap();
    assert_eq!(
        told,
        format!(
            "1 purchase found: 0 fulfilled now, 1 already handled, 0 in progress, 0 failed; 1 refunded, so no pass is \
             due.\n  refunded  {}\n",
            all.session_id()
        )
    );
    assert_eq!(world.shop.fulfilled().await, ids(&[part]));
}
