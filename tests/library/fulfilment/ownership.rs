//! "Fulfilment" rules 3 and 10 where tenants share a Stripe account: Stripe sends each event to the endpoint of every tenant.

use chrono::DateTime;
use serde_json::{Value, json};
use surepass::fulfil::{ProvedBy, Purchase, TenantPath};
use surepass::ingest::{Triage, triage};
use surepass::store::{CreatedVia, LoggedEvent, Tenant};
use surepass::stripe::Event;

use crate::fulfilment::shop::{BOUGHT, Shop, completed, completed_on, connected, pass, session_with, tenant};

const FOREIGN: &str = "ignored: another_tenants";

/// A tenant that sells a pass of its own, by a price of its own, beside the `pass-10` that all of them sell.
fn seller(id: &str) -> Tenant {
    let mut seller = tenant(id);
    seller.passes.push(pass(&format!("pass-of-{id}"), "multi"));
    seller.passes[1].stripe_price_ids = vec![format!("price_of_{id}")];
    seller
}

fn named(metadata: Value) -> Value {
    completed(&session_with("a", metadata))
}

/// As a Payment Link is told by a list with its line items: nothing but the price.
fn priced(price: &str) -> Value {
    let mut session = session_with("a", json!({}));
    session["line_items"] = json!({"data": [{"price": {"id": price}}]});
    completed(&session)
}

fn at_path(path: &str, proved_by: Option<ProvedBy>, event: &Value) -> Purchase {
    let event = Event::parse(event.to_string().as_bytes()).unwrap();
    let path = TenantPath {
        slug: path,
        proved_by: ProvedBy::Tenant,
    };
    match triage(&event, Some(path), CreatedVia::Webhook) {
        Triage::Fulfil(mut purchase) => {
            purchase.proved_by = proved_by;
            purchase
        }
        Triage::Ignore(why) => panic!("ignored: {why}"),
    }
}

#[tokio::test]
async fn rule_3_without_path_account_or_metadata_the_only_tenant_that_sells_the_price() {
    let mut twin = seller("t3");
    twin.passes[1].stripe_price_ids = vec!["price_of_t1".to_owned()];
    let of = async |tenants: &[Tenant], event: &Value| {
        let shop = Shop::open(tenants).await;
        let said = shop.deliver(event).await;
        shop.subscriptions().await.pop().map_or(said, |made| made.tenant)
    };
    let two = [seller("t1"), seller("t2")];
    assert_eq!(of(&two, &priced("price_of_t2")).await, "t2");
    assert_eq!(of(&two, &priced("price_unknown")).await, "unmatched: unmatched");
    let three = [seller("t1"), seller("t2"), twin];
    assert_eq!(
        of(&three, &priced("price_of_t1")).await,
        "dead: unresolved_tenant"
    );
}

#[tokio::test]
async fn rule_3_on_a_shared_account_metadata_goes_before_the_price_and_the_price_before_the_path() {
    let to = async |path: &str, event: &Value| {
        let shop = Shop::open(&[seller("t1"), seller("t2")]).await;
        let said = shop.deliver_to(Some(path), event).await;
        shop.subscriptions().await.pop().map_or(said, |made| made.tenant)
    };
    let typed = |more: Value| {
        let mut metadata = json!({"type": "pass_purchase", "passId": "pass-10"});
        metadata
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        named(metadata)
    };
    let of_t1 = typed(json!({"tenantId": "t1"}));
    assert_eq!(to("t1-slug", &of_t1).await, "t1");
    assert_eq!(to("t2-slug", &of_t1).await, FOREIGN);
    assert_eq!(to("t1-slug", &priced("price_of_t1")).await, "t1");
    assert_eq!(to("t2-slug", &priced("price_of_t1")).await, FOREIGN);
    assert_eq!(to("t2-slug", &typed(json!({}))).await, "t2");
    let only_of_t1 = named(json!({"type": "pass_purchase", "passId": "pass-of-t1"}));
    assert_eq!(to("t1-slug", &only_of_t1).await, "t1");
    assert_eq!(to("t2-slug", &only_of_t1).await, FOREIGN);
    // What names a tenant that nobody knows is for a person.
    assert_eq!(
        to("t2-slug", &typed(json!({"tenantId": "t9"}))).await,
        "dead: tenant_mismatch"
    );
}

