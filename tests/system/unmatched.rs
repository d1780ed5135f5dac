//! Payments that no pass can be told of: a person finds them, and gives the pass or closes them.

use serde_json::{Value, json};
use surepass::up::sample::SampleSession;

use crate::store_outage::run;
use support::program::{eventually, stderr, stdout};
use support::shop::Shop;

/// What the page shows of the only open one: its reference.
async fn reference(shop: &Shop) -> String {
    let list = shop.json(&["unmatched", "list", "--json"]).await;
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    list[0]["reference"].as_str().unwrap().to_owned()
}

/// Buys what no pass can be told of, and answers its reference.
async fn parked(shop: &Shop, session: &SampleSession) -> String {
    shop.buy(session).await;
    shop.worked_off().await;
    reference(shop).await
}

/// Without a key for Stripe, so that no line items can be read.
async fn open() -> Shop {
    let mut shop = Shop::prepare("").await;
    shop.set("STRIPE_SECRET_KEY", "");
    shop.start_server().await;
    shop.start_worker().await;
    shop
}

fn without_metadata(shop: &Shop) -> SampleSession {
    let keys = ["type", "passId", "passName", "userId", "tenantId"];
    keys.into_iter()
        .fold(shop.session(), |session, key| session.with(key, None))
}

#[tokio::test]
async fn a_payment_without_metadata_is_listed_and_assigned_and_its_buyer_has_the_pass() {
    let shop = open().await;
    let session = without_metadata(&shop);
    let reference = parked(&shop, &session).await;
    let list = shop.surepass(&["unmatched", "list"]).await;
    let page = stdout(&list);
    assert!(
        page.contains(&reference) && page.contains(&session.session_id()),
        "{page}"
    );
    assert!(
        !page.contains(&session.email),
        "who it is needs --personal: {page}"
    );

    let wrong = shop
        .surepass(&[
            "unmatched",
            "assign",
            &reference,
            "--pass",
            "no-such-pass",
            "--why",
            "ticket 1",
        ])
        .await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("it has: pass-"), "{}", stderr(&wrong));
    assert!(shop.fulfilled().await.is_empty());

    // An owner whom nobody can sign in as would keep the pass from everybody.
    for user in [
        " ",
        " user_ada ",
        "guest-00000000000000000000000000000000",
        "a\u{1b}b",
    ] {
        let arguments = [
            "assign", &reference, "--pass", "pass-10", "--user", user, "--why", "ticket 1",
        ];
        let refused = shop.surepass(&[&["unmatched"], &arguments[..]].concat()).await;
        assert_eq!(refused.status.code(), Some(2), "{user:?}: {}", stderr(&refused));
    }
    assert!(shop.fulfilled().await.is_empty());

    let given = shop
        .surepass(&[
            "unmatched",
            "assign",
            &reference.to_lowercase(),
            "--pass",
            "pass-10",
            "--why",
            "ticket 1",
        ])
        .await;
    assert!(given.status.success(), "{}{}", stdout(&given), stderr(&given));
    assert_eq!(shop.fulfilled().await, [session.session_id()]);
    assert_eq!(shop.subscriptions().await[0]["createdVia"], "support");
    let list = stdout(&shop.surepass(&["unmatched", "list"]).await);
    assert!(list.starts_with("No unmatched payments"), "{list}");
    let again = shop
        .surepass(&[
            "unmatched",
            "assign",
            &reference,
            "--pass",
            "pass-10",
            "--why",
            "ticket 1",
        ])
        .await;
    assert!(stderr(&again).contains("closed already"), "{}", stderr(&again));
    let audit = shop.store().await.audit().list(10).await.unwrap();
    let acts: Vec<_> = audit
        .iter()
        .map(|one| (one.action.as_str(), one.outcome.as_deref()))
        .collect();
    assert_eq!(acts, [("unmatched.assign", Some("enqueued"))]);
}

#[tokio::test]
async fn a_case_whose_pass_came_unseen_is_closed_by_the_workers() {
    let shop = open().await;
    let session = without_metadata(&shop);
    let reference = parked(&shop, &session).await;
    let assigned = shop
        .surepass(&[
            "unmatched",
            "assign",
            &reference,
            "--pass",
            "pass-10",
            "--why",
            "a test",
        ])
        .await;
    assert!(assigned.status.success(), "{}", stderr(&assigned));
    // As where the case was opened in the moment in which its pass was made.
    run(
        &shop,
        "UPDATE unmatched_payments SET state = 'open', resolution = NULL",
    )
    .await;
    eventually("the case is closed again", async || {
        shop.json(&["unmatched", "list", "--json"]).await == json!([])
    })
    .await;
}

