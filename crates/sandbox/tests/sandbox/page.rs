//! The hosted page, as a browser without scripts asks for it.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use crate::life::session_form;
use crate::mailbox::Mailbox;
use support::stripe_sandbox::StripeSandbox;

/// A browser on the page of one session.
struct Browser {
    http: reqwest::Client,
    page: String,
}

impl Browser {
    fn on(session: &Value) -> Self {
        let http = surepass::http_client::http()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .unwrap();
        Self {
            http,
            page: session["url"].as_str().unwrap().to_owned(),
        }
    }

    async fn shows(&self) -> String {
        self.http
            .get(&self.page)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    async fn sends(&self, form: &'static str) -> Response {
        let post = self.http.post(&self.page).body(form);
        let post = post.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        post.send().await.unwrap()
    }
}

async fn open(sandbox: &StripeSandbox) -> Value {
    sandbox.post("checkout/sessions", &session_form()).await
}

#[tokio::test]
async fn paying_waits_for_the_webhooks_answer_and_leads_back_with_the_sessions_id() {
    let sandbox = StripeSandbox::start(&[]).await;
    let mailbox = Mailbox::open();
    let form = [
        ("url", mailbox.url.as_str()),
        ("enabled_events[]", "checkout.session.completed"),
    ];
    sandbox.post("webhook_endpoints", &form).await;
    let session = open(&sandbox).await;
    let browser = Browser::on(&session);
    let page = browser.shows().await;
    for part in [
        "10 classes",
        "1500.00 NOK",
        "Pay by bank transfer",
        "Cancel",
        "https://example.com/cancelled",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }

    mailbox.will_answer(&[(200, Duration::from_millis(700))]);
    let answer = browser.sends("pay=card&email=kari%40example.com").await;
    assert_eq!(answer.status(), 303);
    let id = session["id"].as_str().unwrap();
    assert_eq!(
        answer.headers()[LOCATION],
        format!("https://example.com/done?id={id}")
    );
    let told = sandbox
        .control(reqwest::Method::GET, "deliveries", Value::Null)
        .await;
    assert_eq!(
        told["counts"]["delivered"], 1,
        "the answer came before the redirect"
    );
    let object = mailbox.letters()[0].event["data"]["object"].clone();
    assert_eq!(object["customer_details"]["email"], "kari@example.com");
    assert_eq!(
        (&object["status"], &object["payment_status"]),
        (&json!("complete"), &json!("paid"))
    );

    let again = browser.sends("pay=card&email=kari%40example.com").await;
    assert_eq!(again.status(), 303);
    let charges = sandbox.get("charges", &[]).await;
    assert_eq!(charges["data"].as_array().unwrap().len(), 1, "paid once");
    assert!(browser.shows().await.contains("This purchase is paid."));
}

#[tokio::test]
async fn a_bank_transfer_is_complete_and_unpaid() {
    let sandbox = StripeSandbox::start(&[]).await;
    let session = open(&sandbox).await;
    let browser = Browser::on(&session);
    let answer = browser.sends("pay=transfer&email=kari%40example.com").await;
    assert_eq!(answer.status(), 303);
    let path = format!("checkout/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(sandbox.get(&path, &[]).await["payment_status"], "unpaid");
    assert!(browser.shows().await.contains("The bank transfer is on its way."));
}

#[tokio::test]
async fn without_an_email_the_page_asks_for_it_and_nothing_is_paid() {
    let sandbox = StripeSandbox::start(&[]).await;
    let session = open(&sandbox).await;
    let browser = Browser::on(&session);
    let answer = browser.sends("pay=card&email=").await;
    assert_eq!(answer.status(), 422);
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("Please enter your email address.")
    );
    assert_eq!(browser.sends("pay=gold&email=a%40b.no").await.status(), 400);
    let path = format!("checkout/sessions/{}", session["id"].as_str().unwrap());
    assert_eq!(sandbox.get(&path, &[]).await["status"], "open");
}

#[tokio::test]
async fn what_the_seller_wrote_is_text_on_the_page_and_no_markup() {
    let sandbox = StripeSandbox::start(&[]).await;
    let mut form = session_form();
    form.retain(|(key, _)| !key.contains("name"));
    form.push((
        "line_items[0][price_data][product_data][name]",
        "<script>alert(1)</script>",
    ));
    form.push(("customer_email", "\"><b>@example.com"));
    let session = sandbox.post("checkout/sessions", &form).await;
    let page = Browser::on(&session).shows().await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
    assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
}

#[tokio::test]
async fn a_page_that_has_expired_takes_no_money() {
    let sandbox = StripeSandbox::start(&[]).await;
    let session = open(&sandbox).await;
    let browser = Browser::on(&session);
    let expire = format!("checkout/sessions/{}/expire", session["id"].as_str().unwrap());
    sandbox.post(&expire, &[]).await;
    assert_eq!(browser.sends("pay=card&email=a%40b.no").await.status(), 409);
    assert!(browser.shows().await.contains("expired"));
    assert!(
        sandbox.get("charges", &[]).await["data"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    let lost = Browser {
        page: format!("{}/pay/cs_test_none", sandbox.url),
        ..browser
    };
    assert!(lost.shows().await.contains("There is nothing to pay here"));
}
