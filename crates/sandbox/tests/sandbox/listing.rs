//! Lists: filters, cursors, expansion, and what is refused.

use reqwest::Method;
use serde_json::{Value, json};

use support::stripe_sandbox::{As, StripeSandbox, TEST_KEY, ids, read};

async fn refused(sandbox: &StripeSandbox, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
    let response = sandbox.ask(As::default(), Method::GET, path, query).await;
    let status = response.status().as_u16();
    let body = read(response, status).await;
    (status, body["error"].clone())
}

#[tokio::test]
async fn pages_of_a_list_hold_every_session_once_newest_first() {
    let sandbox = StripeSandbox::start(&["--now", "2026-11-20T12:00:00Z"]).await;
    let made = sandbox
        .purchases(json!({"count": 350, "customers": 7, "created_from": "2026-11-01T00:00:00Z"}))
        .await;
    let mut walked = Vec::new();
    let mut after = String::new();
    loop {
        let mut query = vec![("limit", "100")];
        if !after.is_empty() {
            query.push(("starting_after", &after));
        }
        let page = sandbox.get("checkout/sessions", &query).await;
        walked.extend(ids(&page));
        if page["has_more"] == false {
            break;
        }
        after = walked.last().unwrap().clone();
    }
    let newest_first: Vec<_> = made
        .iter()
        .rev()
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(walked, newest_first);
    let counts = sandbox.requests().await["counts"].clone();
    assert_eq!(counts, json!({"GET /v1/checkout/sessions": {"200": 4}}));

    let before = sandbox
        .get(
            "checkout/sessions",
            &[("limit", "3"), ("ending_before", &walked[10])],
        )
        .await;
    assert_eq!(ids(&before), walked[7..10]);
    assert_eq!(before["has_more"], true);
    let first = sandbox
        .get(
            "checkout/sessions",
            &[("limit", "3"), ("ending_before", &walked[2])],
        )
        .await;
    assert_eq!(ids(&first), walked[..2]);
    assert_eq!(first["has_more"], false);
}

