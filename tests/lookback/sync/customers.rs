//! The sync of one customer.

use chrono::TimeDelta;
use futures::future::join_all;
use serde_json::{Value, json};
use surepass::lookback::{Customer, SyncRequest};
use surepass::store::CreatedVia;
use surepass::up::sample::SampleSession;

use crate::sync::stripe::object;
use crate::sync::world::{World, ids};
use support::answer::Answer;
use support::program::{stderr, stdout};
use support::shop::now;

/// A purchase that only its email tells whose it is.
fn by_email(world: &World, email: &str) -> SampleSession {
    let mut session = world.shop.session().with("userId", None);
    email.clone_into(&mut session.email);
    world.stripe.sell(&session);
    session
}

#[tokio::test]
async fn of_350_sessions_all_pages_are_read_and_one_that_fails_once_loses_nothing() {
    let world = World::open().await;
    let mut own = Vec::new();
    for n in 0..350 {
        let mut session = world.shop.session();
        session.created = now() - TimeDelta::minutes(60 + n);
        if [0, 150, 349].contains(&n) {
            session = session.with("userId", Some("user_kari"));
            own.push(session.clone());
        }
        world.stripe.sell(&session);
    }
    world.stripe.fail(2, 500);
    let (report, is_content) = world.sync(&["--user", "user_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(
        (&report["createdCount"], &report["totalSessionsFound"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(world.shop.fulfilled().await, ids(&own));
    assert_eq!((world.stripe.lists(), &report["pages"]), (5, &json!(4)));

    let (again, _) = world.sync(&["--user", "user_kari"]).await;
    assert_eq!(
        (&again["createdCount"], &again["skippedCount"]),
        (&json!(0), &json!(3))
    );
    let subscriptions = world.shop.subscriptions().await;
    assert!(
        subscriptions
            .iter()
            .all(|one| one["createdVia"] == "support" && one["user"] == "user_kari")
    );
}

#[tokio::test]
async fn each_tenant_is_read_in_its_own_account_and_nobody_gets_what_is_anothers() {
    let world = World::open().await;
    world.import_yoga().await;
    let at_yoga = |user: &str| {
        let mut session = world.shop.session().with("userId", Some(user));
        session = session.with("tenantId", Some("tenant-2"));
        session.account = Some("acct_yoga".to_owned());
        world.stripe.sell(&session);
        session
    };
    let at_studio = |user: &str| {
        let session = world.shop.session().with("userId", Some(user));
        world.stripe.sell(&session);
        session
    };
    let (studio, yoga) = (at_studio("user_kari"), at_yoga("user_kari"));
    let (_, _) = (at_studio("user_ola"), at_yoga("user_ola"));

    let (report, _) = world.sync(&["--user", "user_kari", "--tenant", "yoga"]).await;
    assert_eq!(report["created"], json!([yoga.session_id()]));
    let accounts: Vec<_> = world
        .stripe
        .calls()
        .into_iter()
        .map(|call| call.account)
        .collect();
    assert_eq!(accounts, [Some("acct_yoga".to_owned())]);

    let (report, _) = world.sync(&["--user", "user_kari"]).await;
    assert_eq!(report["created"], json!([studio.session_id()]));
    assert_eq!(world.shop.fulfilled().await, ids(&[studio, yoga]));
}

#[tokio::test]
async fn of_tenants_that_share_an_account_only_the_one_that_is_asked_for_is_brought() {
    let world = World::open().await;
    world
        .import(&json!({"tenants": [{"id": "tenant-3", "slug": "dance", "name": "Dance", "timeZone": "Europe/Oslo",
            "webhookSecrets": [], "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi",
                "classesLimit": 10, "price": 150_000, "currency": "nok", "validityType": "days",
                "validityDays": 90, "isActive": true}]}]}))
        .await;
    let of = |tenant: &str| {
        let session = world.shop.session().with("userId", Some("user_kari"));
        let session = session.with("tenantId", Some(tenant));
        world.stripe.sell(&session);
        session
    };
    let (_, by_id, by_slug) = (of("tenant-1"), of("tenant-3"), of("dance"));
    let (report, _) = world.sync(&["--user", "user_kari", "--tenant", "dance"]).await;
    assert_eq!(report["totalSessionsFound"], 2, "{report}");
    assert_eq!(world.shop.fulfilled().await, ids(&[by_id, by_slug]));
}

#[tokio::test]
async fn an_account_that_cannot_be_read_does_not_keep_from_the_others_and_is_told() {
    let world = World::open().await;
    world.import_yoga().await;
    world.stripe.close("acct_yoga");
    let session = world.sold();
    let user = format!("user_{}", session.unique);
    let (report, is_content) = world.sync(&["--user", &user]).await;
    assert!(!is_content, "{report}");
    assert_eq!(report["created"], json!([session.session_id()]));
    let failure = report["failures"][0].as_str().unwrap();
    assert!(failure.starts_with("stripe_forbidden"), "{failure}");
}

#[tokio::test]
async fn sessions_that_match_only_by_an_unverified_email_are_not_given_to_anyone() {
    let world = World::open().await;
    let lookback = world.lookback().await;
    let mut named = world.shop.session().with("userId", Some("user_other"));
    "kari@example.com".clone_into(&mut named.email);
    world.stripe.sell(&named);
    let nameless = by_email(&world, "Kari@Example.com");

    let sync = async |verified_email: Option<&str>| {
        let request = SyncRequest {
            tenant: Some("studio".to_owned()),
            customer: Customer::User {
                id: "user_kari".to_owned(),
                verified_email: verified_email.map(str::to_owned),
            },
            days: 30,
            via: CreatedVia::SelfService,
            run: None,
        };
        let asked = lookback
            .request_sync(&request, ulid::Ulid::generate())
            .await
            .unwrap();
        world.report(&asked.run).await
    };
    let unverified = sync(None).await;
    assert_eq!(
        (unverified.total_sessions_found, unverified.created_count),
        (0, 0)
    );
    assert!(world.shop.subscriptions().await.is_empty());

    // What is proven to be theirs is given to them, whatever user the email alone would have made; what names another user
    // is not, whatever its email.
    let verified = sync(Some("kari@EXAMPLE.com")).await;
    assert_eq!(
        (verified.total_sessions_found, verified.created),
        (1, vec![nameless.session_id()])
    );
    let subscriptions = world.shop.subscriptions().await;
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(
        (&subscriptions[0]["user"], &subscriptions[0]["createdVia"]),
        (&json!("user_kari"), &json!("self-service"))
    );
}

#[tokio::test]
async fn a_client_reference_id_that_is_set_to_be_ignored_names_nobody() {
    let mut world = World::prepare_with("[fulfil]\nclient_reference_id = \"ignore\"").await;
    world.shop.start_worker().await;
    let mut session = world.shop.session().with("userId", None);
    session.client_reference_id = Some("cart_1".to_owned());
    world.stripe.sell(&session);
    let (report, _) = world.sync(&["--user", "cart_1"]).await;
    assert_eq!(report["totalSessionsFound"], 0, "{report}");
    let (report, _) = world.sync(&["--email", &session.email]).await;
    assert_eq!(report["created"], json!([session.session_id()]), "{report}");
    let guest = surepass::guest::of_email("tenant-1", &session.email);
    assert_eq!(world.shop.subscriptions().await[0]["user"], json!(guest));
}

#[tokio::test]
async fn a_stripe_customer_proves_nothing_shops_look_them_up_by_typed_emails() {
    let world = World::open().await;
    let paid_by = |session: &SampleSession| {
        let mut session = object(session);
        session["customer"] = json!("cus_kari");
        world.stripe.add(None, session);
    };
    let before = world.shop.session().with("userId", Some("user_kari"));
    paid_by(&before);
    let (report, _) = world.sync(&["--customer", "cus_kari"]).await;
    assert_eq!(report["createdCount"], 1, "{report}");
    let asked = world.stripe.calls().remove(0).query;
    assert!(
        asked.contains(&("customer".to_owned(), "cus_kari".to_owned())),
        "{asked:?}"
    );

    let nameless = world.shop.session().with("userId", None);
    paid_by(&nameless);
    let (report, _) = world.sync(&["--user", "user_kari"]).await;
    assert_eq!(
        (&report["created"], &report["skippedCount"]),
        (&json!([]), &json!(1))
    );
    let (report, _) = world.sync(&["--customer", "cus_kari"]).await;
    assert_eq!(report["created"], json!([nameless.session_id()]));
    let all = world.shop.subscriptions().await;
    let guest = surepass::guest::of_email("tenant-1", &nameless.email);
    let mut owners: Vec<_> = all.iter().map(|one| one["user"].as_str().unwrap()).collect();
    owners.sort_unstable();
    assert_eq!(owners, [guest.as_str(), "user_kari"]);
}

#[tokio::test]
async fn a_stripe_customer_is_known_in_one_account_and_the_others_have_nothing_of_theirs() {
    let world = World::open().await;
    world.import_yoga().await;
    let mut session = world.shop.session().with("tenantId", Some("tenant-2"));
    session.account = Some("acct_yoga".to_owned());
    let mut listed = object(&session);
    listed["customer"] = json!("cus_kari");
    world.stripe.add(Some("acct_yoga"), listed);
    let (report, is_content) = world.sync(&["--customer", "cus_kari"]).await;
    assert!(is_content, "{report}");
    assert_eq!(report["created"], json!([session.session_id()]));
    assert_eq!(world.queue("sync").counts().await.unwrap().dead, 0);
}

#[tokio::test]
async fn an_id_that_no_account_knows_is_told_and_not_taken_for_nothing_missing() {
    let world = World::open().await;
    world.import_yoga().await;
    for asked in [["--customer", "cus_karl"], ["--session", "cs_test_karl"]] {
        let (report, is_content) = world.sync(&asked).await;
        assert!(!is_content, "{report}");
        assert_eq!(
            (&report["done"], &report["totalSessionsFound"]),
            (&json!(true), &json!(0))
        );
        let failure = report["failures"][0].as_str().unwrap();
        assert!(
            failure.starts_with("unknown: none of our Stripe accounts"),
            "{failure}"
        );
    }
    assert_eq!(world.queue("sync").counts().await.unwrap().dead, 0);
}

#[tokio::test]
async fn an_operator_answers_for_an_email_and_a_session_is_brought_however_old_it_is() {
    let world = World::open().await;
    let (asked, other) = (
        by_email(&world, "kari@example.com"),
        by_email(&world, "ola@example.com"),
    );
    let (report, _) = world.sync(&["--email", "KARI@example.com"]).await;
    assert_eq!(report["created"], json!([asked.session_id()]));

    let mut old = world.shop.session();
    old.created = now() - TimeDelta::days(80);
    world.stripe.sell(&old);
    let (report, _) = world.sync(&["--session", &old.session_id()]).await;
    assert_eq!(report["created"], json!([old.session_id()]));
    assert!(!world.shop.fulfilled().await.contains(&other.session_id()));

    let audit = world.shop.store().await.audit().list(10).await.unwrap();
    let acts: Vec<_> = audit.iter().map(|act| act.action.as_str()).collect();
    assert_eq!(acts, ["sync", "sync"]);
    assert_eq!(audit[0].outcome.as_deref(), report["runs"][0].as_str());
    assert!(audit.iter().all(|act| !act.target.contains('@')), "{audit:?}");
}

#[tokio::test]
async fn a_sync_and_a_late_webhook_never_double() {
    let mut world = World::open().await;
    world.shop.start_server().await;
    world.shop.start_worker().await;
    let sold = world.sold_many(120);
    let webhooks = join_all(sold.iter().map(|session| world.shop.buy(session)));
    let (synced, late) = tokio::join!(world.sync(&["--all"]), webhooks);
    assert!(late.iter().all(|answer| answer.status == 200), "{late:?}");
    let (report, is_content) = synced;
    assert!(is_content, "{report}");
    assert_eq!(report["totalSessionsFound"], 120);
    world.shop.settled().await;
    assert_eq!(world.shop.fulfilled().await, ids(&sold));
    // And one that comes when all is done.
    assert_eq!(world.shop.buy(&sold[0]).await, Answer::duplicate());
    assert_eq!(world.shop.fulfilled().await.len(), 120);
}

#[tokio::test]
async fn a_sync_that_nobody_could_do_yet_is_found_again_by_who_asks_again() {
    let mut world = World::prepare().await;
    let session = world.sold();
    let user = format!("user_{}", session.unique);
    let (first, _) = world.sync(&["--user", &user, "--no-wait"]).await;
    let (second, _) = world.sync(&["--user", &user, "--no-wait"]).await;
    assert_eq!(first["runs"], second["runs"]);
    assert_eq!(world.queue("sync").counts().await.unwrap().waiting, 1);
    world.shop.start_worker().await;
    let (report, _) = world.sync(&["--user", &user]).await;
    assert_eq!(report["totalSessionsFound"], 1, "{report}");
    assert_eq!(world.shop.fulfilled().await, [session.session_id()]);
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_in_words() {
    let mut world = World::prepare().await;
    let refused = async |world: &World, arguments: &[&str], status: i32| {
        let output = world.shop.surepass(&[&["sync"], arguments].concat()).await;
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(stdout(&output).is_empty(), "{arguments:?}");
        stderr(&output)
    };
    let told = refused(&world, &["--all", "--tenant", "nobody"], 2).await;
    assert!(told.contains("no tenant has the id or slug `nobody`"), "{told}");
    refused(&world, &[], 2).await;
    refused(&world, &["--all", "--user", "a"], 2).await;
    refused(&world, &["--session", "cs_\n"], 2).await;
    refused(&world, &["--email", "kari"], 2).await;
    world.shop.set("STRIPE_SECRET_KEY", "");
    let told = refused(&world, &["--all"], 1).await;
    assert!(told.contains("STRIPE_SECRET_KEY"), "{told}");
    let worker = world.shop.launch_worker(&[]);
    worker.says("the lookback is off").await;
    worker.says(r#""message":"working""#).await;
    let working: Vec<Value> = worker
        .said()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line["message"] == "working")
        .collect();
    assert!(
        working.iter().all(|line| line["queue"] == "fulfil"),
        "{working:?}"
    );
}
