//! Stripe Connect: the key's own account and each tenant's.

use chrono::TimeDelta;
use serde_json::json;
use surepass::store::CreatedVia;
use surepass::up::sample::SampleSession;

use crate::reconcile::fixture::{Fixture, Ledger, listed};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// The example's studio in the key's own account, and two tenants with accounts of their own.
async fn connected() -> Fixture {
    let fixture = Fixture::open().await;
    let tenant = |name: &str| {
        json!({"id": format!("tenant-{name}"), "slug": name, "name": name, "timeZone": "Europe/Oslo",
            "webhookSecrets": [], "stripeAccount": format!("acct_{name}"),
            "passes": [{"id": "pass-10", "name": "10 classes", "type": "multi", "classesLimit": 10,
                "price": 150_000, "currency": "nok", "validityType": "days", "validityDays": 90,
                "isActive": true}]})
    };
    let catalog = json!({"tenants": [tenant("dance"), tenant("yoga")]});
    let file = fixture.shop.file("connected.json", &catalog.to_string());
    let imported = fixture
        .shop
        .surepass(&["catalog", "import", file.to_str().unwrap()])
        .await;
    assert!(imported.status.success(), "{imported:?}");
    fixture
}

fn sold(name: &str, tenant: &str) -> SampleSession {
    let session = Fixture::sold(name, 5).with("tenantId", Some(&format!("tenant-{tenant}")));
    SampleSession {
        account: Some(format!("acct_{tenant}")),
        ..session
    }
}

fn by_account(ledger: &Ledger) -> Vec<(Option<&str>, u64, u64)> {
    let accounts = ledger.json["accounts"].as_array().unwrap();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    accounts
        .iter()
        .map(|one| {
            (
                one["account"].as_str(),
                number(&one["paid"]),
                number(&one["missing"]),
            )
        })
        .collect()
}

#[tokio::test]
async fn every_account_is_read_and_tenant_narrows_it_to_one() {
    let fixture = connected().await;
    fixture.sell("OWN", 5).await;
    for name in ["Y1", "Y2"] {
        let session = sold(name, "yoga");
        fixture.stripe.add("acct_yoga", listed(&session));
        fixture.fulfil(&session, CreatedVia::Webhook, MINUTE).await;
    }
    let lost = sold("D1", "dance");
    fixture.stripe.add("acct_dance", listed(&lost));

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(
        by_account(&ledger),
        [
            (None, 1, 0),
            (Some("acct_dance"), 1, 1),
            (Some("acct_yoga"), 2, 0)
        ]
    );
    assert_eq!(ledger.sessions("missing"), [lost.session_id()]);
    let finding = &ledger.json["missing"]["items"][0];
    assert_eq!(
        (&finding["account"], &finding["tenant"]),
        (&json!("acct_dance"), &json!("tenant-dance"))
    );

    let yoga = fixture.reconcile(&["--tenant", "yoga"]).await;
    assert_eq!(by_account(&yoga), [(Some("acct_yoga"), 2, 0)]);
    yoga.finds_nothing();
    let studio = fixture.reconcile(&["--tenant", "studio"]).await;
    assert_eq!(by_account(&studio), [(None, 1, 0)]);
    studio.finds_nothing();
}

#[tokio::test]
async fn an_unknown_tenant_is_misuse() {
    let fixture = Fixture::open().await;
    let ledger = fixture.reconcile(&["--tenant", "nobody"]).await;
    assert_eq!(ledger.status, 2);
    assert_eq!(
        ledger.stderr,
        "surepass: no tenant has the id or slug `nobody`. Tenants: studio\n"
    );
    assert_eq!(fixture.stripe.calls(), 0);
}

#[tokio::test]
async fn a_purchase_in_anothers_account_is_missing_with_the_reason_and_one_that_was_fulfilled_is_wrong() {
    let fixture = connected().await;
    let forged = sold("F", "yoga");
    fixture.stripe.add("acct_dance", listed(&forged));
    let granted = sold("G", "yoga");
    fixture.fulfil(&granted, CreatedVia::Webhook, MINUTE).await;
    fixture.stripe.add("acct_dance", listed(&granted));

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.sessions("missing"), [forged.session_id()]);
    let why = ledger.json["missing"]["items"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("tenant_mismatch: "), "{why}");
    assert_eq!(ledger.sessions("wrong"), [granted.session_id()]);
    assert_eq!(
        ledger.json["wrong"]["items"][0]["differences"][0]["store"],
        "tenant-yoga"
    );
}

#[tokio::test]
async fn an_account_that_cannot_be_read_does_not_stop_the_others_and_is_never_all_fine() {
    let fixture = connected().await;
    let session = sold("Y", "yoga");
    fixture.stripe.add("acct_yoga", listed(&session));
    fixture.fulfil(&session, CreatedVia::Webhook, MINUTE).await;
    fixture.stripe.fail("acct_dance", 0, 401);

    let ledger = fixture.reconcile(&[]).await;
    assert_eq!(ledger.status, 1);
    assert_eq!(
        (&ledger.json["ok"], &ledger.json["complete"]),
        (&json!(false), &json!(false))
    );
    assert_eq!(by_account(&ledger).last().unwrap(), &(Some("acct_yoga"), 1, 0));
    assert!(
        ledger
            .stderr
            .contains("this proves nothing. Only 0 sessions of acct_dance were read."),
        "{}",
        ledger.stderr
    );
}