#[tokio::test]
async fn each_filter_of_sessions_finds_what_it_names_and_nothing_else() {
    let sandbox = StripeSandbox::start(&["--now", "2026-11-20T12:00:00Z"]).await;
    let order =
        json!({"count": 20, "customers": 4, "created_from": 1_794_000_000, "created_to": 1_794_000_020});
    let made = sandbox.purchases(order).await;
    sandbox
        .purchases(json!({"count": 2, "outcome": "open", "customers": 4}))
        .await;
    let of = |keep: &dyn Fn(usize) -> bool| -> Vec<&str> {
        let kept = (0..made.len()).rev().filter(|nth| keep(*nth));
        kept.map(|nth| made[nth]["id"].as_str().unwrap()).collect()
    };
    let customer = made[1]["customer"].as_str().unwrap();
    let intent = made[5]["payment_intent"].as_str().unwrap();
    let paid = ("status", "complete");
    for (query, expected) in [
        (vec![paid], of(&|_| true)),
        (vec![paid, ("created[gt]", "1794000004")], of(&|nth| nth > 4)),
        (vec![paid, ("created[gte]", "1794000004")], of(&|nth| nth >= 4)),
        (vec![paid, ("created[lt]", "1794000004")], of(&|nth| nth < 4)),
        (vec![paid, ("created[lte]", "1794000004")], of(&|nth| nth <= 4)),
        (vec![("created", "1794000004")], of(&|nth| nth == 4)),
        (
            vec![("created[gte]", "1794000003"), ("created[lt]", "1794000006")],
            of(&|nth| (3..6).contains(&nth)),
        ),
        (vec![paid, ("customer", customer)], of(&|nth| nth % 4 == 1)),
        (
            vec![
                ("customer_details[email]", "BUYER2@example.com"),
                ("created[gt]", "1794000004"),
            ],
            of(&|nth| nth % 4 == 2 && nth > 4),
        ),
        (vec![("payment_intent", intent)], of(&|nth| nth == 5)),
        (vec![paid, ("created[gt]", "1794000020")], of(&|_| false)),
    ] {
        let mut whole = query.clone();
        whole.push(("limit", "100"));
        assert_eq!(
            ids(&sandbox.get("checkout/sessions", &whole).await),
            expected,
            "{query:?}"
        );
    }
    let open = sandbox.get("checkout/sessions", &[("status", "open")]).await;
    assert_eq!(ids(&open).len(), 2);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_in_stripes_shape() {
    let sandbox = StripeSandbox::start(&[]).await;
    for (path, query, status, code, param) in [
        (
            "checkout/sessions/cs_test_none",
            vec![],
            404,
            "resource_missing",
            "session",
        ),
        ("customers/cus_none", vec![], 404, "resource_missing", "id"),
        (
            "checkout/sessions",
            vec![("limit", "0")],
            400,
            "parameter_invalid_integer",
            "limit",
        ),
        (
            "checkout/sessions",
            vec![("limit", "101")],
            400,
            "parameter_invalid_integer",
            "limit",
        ),
        (
            "checkout/sessions",
            vec![("limit", "ten")],
            400,
            "parameter_invalid_integer",
            "limit",
        ),
        (
            "checkout/sessions",
            vec![("starting_after", "cs_none")],
            400,
            "resource_missing",
            "starting_after",
        ),
        (
            "checkout/sessions",
            vec![("customer", "cus_none")],
            400,
            "resource_missing",
            "customer",
        ),
        (
            "checkout/sessions",
            vec![("created[since]", "5")],
            400,
            "parameter_unknown",
            "created[since]",
        ),
        (
            "checkout/sessions",
            vec![("colour", "red")],
            400,
            "parameter_unknown",
            "colour",
        ),
    ] {
        let (came, error) = refused(&sandbox, path, &query).await;
        assert_eq!(came, status, "{path} {query:?}: {error}");
        assert_eq!(error["type"], "invalid_request_error");
        assert_eq!((&error["code"], &error["param"]), (&json!(code), &json!(param)));
        assert!(!error["message"].as_str().unwrap().is_empty());
    }
    let (status, error) = refused(&sandbox, "coupons", &[]).await;
    assert_eq!(status, 404);
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .starts_with("Unrecognized request URL (GET: /v1/coupons)")
    );
}