#[tokio::test]
async fn a_payment_that_a_person_closed_is_counted_by_nobody_any_more() {
    let shop = open().await;
    let session = shop.session().with("passId", Some("gone")).with("passName", None);
    let reference = parked(&shop, &session).await;
    let verdict = stdout(&shop.surepass(&["doctor"]).await);
    assert!(
        verdict.starts_with("1 paid purchase has no pass: unresolved_pass (1)"),
        "{verdict}"
    );
    let without_reason = shop
        .surepass(&["unmatched", "close", &reference, "--why", " "])
        .await;
    assert_eq!(without_reason.status.code(), Some(2));
    let closed = shop
        .surepass(&[
            "unmatched",
            "close",
            &session.session_id(),
            "--why",
            "refunded by bank transfer",
        ])
        .await;
    assert!(closed.status.success(), "{}", stderr(&closed));
    let verdict = stdout(&shop.surepass(&["doctor"]).await);
    assert!(!verdict.contains("has no pass:"), "{verdict}");
    let all = shop.json(&["unmatched", "list", "--all", "--json"]).await;
    assert_eq!(all[0]["resolution"], "person");
    assert_eq!(
        all[0]["history"].as_array().unwrap().last().unwrap()["why"],
        "refunded by bank transfer"
    );
}

#[tokio::test]
async fn a_job_is_shown_with_its_case_and_what_to_type_next() {
    let shop = open().await;
    let session = shop.session().with("passId", Some("gone")).with("passName", None);
    let reference = parked(&shop, &session).await;
    let id = session.session_id();
    let told = async || stdout(&shop.surepass(&["jobs", "show", &id]).await);
    let text = told().await;
    let case = &shop.json(&["unmatched", "list", "--json"]).await[0]["id"];
    let case = case.as_str().unwrap();
    assert!(
        text.contains(&format!(
            "  unmatched  {reference}, open (unresolved_pass, {case})\n  next       surepass unmatched assign {reference} --pass \
             P --why '…'\n             or surepass unmatched close {reference} --why '…'\n"
        )),
        "{text}"
    );
    // What killed it says how a person gives the pass.
    let advice = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        advice.contains("surepass unmatched assign ID --pass P --why …"),
        "{text}"
    );
    let document = shop.json(&["jobs", "show", &id, "--json"]).await;
    assert_eq!(
        (
            &document["state"],
            &document["case"]["reference"],
            &document["case"]["state"]
        ),
        (&json!("dead"), &json!(reference), &json!("open")),
        "{document}"
    );
    let closed = shop
        .surepass(&["unmatched", "close", &reference, "--why", "paid in cash"])
        .await;
    assert!(closed.status.success(), "{}", stderr(&closed));
    let text = told().await;
    assert!(
        text.contains(&format!(
            "  unmatched  {reference}, closed by hand (unresolved_pass, "
        )) && !text.contains("  next  "),
        "{text}"
    );
}

/// The object is a charge, as Stripe's own is: it names the payment, and no session.
fn full_refund(shop: &Shop, session: &SampleSession) -> Vec<u8> {
    let event: Value = serde_json::from_slice(&session.event("checkout.session.completed", 1)).unwrap();
    let payment = &event["data"]["object"]["payment_intent"];
    let mut refund: Value = serde_json::from_slice(&shop.session().event("charge.refunded", 1)).unwrap();
    refund["data"]["object"] = json!({
        "id": "ch_refunded", "object": "charge", "payment_intent": payment, "amount": 150_000, "amount_captured": 150_000,
        "amount_refunded": 150_000, "currency": "nok", "refunded": true
    });
    serde_json::to_vec(&refund).unwrap()
}

#[tokio::test]
async fn a_full_refund_closes_the_case_of_its_payment_whichever_event_comes_first() {
    let shop = open().await;
    for refund_first in [true, false] {
        let session = without_metadata(&shop);
        let refund = full_refund(&shop, &session);
        if refund_first {
            shop.deliver(refund).await;
            shop.settled().await;
            shop.buy(&session).await;
        } else {
            shop.buy(&session).await;
            shop.worked_off().await;
            reference(&shop).await;
            shop.deliver(refund).await;
        }
        shop.settled().await;
        let open = shop.json(&["unmatched", "list", "--json"]).await;
        assert_eq!(open, json!([]), "refund first: {refund_first}");
    }
    let all = shop.json(&["unmatched", "list", "--all", "--json"]).await;
    let resolutions: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|case| &case["resolution"])
        .collect();
    assert_eq!(resolutions, ["refund", "refund"]);
    let doctor = stdout(&shop.surepass(&["doctor"]).await);
    assert!(!doctor.contains("has no pass"), "{doctor}");
}
