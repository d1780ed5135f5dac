//! Lists: every page, in order, to the end, whatever is in them.

use futures::TryStreamExt;
use serde_json::{Value, json};
use surepass::stripe::api::{EventFilter, SessionFilter};

use support::stripe_faults::{Fake, PATIENCE, Reply, Request, ok, status};

/// A list as Stripe keeps it, the newest first: `page` answers by its cursors.
fn page(request: &Request, all: &[Value]) -> Reply {
    let place = |name| {
        let id = request.query(name)?;
        all.iter().position(|item| item["id"] == id.as_str())
    };
    let limit: usize = request.query("limit").unwrap().parse().unwrap();
    let begin = place("starting_after").map_or(0, |place| place + 1);
    let end = (begin + limit).min(all.len());
    let (data, has_more) = (&all[begin..end], end < all.len());
    ok(json!({"object": "list", "data": data, "has_more": has_more}).to_string())
}

fn sessions(count: usize) -> Vec<Value> {
    (0..count)
        .rev()
        .map(|n| json!({"id": format!("cs_{n}"), "object": "checkout.session"}))
        .collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).rev().map(|n| format!("cs_{n}")).collect()
}

#[tokio::test]
async fn all_pages_are_read_and_each_costs_one_call() {
    for (count, calls) in [(0, 1), (1, 1), (100, 1), (101, 2), (350, 4)] {
        let all = sessions(count);
        let fake = Fake::start(move |request, _| page(request, &all)).await;
        let stream = fake.account().sessions(SessionFilter::default()).into_stream();
        let read: Vec<String> = stream
            .map_ok(|session| session.id.unwrap())
            .try_collect()
            .await
            .unwrap();
        assert_eq!(read, names(count));
        assert_eq!(fake.asked().len(), calls, "{count} sessions");
    }
}

#[tokio::test]
async fn a_page_that_fails_is_asked_for_again_and_nothing_is_left_out_or_read_twice() {
    let all = sessions(350);
    // The third page fails as often as the client tries, in smaller pages, too, and then once more.
    let fake = Fake::start(move |request, number| match number {
        3..=9 => status(500),
        _ => page(request, &all),
    })
    .await;
    let mut pages = fake.account().sessions(SessionFilter::default());
    let (mut read, mut errors) = (Vec::new(), 0);
    loop {
        match pages.next().await {
            Ok(Some(page)) => read.extend(page.items.into_iter().filter_map(|session| session.id)),
            Ok(None) => break,
            Err(error) => {
                assert!(error.is_transient());
                errors += 1;
            }
        }
    }
    assert_eq!((read, errors), (names(350), 1));
    assert!(pages.next().await.unwrap().is_none(), "the end stays the end");
}

#[tokio::test]
async fn a_list_goes_on_elsewhere_from_the_last_id_of_a_page() {
    let all = sessions(350);
    let fake = Fake::start(move |request, _| page(request, &all)).await;
    let mut read = Vec::new();
    let mut cursor = None;
    loop {
        let filter = SessionFilter {
            starting_after: cursor.clone(),
            ..SessionFilter::default()
        };
        let page = fake.account().sessions(filter).next().await.unwrap().unwrap();
        read.extend(page.items.into_iter().filter_map(|session| session.id));
        cursor = page.last_id;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(read, names(350));
}

#[tokio::test]
async fn an_item_that_cannot_be_read_is_counted_and_costs_the_others_nothing() {
    let body = r#"{"object":"list","has_more":true,"data":[
        {"id":"cs_1","futures":{"deep":[1e999]}}, 7, null, [], {"id":null}, {"id":""}, {"object":"checkout.session"},
        {"id":"cs_2","status":7,"payment_status":"in_gold","metadata":[]}]}"#;
    let end = r#"{"object":"list","has_more":false,"data":[{"id":"cs_3"},"cs_4"]}"#;
    let fake = Fake::in_order(vec![ok(body), ok(end)]).await;
    let mut pages = fake.account().sessions(SessionFilter::default());
    let page = pages.next().await.unwrap().unwrap();
    let ids: Vec<_> = page
        .items
        .iter()
        .filter_map(|session| session.id.as_deref())
        .collect();
    assert_eq!((ids, page.unreadable), (vec!["cs_1", "cs_2"], 6));
    assert_eq!(page.items[1].unreadable, ["status"]);
    let page = pages.next().await.unwrap().unwrap();
    assert_eq!((page.items.len(), page.unreadable), (1, 1));
    assert_eq!(fake.asked()[1].query("starting_after").as_deref(), Some("cs_2"));
}

#[tokio::test]
async fn no_depth_of_nesting_overflows_the_stack() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let body =
        format!(r#"{{"data":[{{"id":"cs_1","metadata":{deep}}},{deep},{{"id":"cs_2"}}],"has_more":false}}"#);
    let account = Fake::always(ok(body)).await.account();
    let mut pages = account.sessions(SessionFilter::default());
    let page = pages.next().await.unwrap().unwrap();
    assert_eq!((page.items.len(), page.unreadable), (2, 1));
    assert_eq!(page.items[0].unreadable, ["metadata"]);
}