#[tokio::test]
async fn line_items_and_the_charge_come_only_when_they_are_expanded() {
    let sandbox = StripeSandbox::start(&[]).await;
    let session = sandbox
        .purchases(json!({"amount": 4_200, "product": "A pass"}))
        .await[0]
        .clone();
    let plain = sandbox.get("checkout/sessions", &[]).await["data"][0].clone();
    assert!(plain.get("line_items").is_none());
    assert_eq!(plain["payment_intent"], session["payment_intent"]);

    let query = [
        ("expand[]", "data.line_items"),
        ("expand[]", "data.payment_intent.latest_charge"),
    ];
    let expanded = sandbox.get("checkout/sessions", &query).await["data"][0].clone();
    let item = &expanded["line_items"]["data"][0];
    assert_eq!(
        (&item["description"], &item["amount_total"]),
        (&json!("A pass"), &json!(4_200))
    );
    assert_eq!(item["price"]["object"], "price");
    let charge = &expanded["payment_intent"]["latest_charge"];
    assert_eq!(
        (&charge["object"], &charge["amount_refunded"]),
        (&json!("charge"), &json!(0))
    );

    let (status, error) = refused(&sandbox, "checkout/sessions", &[("expand[]", "data.currency")]).await;
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("cannot be expanded"));
    let deep = "data.payment_intent.latest_charge.customer.default_source.owner";
    assert_eq!(
        refused(&sandbox, "checkout/sessions", &[("expand[]", deep)])
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn a_session_with_many_line_items_shows_ten_and_pages_the_rest() {
    let sandbox = StripeSandbox::start(&[]).await;
    let names: Vec<[String; 3]> = (0..12)
        .map(|nth| {
            ["unit_amount", "currency", "product_data][name"]
                .map(|key| format!("line_items[{nth}][price_data][{key}]"))
        })
        .collect();
    let mut form = vec![("mode", "payment"), ("success_url", "https://example.com")];
    for [amount, currency, name] in &names {
        form.extend([
            (amount.as_str(), "100"),
            (currency.as_str(), "nok"),
            (name.as_str(), "Thing"),
        ]);
    }
    let session = sandbox.post("checkout/sessions", &form).await;
    assert_eq!(session["amount_total"], 1_200);
    let path = format!("checkout/sessions/{}", session["id"].as_str().unwrap());
    let expanded = sandbox.get(&path, &[("expand[]", "line_items")]).await["line_items"].clone();
    assert_eq!((ids(&expanded).len(), &expanded["has_more"]), (10, &json!(true)));
    let last = ids(&expanded)[9].clone();
    let rest = sandbox
        .get(&format!("{path}/line_items"), &[("starting_after", &last)])
        .await;
    assert_eq!((ids(&rest).len(), &rest["has_more"]), (2, &json!(false)));
}

#[tokio::test]
async fn events_are_found_by_type_types_wildcard_and_delivery_for_thirty_days() {
    let sandbox = StripeSandbox::start(&["--now", "2026-11-20T12:00:00Z"]).await;
    sandbox.purchases(json!({"count": 2, "webhooks": "drop"})).await;
    sandbox.purchases(json!({"count": 3, "webhooks": "lose"})).await;
    sandbox.purchases(json!({"count": 4, "webhooks": "none"})).await;
    sandbox
        .purchases(
            json!({"count": 5, "created_from": "2026-10-01T00:00:00Z", "created_to": "2026-10-02T00:00:00Z"}),
        )
        .await;
    let completed = ("type", "checkout.session.completed");
    for (query, count) in [
        (vec![completed], 5),
        (vec![completed, ("delivery_success", "false")], 2),
        (vec![completed, ("delivery_success", "true")], 3),
        (vec![("type", "checkout.session.*")], 5),
        (
            vec![
                ("types[]", "charge.succeeded"),
                ("types[]", "payment_intent.succeeded"),
            ],
            10,
        ),
    ] {
        let mut whole = query.clone();
        whole.push(("limit", "100"));
        assert_eq!(
            ids(&sandbox.get("events", &whole).await).len(),
            count,
            "{query:?}"
        );
    }
    let both = [("type", "charge.succeeded"), ("types[]", "charge.failed")];
    assert_eq!(refused(&sandbox, "events", &both).await.0, 400);
    assert_eq!(
        ids(&sandbox.get("checkout/sessions", &[("limit", "100")]).await).len(),
        14
    );
}

#[tokio::test]
async fn an_answer_is_compressed_for_who_can_read_that() {
    let sandbox = StripeSandbox::start(&[]).await;
    sandbox.purchases(json!({"count": 50})).await;
    let url = format!("{}/v1/checkout/sessions?limit=50", sandbox.url);
    let get = async |gzip: bool| {
        let client = surepass::http_client::http()
            .no_proxy()
            .gzip(gzip)
            .build()
            .unwrap();
        let request = client.get(&url).bearer_auth(TEST_KEY);
        let request = if gzip {
            request
        } else {
            request.header("Accept-Encoding", "gzip")
        };
        request.send().await.unwrap()
    };
    let compressed = get(false).await;
    assert_eq!(compressed.headers()["content-encoding"], "gzip");
    let compressed = compressed.bytes().await.unwrap();
    let whole = get(true).await.bytes().await.unwrap();
    assert!(
        compressed.len() * 5 < whole.len(),
        "{} of {}",
        compressed.len(),
        whole.len()
    );
    assert_eq!(ids(&serde_json::from_slice(&whole).unwrap()).len(), 50);
}
