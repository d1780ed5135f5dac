//! What became of a purchase that only Stripe knows of.

use futures::future::join_all;
use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn unpaid_pending_declined_and_expired_are_told_apart_and_pending_is_never_failed() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    for (outcome, state, processing) in [
        ("open", "unpaid", false),
        ("unpaid", "pending", true),
        ("failed", "declined", false),
        ("expired", "expired", false),
    ] {
        let session = studio.stripe.session("kari", outcome).await;
        let told = studio.told(&token, &session).await;
        assert_eq!(
            (&told["found"], &told["processing"], &told["state"]),
            (&json!(false), &json!(processing), &json!(state)),
            "{told}"
        );
        assert!(told.get("webhookError").is_none(), "{told}");
    }
    let session = studio.stripe.session("kari", "unpaid").await;
    let message = studio.told(&token, &session).await["message"].clone();
    let message = message.as_str().unwrap();
    assert!(
        message.contains("Your pass appears here as soon as it arrives"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_purchase_of_which_no_webhook_came_is_fulfilled_right_away_by_the_ordinary_job() {
    let studio = Fixture::open().await;
    let session = studio.stripe.session("kari", "paid").await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.told(&token, &session).await;
    assert_eq!(
        (&told["found"], &told["processing"]),
        (&json!(false), &json!(true))
    );
    studio.until(&token, &session, "active").await;
    let subscriptions = studio.shop.subscriptions().await;
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(
        (
            &subscriptions[0]["stripeSessionId"],
            &subscriptions[0]["createdVia"],
            &subscriptions[0]["user"]
        ),
        (&json!(session), &json!("status"), &json!("kari"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_all_of_the_money_back_and_never_had_the_pass_is_not_given_it_for_asking() {
    let studio = Fixture::open().await;
    let session = studio.stripe.session("kari", "paid").await;
    studio.stripe.refund(&session).await;
    let token = studio.sign_in.token("kari").await;
    let told = studio.told(&token, &session).await;
    assert_eq!(
        (&told["found"], &told["processing"], &told["state"]),
        (&json!(false), &json!(false), &json!("refunded")),
        "{told}"
    );
    assert_eq!(told["contact"], "Studio One");
    studio.shop.settled().await;
    assert_eq!(studio.shop.fulfilled().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_pays_while_the_page_asks_is_told_so_soon() {
    let studio = Fixture::open().await;
    let session = studio.stripe.session("kari", "open").await;
    let token = studio.sign_in.token("kari").await;
    assert_eq!(studio.told(&token, &session).await["state"], "unpaid");
    studio.stripe.pay(&session).await;
    studio.until(&token, &session, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stripe_is_asked_once_however_many_ask() {
    let mut studio = Fixture::open_with("asks_per_minute = 1000\nrequests_per_minute = 10000").await;
    studio.shop.start_server().await;
    // Slow enough that all of them come while one asks.
    studio
        .stripe
        .faults(json!({"api": {"drip": 100, "drip_ms": 700}}))
        .await;
    let session = studio.stripe.session("kari", "open").await;
    let token = studio.sign_in.token("kari").await;
    let all = join_all((0..40).map(|_| studio.told(&token, &session))).await;
    assert!(all.iter().all(|told| told["state"] == "unpaid"), "{all:?}");
    assert_eq!(studio.stripe.reads(&session).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_names_nobody_is_theirs_whose_verified_email_bought_it() {
    let studio = Fixture::open().await;
    let bought_by = async |email: &str| {
        let metadata = json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": "tenant-1"});
        let order = json!({"guests": true, "email": email, "webhooks": "none", "metadata": metadata});
        studio.stripe.session_with(order).await
    };
    let session = bought_by("Kari@Example.com").await;
    let mut claims = crate::sign_in::claims("kari");
    claims["email_verified"] = json!(false);
    let unverified = studio.sign_in.signed("rsa", claims).await;
    assert_eq!(studio.told(&unverified, &session).await["state"], "unknown");
    let ola = studio.sign_in.token("ola").await;
    assert_eq!(studio.told(&ola, &session).await["state"], "unknown");
    let kari = studio.sign_in.token("kari").await;
    studio.until(&kari, &session, "active").await;
    assert_eq!(studio.shop.subscriptions().await[0]["user"], "kari");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stripe_is_away_a_purchase_is_unknown_and_never_failed() {
    let studio = Fixture::open().await;
    studio.stripe.faults(json!({"api": {"error": 100}})).await;
    let session = studio.stripe.session("kari", "paid").await;
    let token = studio.sign_in.token("kari").await;
    assert_eq!(studio.told(&token, &session).await["state"], "unknown");
    studio.stripe.faults(json!({})).await;
    studio.until(&token, &session, "active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_account_is_asked_for_its_own_tenant_only() {
    let studio = Fixture::open().await;
    let metadata =
        json!({"type": "pass_purchase", "passId": "pass-10", "userId": "kari", "tenantId": "tenant-2"});
    let order = json!({"guests": true, "webhooks": "none", "metadata": metadata, "account": "acct_other"});
    let session = studio.stripe.session_with(order).await;
    let token = studio.sign_in.token("kari").await;
    // The studio's account has no such session.
    assert_eq!(studio.told(&token, &session).await["state"], "unknown");
    let asking = async {
        loop {
            let request = studio
                .request(reqwest::Method::POST, crate::fixture::STATUS)
                .bearer_auth(&token)
                .header("x-tenant-slug", "other")
                .json(&json!({"sessionId": session}));
            if studio.send(request).await.body["state"] == "active" {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    support::program::awaited("the pass of the other school", asking).await;
    assert_eq!(studio.shop.subscriptions().await[0]["tenant"], "tenant-2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_another_tenant_is_not_told_of_or_fulfilled_at_this_one() {
    let studio = Fixture::open().await;
    let metadata =
        json!({"type": "pass_purchase", "passId": "pass-10", "userId": "kari", "tenantId": "tenant-2"});
    let order = json!({"guests": true, "webhooks": "none", "metadata": metadata});
    let session = studio.stripe.session_with(order).await;
    let token = studio.sign_in.token("kari").await;
    assert_eq!(studio.told(&token, &session).await["state"], "unknown");
    assert_eq!(studio.stripe.reads(&session).await, 1);
    studio.shop.settled().await;
    assert_eq!(studio.shop.fulfilled().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_session_that_is_no_pass_is_told_with_a_reference_and_looking_runs_its_job_once() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let order = json!({"outcome": "paid", "guests": true, "email": "kari@example.com", "webhooks": "none",
        "metadata": {"userId": "kari", "tenantId": "tenant-1"}});
    let session = studio.stripe.session_with(order).await;
    let told = studio.until(&token, &session, "unmatched").await;
    assert_eq!(
        (&told["found"], &told["processing"]),
        (&json!(false), &json!(false))
    );
    let cases = studio.shop.store().await;
    let case = cases
        .unmatched()
        .find_unmatched(&session)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(told["reference"], json!(case.reference));
    for _ in 0..30 {
        let again = studio.told(&token, &session).await;
        assert_eq!(again["state"], "unmatched", "{again}");
    }
    let said = studio.shop.workers[0].said();
    let runs = said
        .lines()
        .filter(|line| line.contains("unmatched payment") && line.contains(&session));
    assert_eq!(runs.count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_for_something_else_is_not_a_pass_and_runs_nothing() {
    let studio = Fixture::open().await;
    let token = studio.sign_in.token("kari").await;
    let order = json!({"outcome": "paid", "guests": true, "email": "kari@example.com", "webhooks": "none",
        "metadata": {"type": "mug", "userId": "kari", "tenantId": "tenant-1"}});
    let session = studio.stripe.session_with(order).await;
    for _ in 0..30 {
        let told = studio.told(&token, &session).await;
        assert_eq!(
            (&told["state"], &told["processing"]),
            (&json!("not_a_pass"), &json!(false)),
            "{told}"
        );
    }
    assert_eq!(studio.shop.counts().await.done, 0);
}
