//! What every answer has, and what a path answers that takes nothing, or not so.

use reqwest::Method;
use reqwest::header::HeaderMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::program::PATIENCE;
use support::shop::{COMPLETED, Shop, WEBHOOK_SECRET};

struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(shop: &Shop, method: Method, path: &str, accept: &str) -> Reply {
    let client = surepass::http_client::http().timeout(PATIENCE).build().unwrap();
    let url = format!("http://{}{path}", shop.servers[0].address);
    let request = client.request(method, url).header("accept", accept);
    let response = request.send().await.unwrap();
    Reply {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn every_answer_keeps_browsers_from_guessing_its_type_and_every_page_from_being_framed() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    shop.set("SUREPASS_PUBLIC_URL", "https://passes.example.com");
    shop.start_server().await;
    for public in [false, true] {
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/healthz"),
            (Method::GET, "/readyz"),
            (Method::GET, "/nowhere"),
            (Method::GET, "/webhooks/stripe"),
            (Method::POST, "/webhooks/stripe"),
            (Method::GET, "/assets/surepass.css"),
            (Method::GET, "/assets/none.css"),
            (Method::GET, "/widget.js"),
            (Method::GET, "/studio/subscriptions"),
            (Method::PUT, "/studio/subscriptions"),
            (Method::GET, "/api/user/subscriptions"),
            (Method::OPTIONS, "/api/user/subscriptions"),
            (Method::GET, "/api/user/nowhere"),
        ] {
            let reply = ask(&shop, method.clone(), path, BROWSER).await;
            assert_eq!(
                reply.header("x-content-type-options"),
                "nosniff",
                "{method} {path}"
            );
            let only_tls = reply.header("strict-transport-security");
            assert_eq!(only_tls.starts_with("max-age="), public, "{method} {path}");
            let policy = reply.header("content-security-policy");
            let is_page = reply.header("content-type").starts_with("text/html");
            assert_eq!(
                policy.contains("frame-ancestors 'none'"),
                is_page,
                "{method} {path}"
            );
        }
        shop.servers.reverse();
    }
}

#[tokio::test]
async fn a_webhook_address_tried_in_a_browser_says_that_it_works_and_takes_a_slash_at_its_end() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    for path in ["/webhooks/stripe", "/webhooks/stripe/", "/webhooks/stripe/studio"] {
        let reply = ask(&shop, Method::GET, path, BROWSER).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "POST"), "{path}");
        assert!(
            reply.text.contains("It accepts POST requests from Stripe only"),
            "{}",
            reply.text
        );
        let reply = ask(&shop, Method::PUT, path, "*/*").await;
        assert!(
            reply.text.contains(r#""code":"method_not_allowed""#),
            "{}",
            reply.text
        );
    }
    for path in ["/webhooks/stripe/", "/webhooks/stripe/studio/"] {
        let body = shop.session().event(COMPLETED, 1);
        let answer = shop.deliver_at(path, WEBHOOK_SECRET, body).await;
        assert!(answer.is_taken(), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn head_answers_as_get_and_an_unknown_path_answers_in_words() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    for path in ["/", "/healthz", "/readyz", "/nowhere", "/studio/subscriptions"] {
        let get = ask(&shop, Method::GET, path, BROWSER).await;
        let head = ask(&shop, Method::HEAD, path, BROWSER).await;
        assert_eq!((head.status, head.text.as_str()), (get.status, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(!get.text.is_empty(), "{path}");
    }
    for (accept, kind, words) in [
        (BROWSER, "text/html", "<h1>Page not found</h1>"),
        ("*/*", "application/json", r#""code":"not_found""#),
        ("text/plain", "text/plain", "There is no page at this address."),
    ] {
        for path in ["/nowhere", "/studio", "/metrics", "/webhooks"] {
            let reply = ask(&shop, Method::GET, path, accept).await;
            assert_eq!(reply.status, 404, "{path}");
            assert!(reply.header("content-type").starts_with(kind), "{path} {accept}");
            assert!(reply.text.contains(words), "{path}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_from_the_stream() {
    let mut shop = Shop::prepare("").await;
    shop.set("SUREPASS_JWT_SECRET", "Hemmelig-noekkel-av-over-32-tegn");
    shop.start_server().await;
    let mut stream = TcpStream::connect(shop.servers[0].address).await.unwrap();
    let request =
        "GET /api/user/subscription-status/stream?tenant=studio&sessionId=cs_test_1 HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    while !String::from_utf8_lossy(&text).contains("data: ") {
        assert_ne!(
            stream.read_buf(&mut text).await.unwrap(),
            0,
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert!(body.starts_with("retry: "), "{body}");
}

#[tokio::test]
async fn an_address_for_metrics_that_is_taken_is_a_warning_that_names_the_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut shop = Shop::prepare("").await;
    let address = taken.local_addr().unwrap().to_string();
    shop.set("SUREPASS_SERVER_METRICS_BIND", &address);
    shop.start_server().await;
    let line = shop.servers[0].program.says("SUREPASS_SERVER_METRICS_BIND").await;
    assert!(line.contains("WARN") && line.contains(&address), "{line}");
    assert_eq!(shop.get(0, "/readyz").await, 200);
}
