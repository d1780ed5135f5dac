//! The shop of `surepass up --demo`, and through it how a shop ties in.

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::up::Machine;
use crate::visitor::Visitor;
use support::program::{Program, SUREPASS, awaited, command};
use support::shop::check_output;

const PAGE: &str = "/studio/subscriptions";

struct Demo {
    machine: Machine,
    up: Program,
    /// `http://…`
    shop: String,
}

impl Demo {
    async fn start() -> Self {
        let machine = Machine::new();
        let up = Program::start(command(&SUREPASS, &["up", "--demo"], &machine.environment));
        up.says("/pay/cs_test_").await;
        let said = up.said();
        let mut lines = said
            .lines()
            .skip_while(|line| !line.contains("the demo's own shop"));
        let shop = lines.nth(1).expect("its address").trim().trim_end_matches('/');
        Self {
            shop: shop.to_owned(),
            machine,
            up,
        }
    }

    async fn stop(mut self) {
        self.up.signal(Signal::SIGTERM);
        assert!(self.up.ended().await.success(), "{}", self.up.said());
        self.machine.left(false).await;
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_customer_signs_in_at_the_shop_buys_ten_classes_and_sees_the_pass_on_their_page() {
    let demo = Demo::start().await;
    let mut ada = Visitor::new();
    ada.visit(&demo.shop).await;
    ada.press("Sign in as Ada").await;
    assert_eq!((ada.status, ada.at.path(), ada.at.query()), (200, PAGE, None));
    assert_eq!(ada.texts("#passes li h3"), [""; 0]);
    let surepass = ada.at.clone();

    ada.visit(&demo.shop).await;
    ada.press("Buy 10 classes").await;
    let session = ada
        .at
        .path()
        .strip_prefix("/pay/")
        .expect("the hosted page")
        .to_owned();
    ada.press("Pay").await;
    let query = format!("success=true&session_id={session}");
    assert_eq!((ada.at.path(), ada.at.query()), (PAGE, Some(&*query)));
    let came_back = ada.at.clone();
    assert_eq!((ada.at.origin(), ada.status), (surepass.origin(), 200));
    // As the page without a script does by itself. What has become of the purchase is asked before the passes are: where it says
    // that the pass is active, the pass is there.
    awaited("the pass", async {
        while ada.texts("[data-message]") != ["✅ Success! Your pass is now active."] {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ada.visit(came_back.as_str()).await;
        }
    })
    .await;
    assert_eq!(ada.texts("#passes li h3"), ["10 classes"]);

    // In another browser, or when the cookie is gone: the purchase is confirmed, and nothing else told. The shop knows her, and
    // the purchase is not forgotten on the way.
    let mut later = Visitor::new();
    later.visit(came_back.as_str()).await;
    assert_eq!(
        later.texts("[data-message]"),
        ["✅ Success! Your pass is now active."]
    );
    assert_eq!(later.texts("#passes li h3"), [""; 0]);
    later.follow("main a.button").await;
    let origin = later.at.origin().ascii_serialization();
    assert_eq!((&*origin, later.at.path()), (&*demo.shop, "/sign-in"));
    later.press("Sign in as Ada").await;
    assert_eq!((later.status, &later.at), (200, &came_back));
    assert_eq!(later.texts("#passes li h3"), ["10 classes"]);
    check_output(&demo.up.said());
    demo.stop().await;
}

#[tokio::test]
async fn the_shops_page_with_the_widget_may_call_surepass_and_no_other_sites_page_may() {
    let demo = Demo::start().await;
    let mut ada = Visitor::new();
    ada.visit(&format!("{}/widget?session_id=cs_test_1", demo.shop))
        .await;
    let attribute = |name: &str| ada.attribute("surepass-passes", name);
    assert_eq!(attribute("tenant").as_deref(), Some("studio"));
    assert_eq!(attribute("session").as_deref(), Some("cs_test_1"));
    let script = ada
        .attribute("script[src$='/widget.js']", "src")
        .expect("it is there");
    let surepass = script.strip_suffix("/widget.js").unwrap().to_owned();
    let policy = ada.headers["content-security-policy"].to_str().unwrap();
    for needed in [
        format!("script-src 'self' {surepass};"),
        format!("connect-src 'self' {surepass};"),
    ] {
        assert!(policy.contains(&needed), "{policy}");
    }
    let answer = ada.http.get(&script).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "content-type")),
        (200, "text/javascript; charset=utf-8")
    );
    assert!(
        answer
            .text()
            .await
            .unwrap()
            .contains("customElements.define(NAME")
    );

    let asked = async |origin: &str, method: Method, path: &str, headers: &str| {
        let request = ada.http.request(Method::OPTIONS, format!("{surepass}{path}"));
        let request = request
            .header("Origin", origin)
            .header("Access-Control-Request-Method", method.as_str())
            .header("Access-Control-Request-Headers", headers);
        let answer = request.send().await.unwrap();
        header(&answer, "access-control-allow-origin").to_owned()
    };
    let headers = "authorization,content-type,x-tenant-slug";
    for (method, path) in [
        (Method::POST, "/api/user/subscription-status"),
        (Method::POST, "/api/user/sync-subscriptions"),
        (Method::GET, "/api/user/subscriptions"),
    ] {
        assert_eq!(
            asked(&demo.shop, method.clone(), path, headers).await,
            demo.shop,
            "{path}"
        );
        assert_eq!(asked("https://evil.example.com", method, path, headers).await, "");
    }

    let token = ada.http.get(format!("{}/token", demo.shop));
    let token = token
        .header("Origin", "https://evil.example.com")
        .send()
        .await
        .unwrap();
    assert_eq!(
        header(&token, "access-control-allow-origin"),
        "",
        "only the shop's own pages can read it"
    );
    let list = ada
        .http
        .get(format!("{surepass}/api/user/subscriptions"))
        .bearer_auth(token.text().await.unwrap())
        .header("x-tenant-slug", "studio")
        .header("Origin", &demo.shop);
    let list = list.send().await.unwrap();
    assert_eq!(header(&list, "access-control-allow-origin"), demo.shop);
    let list: Value = list.json().await.unwrap();
    assert_eq!(
        list["activeSubscriptions"].as_array().map(Vec::len),
        Some(0),
        "{list}"
    );
    demo.stop().await;
}