#[tokio::test]
async fn rule_3_a_secret_of_one_tenant_never_makes_another_tenants_pass() {
    let of_t1 = named(json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": "t1"}));
    let shop = Shop::open(&[seller("t1"), seller("t2"), connected("t3", "acct_3")]).await;
    let by_tenant = at_path("t2-slug", Some(ProvedBy::Tenant), &of_t1);
    assert_eq!(by_tenant.job_key(), "fulfil:t2-slug:cs_test_a");
    assert_eq!(shop.fulfil(&by_tenant).await, FOREIGN);
    // Another account's is a misfit, and no neighbour's.
    let strange = at_path("t3-slug", Some(ProvedBy::Tenant), &of_t1);
    assert_eq!(shop.fulfil(&strange).await, "dead: tenant_mismatch");
    let strange = at_path(
        "t2-slug",
        Some(ProvedBy::Tenant),
        &completed_on(
            "acct_3",
            &session_with(
                "a",
                json!({
        "type": "pass_purchase", "passId": "pass-10", "tenantId": "t3"}),
            ),
        ),
    );
    assert_eq!(shop.fulfil(&strange).await, "dead: tenant_mismatch");
    assert!(shop.subscriptions().await.is_empty());
    // The platform's own secret, at whichever path, speaks for all.
    let by_platform = at_path("t2-slug", Some(ProvedBy::Platform), &of_t1);
    assert_eq!(by_platform.job_key(), "fulfil:cs_test_a");
    assert_eq!(shop.fulfil(&by_platform).await, "created");
    assert_eq!(shop.subscriptions().await[0].tenant, "t1");
}

/// Jobs of older programs do not say whose secret proved them.
#[tokio::test]
async fn rule_3_an_older_programs_job_at_a_wrong_path_stays_for_a_person_until_its_owner_has_the_pass() {
    let shop = Shop::open(&[seller("t1"), seller("t2")]).await;
    let of_t1 = named(json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": "t1"}));
    let old = at_path("t2-slug", None, &of_t1);
    assert_eq!(old.job_key(), "fulfil:cs_test_a");
    assert_eq!(shop.fulfil(&old).await, "dead: tenant_mismatch");
    assert_eq!(shop.deliver_to(Some("t1-slug"), &of_t1).await, "created");
    assert_eq!(shop.fulfil(&old).await, FOREIGN);
}

#[tokio::test]
async fn rule_3_what_the_path_told_is_kept_for_whatever_looks_at_the_purchase_later() {
    let shop = Shop::open(&[seller("t1"), seller("t2")]).await;
    let event = named(json!({"type": "pass_purchase", "passId": "pass-10"}));
    assert_eq!(shop.deliver(&event).await, "dead: unresolved_tenant");
    let logged = |id: &str, slug: Option<&str>| LoggedEvent {
        id: id.to_owned(),
        kind: "checkout.session.completed".to_owned(),
        account: None,
        livemode: false,
        tenant_slug: slug.map(str::to_owned),
        object_id: Some("cs_test_a".to_owned()),
        outcome: "enqueued".to_owned(),
        created_at: DateTime::from_timestamp(BOUGHT, 0).unwrap(),
        received_at: DateTime::from_timestamp(BOUGHT, 0).unwrap(),
        body: None,
    };
    let log = async |events: Vec<LoggedEvent>| shop.store.events().append(&events).await.unwrap();
    log(vec![
        logged("evt_1", None),
        logged("evt_2", Some("t1-slug")),
        logged("evt_3", Some("t2-slug")),
    ])
    .await;
    // Two paths: whose it is stays open.
    assert_eq!(shop.deliver(&event).await, "dead: unresolved_tenant");

    let shop = Shop::open(&[seller("t1"), seller("t2")]).await;
    let log = async |events: Vec<LoggedEvent>| shop.store.events().append(&events).await.unwrap();
    log(vec![logged("evt_1", None), logged("evt_2", Some("t2-slug"))]).await;
    assert_eq!(shop.deliver(&event).await, "created");
    assert_eq!(shop.subscriptions().await[0].tenant, "t2");
}
