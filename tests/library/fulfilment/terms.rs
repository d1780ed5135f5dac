//! "Fulfilment" in the rules: how long a subscription lasts, what it cost, what it entitles to.

use serde_json::{Value, json};
use surepass::money::Money;
use surepass::store::{CreatedVia, Expiry, Validity};

use crate::fulfilment::shop::{BOUGHT, Shop, bought, completed, outcome, purchase, session, tenant};

#[tokio::test]
async fn rule_6_start_is_when_the_session_was_created_whichever_layer_fulfils_it_and_whenever() {
    let mut event = completed(&session("a"));
    event["created"] = json!(BOUGHT + 3 * 86_400);
    let by_webhook = bought(&[tenant("t1")], &event).await;
    let shop = Shop::open(&[tenant("t1")]).await;
    let mut late = purchase(&event);
    late.created_via = CreatedVia::Lookback;
    late.event_id = None;
    assert_eq!(shop.fulfil(&late).await, "created");
    let by_lookback = shop.subscription("cs_test_a").await;
    assert_eq!(by_webhook.start_date.timestamp(), BOUGHT);
    assert_eq!(by_webhook.end_date.timestamp(), BOUGHT + 90 * 86_400);
    assert_eq!(
        (by_lookback.start_date, by_lookback.end_date),
        (by_webhook.start_date, by_webhook.end_date)
    );
    assert_eq!(by_lookback.created_via, CreatedVia::Lookback);
}

#[tokio::test]
async fn rule_6_a_session_of_an_api_version_that_had_no_created_starts_with_its_event() {
    let mut session = session("a");
    session["created"] = Value::Null;
    let made = bought(&[tenant("t1")], &completed(&session)).await;
    assert_eq!(made.start_date.timestamp(), BOUGHT + 18);
}

#[tokio::test]
async fn rule_6_end_is_the_passes_fixed_date_and_a_pass_without_either_is_invalid_pass() {
    let mut shop = tenant("t1");
    shop.passes[0].validity = Validity {
        kind: Some("date".to_owned()),
        days: Some(30),
        expiry: Some(Expiry::Date("2025-12-31".parse().unwrap())),
    };
    let made = bought(std::slice::from_ref(&shop), &completed(&session("a"))).await;
    assert_eq!(made.end_date.to_rfc3339(), "2025-12-31T22:59:59.999+00:00");
    shop.passes[0].validity = Validity::default();
    assert_eq!(
        outcome(&[shop], &completed(&session("a"))).await,
        "dead: invalid_pass"
    );
}

#[tokio::test]
async fn rule_7_money_is_in_minor_units_with_its_currency() {
    let metadata = |currency: &str| {
        let mut session = session("a");
        session["currency"] = json!(currency);
        session["amount_total"] = json!(1_200);
        session["metadata"]["originalPrice"] = json!("1500");
        session["metadata"]["finalPrice"] = json!("1200.5");
        session["metadata"]["discountAmount"] = json!("about 300");
        session["metadata"]["promoCode"] = json!("SPRING");
        completed(&session)
    };
    let shop = [tenant("t1")];
    let shown = async |currency: &str| {
        let made = bought(&shop, &metadata(currency)).await;
        assert_eq!(
            (made.discount_amount, made.promo_code.as_deref()),
            (None, Some("SPRING"))
        );
        let text = |money: Option<Money>| money.map_or_else(|| "-".to_owned(), |it| it.to_string());
        (
            made.purchase_price.to_string(),
            text(made.original_price),
            text(made.final_price),
        )
    };
    let three = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    assert_eq!(
        shown("nok").await,
        three("12.00 NOK", "1500.00 NOK", "1200.50 NOK")
    );
    assert_eq!(shown("jpy").await, three("1200 JPY", "1500 JPY", "-"));
    assert_eq!(
        shown("kwd").await,
        three("1.200 KWD", "1500.000 KWD", "1200.500 KWD")
    );
}

#[tokio::test]
async fn rule_7_a_free_pass_costs_nothing_and_an_absent_amount_is_the_passes_price() {
    let with = |amount: Value| {
        let mut session = session("a");
        session["amount_total"] = amount;
        session["currency"] = Value::Null;
        completed(&session)
    };
    let shop = [tenant("t1")];
    assert_eq!(
        bought(&shop, &with(json!(0))).await.purchase_price.to_string(),
        "0.00 NOK"
    );
    assert_eq!(
        bought(&shop, &with(Value::Null)).await.purchase_price.to_string(),
        "1500.00 NOK"
    );
    for odd in [json!(-1), json!("1500"), json!(1.5), json!(1e30)] {
        assert_eq!(
            outcome(&shop, &with(odd.clone())).await,
            "dead: malformed_session",
            "{odd}"
        );
    }
}

#[tokio::test]
async fn rule_12_a_fixed_date_that_had_passed_when_the_pass_was_bought_is_expired_pass() {
    let until = |date: &str| {
        let mut shop = tenant("t1");
        shop.passes[0].validity = Validity {
            kind: Some("date".to_owned()),
            days: None,
            expiry: Some(Expiry::Date(date.parse().unwrap())),
        };
        [shop]
    };
    // Bought 2025-10-30 at 14:34 in Oslo.
    assert_eq!(
        outcome(&until("2025-10-29"), &completed(&session("a"))).await,
        "dead: expired_pass"
    );
    assert_eq!(
        outcome(&until("2025-10-30"), &completed(&session("a"))).await,
        "created"
    );
}

#[tokio::test]
async fn the_kinds_of_passes_become_their_types_of_subscription() {
    let mut shop = tenant("t1");
    let mut of = async |kind: &str, limit| {
        shop.passes[0].kind = kind.to_owned();
        shop.passes[0].classes_limit = limit;
        let open = Shop::open(std::slice::from_ref(&shop)).await;
        let said = open.deliver(&completed(&session("a"))).await;
        let made = open.subscriptions().await.pop();
        made.map_or(said, |made| {
            format!("{} {:?}", made.kind.as_str(), made.remaining_clips)
        })
    };
    assert_eq!(of("single", None).await, "single Some(1)");
    assert_eq!(of("single", Some(5)).await, "single Some(1)");
    assert_eq!(of("multi-pass", Some(5)).await, "multi-pass Some(5)");
    assert_eq!(of("multi", Some(5)).await, "clipcard Some(5)");
    assert_eq!(of("unlimited", Some(5)).await, "monthly None");
    assert_eq!(of("multi", None).await, "dead: invalid_pass");
    assert_eq!(of("multi-pass", Some(0)).await, "dead: invalid_pass");
    assert_eq!(of("subscription", Some(5)).await, "dead: invalid_pass_type");
}

#[tokio::test]
async fn rule_7_the_catalogs_price_stands_in_only_in_its_own_currency() {
    let mut session = session("a");
    session["amount_total"] = Value::Null;
    session["currency"] = json!("jpy");
    let made = bought(&[tenant("t1")], &completed(&session)).await;
    assert_eq!(
        (made.purchase_price.to_string().as_str(), made.currency.code()),
        ("1500.00 NOK", "nok")
    );
}