#[tokio::test]
async fn a_cursor_that_comes_again_ends_with_an_error_and_not_in_an_endless_loop() {
    let of = |id: &str| ok(format!(r#"{{"data":[{{"id":"{id}"}}],"has_more":true}}"#));
    let stuck = Fake::always(of("cs_1")).await;
    let round = {
        let pages = [of("cs_1"), of("cs_2"), of("cs_3")];
        Fake::start(move |_, number| pages[(number - 1) % 3].clone()).await
    };
    let nameless = Fake::always(ok(r#"{"data":[7],"has_more":true}"#)).await;
    for (fake, calls) in [(stuck, 2), (round, 4), (nameless, 1)] {
        let stream = fake.account().sessions(SessionFilter::default()).into_stream();
        let reading = tokio::time::timeout(PATIENCE, stream.try_for_each(|_| async { Ok(()) }));
        let error = reading.await.expect("it ends").unwrap_err();
        assert!(error.to_string().contains("Stripe's list"), "{error}");
        assert_eq!(fake.asked().len(), calls);
    }
}

#[tokio::test]
async fn an_empty_page_ends_a_list_even_if_it_says_that_there_is_more() {
    let first = ok(r#"{"data":[{"id":"cs_1"}],"has_more":true}"#);
    let fake = Fake::in_order(vec![first, ok(r#"{"data":[],"has_more":true}"#)]).await;
    let stream = fake.account().sessions(SessionFilter::default()).into_stream();
    let read: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!((read.len(), fake.asked().len()), (1, 2));
}

/// Stripe fails on every page of more than `largest` items that holds `poison`.
async fn failing_on(poison: &'static str, largest: usize, count: usize) -> Fake {
    let all = sessions(count);
    Fake::start(move |request, _| {
        let limit: usize = request.query("limit").unwrap().parse().unwrap();
        let after = request.query("starting_after").map_or(0, |id| {
            all.iter().position(|item| item["id"] == id.as_str()).unwrap() + 1
        });
        let asked = &all[after..(after + limit).min(all.len())];
        let holds = asked.iter().any(|item| item["id"] == poison);
        if holds && limit > largest {
            status(500)
        } else {
            page(request, &all)
        }
    })
    .await
}

#[tokio::test]
async fn a_page_that_stripe_fails_on_is_read_in_smaller_pages() {
    let fake = failing_on("cs_200", 25, 350).await;
    let stream = fake.account().sessions(SessionFilter::default()).into_stream();
    let read: Vec<String> = stream
        .map_ok(|session| session.id.unwrap())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(read, names(350));
    let limits: Vec<String> = fake
        .asked()
        .iter()
        .filter_map(|asked| asked.query("limit"))
        .collect();
    assert!(
        limits.iter().filter(|limit| *limit != "100").count() <= 6,
        "it grows again: {limits:?}"
    );
}

#[tokio::test]
async fn an_event_is_listed_with_its_own_json_as_the_intake_would_have_received_it() {
    let whole = r#"{"id": "evt_1",  "type":"charge.refunded","data":{"object":{"id":"ch_1","x":1e999}}, "livemode":false }"#;
    let owned = r#"{"id":"evt_2","type":"charge.refunded","account":"acct_1","data":{"object":{}}}"#;
    let foreign = r#"{"id":"evt_3","type":"charge.refunded","account":"acct_2","data":{"object":{}}}"#;
    let null = r#"{"account":null,"id":"evt_4","type":"charge.refunded","data":{"object":{}}}"#;
    let body = format!(r#"{{"data":[{whole} , {owned},{foreign},{null},{{"id":"cs_5"}}],"has_more":false}}"#);
    let fake = Fake::always(ok(body)).await;
    let client = support::stripe_faults::client(&fake.base, support::stripe_faults::options);

    let mut own = client.account(None).events(EventFilter::default());
    let page = own.next().await.unwrap().unwrap();
    let bodies: Vec<&[u8]> = page.items.iter().map(|listed| &listed.body[..]).collect();
    assert_eq!(
        bodies,
        [whole, owned, foreign, null].map(str::as_bytes),
        "byte by byte"
    );
    assert_eq!(page.unreadable, 1);

    let mut connected = client.account(Some("acct_1")).events(EventFilter::default());
    let page = connected.next().await.unwrap().unwrap();
    let ids: Vec<_> = page.items.iter().map(|listed| listed.event.id.as_str()).collect();
    assert_eq!(
        (ids, page.unreadable),
        (vec!["evt_1", "evt_2", "evt_4"], 2),
        "another account's event is not ours"
    );
    for listed in &page.items {
        assert_eq!(listed.event.account.as_deref(), Some("acct_1"));
        let again = surepass::stripe::Event::parse(&listed.body).unwrap();
        assert_eq!(again, listed.event, "the intake reads what the list said");
    }
}

#[tokio::test]
async fn a_session_comes_with_the_prices_of_all_its_line_items() {
    let items: Vec<Value> = (0..150)
        .map(|n| json!({"id": format!("li_{n}"), "price": {"id": format!("price_{n}")}}))
        .collect();
    let fake = Fake::start(move |request, _| {
        if request.url.path().ends_with("/line_items") {
            return page(request, &items);
        }
        assert_eq!(request.query("expand[]").as_deref(), Some("line_items"));
        ok(json!({"id": "cs_1", "line_items": {"data": items[..10], "has_more": true}}).to_string())
    })
    .await;
    let session = fake.account().session("cs_1").await.unwrap().unwrap();
    let prices: Vec<String> = (0..150).map(|n| format!("price_{n}")).collect();
    assert_eq!((session.price_ids, session.more_line_items), (prices, false));
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn line_items_without_end_are_an_error() {
    let fake = Fake::start(|request, number| {
        if request.url.path().ends_with("/line_items") {
            let item = json!({"id": format!("li_{number}"), "price": "price_1"});
            return ok(json!({"data": [item], "has_more": true}).to_string());
        }
        ok(json!({"id": "cs_1", "line_items": {"data": [], "has_more": true}}).to_string())
    })
    .await;
    let error = fake.account().session("cs_1").await.unwrap_err();
    assert!(error.to_string().contains("has no end"), "{error}");
}
