//! Listing and paging against npm's `emulate`.

use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use surepass::stripe::api::SessionFilter;
use surepass::stripe::{PaymentStatus, SessionMode};

use crate::stripe_api::peer::Peer;

async fn emulate() -> Peer {
    Peer::start(
        "node",
        "tests/peers/serve_emulate.mjs",
        ".tools/node/node_modules/emulate",
    )
    .await
}

#[tokio::test]
async fn all_pages_of_350_sessions_are_read_once_and_in_order() {
    let peer = emulate().await;
    let mut made = Vec::new();
    for n in 0..350 {
        let passes = n.to_string();
        let form = [
            ("mode", "payment"),
            ("metadata[passId]", "pass-10"),
            ("metadata[n]", &passes),
        ];
        let session = peer.post("/v1/checkout/sessions", &form).await;
        made.push(session["id"].as_str().unwrap().to_owned());
    }
    for paid in &made[..3] {
        peer.post(&format!("/checkout/{paid}/complete"), &[]).await;
    }
    made.reverse();
    let account = peer.client().account(None);

    let mut pages = account.sessions(SessionFilter::default());
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        sizes.push((page.items.len(), page.has_more, page.unreadable));
    }
    assert_eq!(
        sizes,
        [(100, true, 0), (100, true, 0), (100, true, 0), (50, false, 0)]
    );

    let all = account.sessions(SessionFilter::default()).into_stream();
    let all: Vec<_> = all.try_collect().await.unwrap();
    let ids: Vec<_> = all.iter().filter_map(|session| session.id.clone()).collect();
    assert_eq!(ids, made, "the newest first");
    let newest = &all[0];
    assert_eq!(newest.metadata["n"], "349");
    assert_eq!(newest.payment_status, Some(PaymentStatus::Unpaid));
    assert!(newest.created.is_some() && newest.unreadable.is_empty());

    let complete = SessionFilter {
        status: Some("complete".to_owned()),
        ..SessionFilter::default()
    };
    let complete: Vec<_> = account
        .sessions(complete)
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    let paid: Vec<_> = complete
        .iter()
        .map(|session| session.payment_status.unwrap())
        .collect();
    assert_eq!(
        paid,
        [PaymentStatus::Paid, PaymentStatus::Paid, PaymentStatus::Paid]
    );

    let middle = SessionFilter {
        starting_after: Some(made[99].clone()),
        ..SessionFilter::default()
    };
    let page = account
        .sessions(middle)
        .page_size(3)
        .next()
        .await
        .unwrap()
        .unwrap();
    let ids: Vec<_> = page
        .items
        .iter()
        .filter_map(|session| session.id.clone())
        .collect();
    assert_eq!(
        (ids, page.last_id.as_ref()),
        (made[100..103].to_vec(), Some(&made[102]))
    );
}

#[tokio::test]
async fn created_bounds_what_is_listed_and_one_session_is_found_by_its_id() {
    let peer = emulate().await;
    let session = peer.post("/v1/checkout/sessions", &[("mode", "payment")]).await;
    let id = session["id"].as_str().unwrap();
    let account = peer.client().account(None);
    let found = account.session(id).await.unwrap().unwrap();
    assert_eq!(
        (found.id.as_deref(), found.mode),
        (Some(id), Some(SessionMode::Payment))
    );
    assert_eq!(account.session("cs_nobody").await.unwrap(), None);

    let created: DateTime<Utc> = found.created.unwrap();
    for (from, there) in [(created, 1), (created + TimeDelta::seconds(1), 0)] {
        let since = SessionFilter {
            created_from: Some(from),
            ..SessionFilter::default()
        };
        let page = account.sessions(since).next().await.unwrap().unwrap();
        assert_eq!(page.items.len(), there, "from {from}");
    }
}
