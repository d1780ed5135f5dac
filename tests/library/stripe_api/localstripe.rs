//! Customers, payments, refunds and events against `PyPI`'s `localstripe`. It knows no Checkout Session, gives no codes
//! in its errors, cannot list one payment's refunds, and lists events the oldest first, without Stripe's filters.

use surepass::stripe::api::{EventFilter, ListedEvent};

use crate::stripe_api::peer::Peer;

async fn localstripe() -> Peer {
    Peer::start(
        "python3",
        "tests/peers/serve_localstripe.py",
        ".tools/python/localstripe",
    )
    .await
}

#[tokio::test]
async fn a_payment_its_charge_and_its_refunds_are_read() {
    let peer = localstripe().await;
    let customer = peer
        .post(
            "/v1/customers",
            &[("email", "kari@example.com"), ("name", "Kari")],
        )
        .await;
    let customer = customer["id"].as_str().unwrap();
    let card = [
        ("type", "card"),
        ("card[number]", "4242424242424242"),
        ("card[exp_month]", "12"),
        ("card[exp_year]", "2040"),
        ("card[cvc]", "123"),
    ];
    let method = peer.post("/v1/payment_methods", &card).await;
    let method = method["id"].as_str().unwrap();
    peer.post(
        &format!("/v1/payment_methods/{method}/attach"),
        &[("customer", customer)],
    )
    .await;
    let intent = [
        ("amount", "150000"),
        ("currency", "nok"),
        ("customer", customer),
        ("payment_method", method),
    ];
    let intent = peer.post("/v1/payment_intents", &intent).await;
    let intent = intent["id"].as_str().unwrap();
    let account = peer.client().account(None);
    let unpaid = account.payment_intent(intent).await.unwrap().unwrap();
    assert_eq!((unpaid.amount, unpaid.charge), (Some(150_000), None));
    assert_eq!(unpaid.status.as_deref(), Some("requires_confirmation"));

    peer.post(&format!("/v1/payment_intents/{intent}/confirm"), &[])
        .await;
    let paid = account.payment_intent(intent).await.unwrap().unwrap();
    assert_eq!(
        (paid.status.as_deref(), paid.customer.as_deref()),
        (Some("succeeded"), Some(customer))
    );
    let charge = paid.charge.unwrap();
    assert_eq!((charge.amount, charge.amount_refunded), (Some(150_000), Some(0)));
    assert_eq!(
        (charge.currency.as_deref(), charge.refunded),
        (Some("nok"), Some(false))
    );

    peer.post("/v1/refunds", &[("charge", &charge.id), ("amount", "50000")])
        .await;
    peer.post("/v1/refunds", &[("charge", &charge.id), ("amount", "100000")])
        .await;
    let refunded = account.charge(&charge.id).await.unwrap().unwrap();
    assert_eq!(
        (refunded.amount_refunded, refunded.refunded),
        (Some(150_000), Some(true))
    );
}

#[tokio::test]
async fn all_pages_of_its_events_are_read_with_their_own_json() {
    let peer = localstripe().await;
    for n in 0..120 {
        peer.post("/v1/customers", &[("email", &format!("buyer{n}@example.com"))])
            .await;
    }
    let account = peer.client().account(None);
    let mut pages = account.events(EventFilter::default());
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!(
        (first.items.len(), first.has_more, first.unreadable),
        (100, true, 0)
    );
    let second = pages.next().await.unwrap().unwrap();
    assert_eq!((second.items.len(), second.has_more), (20, false));
    let emails = first
        .items
        .iter()
        .chain(&second.items)
        .map(|ListedEvent { event, body }| {
            assert_eq!(event.kind, "customer.created");
            let body: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(body["id"].as_str(), Some(event.id.as_str()));
            body["data"]["object"]["email"].as_str().unwrap().to_owned()
        });
    let expected: Vec<_> = (0..120).map(|n| format!("buyer{n}@example.com")).collect();
    assert_eq!(emails.collect::<Vec<_>>(), expected);
}
