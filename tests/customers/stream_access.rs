//! Who may follow a purchase, and how many may at a time.

use chrono::TimeDelta;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{Fixture, Reply, STREAM, UNAUTHORIZED, of};
use support::program::{SUREPASS, awaited, eventually};
use support::shop::{Server, Shop, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_alone_is_followed_until_it_is_active_and_tells_nothing_else() {
    let mut studio = Fixture::open_with("").await;
    let mut fresh = of(studio.shop.session(), "kari");
    fresh.created = now() - TimeDelta::minutes(2);
    let mut old = of(studio.shop.session(), "kari");
    old.created = now() - TimeDelta::minutes(61);
    studio.shop.buy(&fresh).await;
    studio.shop.buy(&old).await;
    let mut listening = studio.listen(studio.stream(0, None, &fresh.session_id())).await;
    let mut too_late = studio.listen(studio.stream(0, None, &old.session_id())).await;
    let unknown = listening.event().await;
    assert_eq!(
        unknown.data,
        json!({"found": false, "processing": false, "state": "unknown", "message": "Waiting for payment confirmation..."})
    );
    assert_eq!(too_late.event().await.data, unknown.data);
    studio.shop.start_worker().await;
    assert_eq!(
        listening.event().await.data,
        json!({"found": true, "subscription": {"isActive": true}, "message": "Your pass is active."})
    );
    listening.expect_end().await;
    studio.shop.settled().await;
    studio.shop.servers[0].program.signal(Signal::SIGTERM);
    assert_eq!(too_late.rest().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token_and_a_cookie_and_either_name_of_the_tenant_will_do() {
    let studio = Fixture::open_with("").await;
    let mut claims = crate::sign_in::claims("kari");
    claims["exp"] = json!(now().timestamp() + 4);
    let brief = studio.sign_in.signed("rsa", claims).await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let id = session.session_id();
    let mut listening = studio.follow(&brief, &id).await;
    listening.expect("queued").await;
    // No `end`: a page that has a fresh token goes on.
    assert_eq!(listening.next().await, None);

    let token = studio.sign_in.token("kari").await;
    let by_cookie = studio
        .request(Method::GET, &format!("{STREAM}?sessionId={id}"))
        .header("x-tenant-slug", "studio")
        .header("Cookie", format!("surepass={token}"));
    studio.listen(by_cookie).await.expect("queued").await;
    // The header is what counts where there are both.
    let other = studio
        .stream(0, Some(&token), &id)
        .header("x-tenant-slug", "other");
    studio.listen(other).await.expect("unknown").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_as_by_the_other_routes_and_before_a_stream_begins() {
    let studio = Fixture::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let asked = async |token: Option<&str>, query: &str| -> Reply {
        let request = studio.request(Method::GET, &format!("{STREAM}?{query}"));
        studio
            .send(match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            })
            .await
    };
    let good = "sessionId=cs_test_1&tenant=studio";
    assert_eq!(asked(Some("not.a.token"), good).await.refusal(), UNAUTHORIZED);
    assert_eq!(asked(None, "tenant=studio").await.refusal(), UNAUTHORIZED);
    let token = Some(token.as_str());
    let long = format!("sessionId=cs_{}&tenant=studio", "x".repeat(300));
    for query in [
        "",
        "tenant=studio",
        "sessionId=&tenant=studio",
        "sessionId=pi_1&tenant=studio",
        "sessionId=cs_test_1%2F..&tenant=studio",
        "sessionId=cs_test_1%0Adata:&tenant=studio",
        "sessionId=cs_test_1&sessionId=cs_test_2&tenant=studio",
        &long,
    ] {
        assert_eq!(
            asked(token, query).await.refusal(),
            (400, "Session ID required"),
            "{query}"
        );
    }
    for query in ["sessionId=cs_test_1", "sessionId=cs_test_1&tenant=+"] {
        assert_eq!(
            asked(token, query).await.refusal(),
            (400, "Tenant slug required"),
            "{query}"
        );
    }
    let long = format!("sessionId=cs_test_1&tenant={}", "s".repeat(5_000));
    for query in ["sessionId=cs_test_1&tenant=nowhere", &long] {
        assert_eq!(
            asked(token, query).await.refusal(),
            (404, "Tenant not found"),
            "{query}"
        );
    }
    let post = studio.request(Method::POST, &format!("{STREAM}?{good}"));
    assert_eq!(studio.send(post).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_may_follow_and_send_the_last_id_it_has_seen() {
    const SHOP: &str = "https://shop.example.com";
    let studio = Fixture::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
    let preflight = studio
        .request(Method::OPTIONS, STREAM)
        .header("Origin", SHOP)
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "authorization,last-event-id");
    let allowed = studio.send(preflight).await;
    assert_eq!(allowed.status, 200);
    let headers = allowed.header("access-control-allow-headers").unwrap();
    assert!(headers.to_lowercase().contains("last-event-id"), "{headers}");
    let token = studio.sign_in.token("kari").await;
    let asked = studio.stream(0, Some(&token), "cs_test_1").header("Origin", SHOP);
    let listening = studio.listen(asked).await;
    let origin = listening.response.headers().get("access-control-allow-origin");
    assert_eq!(origin.unwrap(), SHOP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_so_many_streams_and_a_client_that_has_gone_leaves_its_place_at_once() {
    let studio = Fixture::open_with("streams = 3").await;
    let mut open = Vec::new();
    for user in ["kari", "ola", "liv"] {
        let token = studio.sign_in.token(user).await;
        open.push(studio.follow(&token, "cs_test_1").await);
    }
    let token = studio.sign_in.token("per").await;
    let refused = studio.send(studio.stream(0, Some(&token), "cs_test_1")).await;
    assert_eq!(
        refused.refusal(),
        (503, "Too many streams are open. Please poll instead.")
    );
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let metrics = Shop::metrics_of(&studio.shop.servers[0].program).await;
    let client = surepass::http_client::http().build().unwrap();
    let metrics = client
        .get(format!("http://{metrics}/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("surepass_streams_open 3\n"), "{metrics}");
    // The page can ask instead.
    assert_eq!(studio.told(&token, "cs_test_1").await["state"], "unknown");
    // Were a client's end only seen when a heartbeat cannot be sent to it, these would take minutes.
    awaited("twelve changes of guard", async {
        for _ in 0..12 {
            drop(open.remove(0));
            open.push(studio.until_let_in(&token, "cs_test_1").await);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_customer_and_one_address_without_a_token_have_ten_streams_each() {
    let studio = Fixture::open_with("address_header = \"X-Forwarded-For\"").await;
    let kari = studio.sign_in.token("kari").await;
    let from = |token: Option<&str>, address: &str| {
        studio
            .stream(0, token, "cs_test_1")
            .header("X-Forwarded-For", address)
    };
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(studio.listen(from(Some(&kari), "192.0.2.1")).await);
        open.push(studio.listen(from(None, "192.0.2.1")).await);
    }
    for token in [Some(kari.as_str()), None] {
        let refused = studio.send(from(token, "192.0.2.1")).await;
        assert_eq!(refused.refusal(), (429, "Too many requests"));
        assert!(refused.header("retry-after").is_some());
    }
    let ola = studio.sign_in.token("ola").await;
    studio.listen(from(Some(&ola), "192.0.2.1")).await;
    studio.listen(from(None, "192.0.2.2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_with_many_addresses_leave_most_places_to_customers() {
    let studio = Fixture::open_with("streams = 4\naddress_header = \"X-Forwarded-For\"").await;
    let from = |token: Option<&str>, address: &str| {
        studio
            .stream(0, token, "cs_test_1")
            .header("X-Forwarded-For", address)
    };
    let mut open = vec![studio.listen(from(None, "192.0.2.1")).await];
    let refused = studio.send(from(None, "198.51.100.1")).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    for name in ["kari", "ola", "per"] {
        let token = studio.sign_in.token(name).await;
        open.push(studio.listen(from(Some(&token), "192.0.2.1")).await);
    }
    // Who goes leaves the place to another.
    drop(open);
    eventually("a place", async || {
        from(None, "198.51.100.2").send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opened_stream_counts_as_a_call() {
    let studio = Fixture::open_with("requests_per_minute = 6").await;
    let token = studio.sign_in.token("kari").await;
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let response = studio.stream(0, Some(&token), "cs_test_1").send().await.unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
}

/// A client whose system takes a few kilobytes and then no more, until it reads.
struct Deaf {
    stream: tokio::net::TcpStream,
    read: String,
}

impl Deaf {
    async fn follow(studio: &Fixture, token: &str, session: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        // The other side's buffer grows with it.
        nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::TcpMaxSeg, &500).unwrap();
        let mut stream = socket.connect(studio.shop.servers[0].address).await.unwrap();
        let request = format!(
            "GET {STREAM}?tenant=studio&sessionId={session} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut deaf = Self {
            stream,
            read: String::new(),
        };
        deaf.until("\"state\":\"queued\"").await;
        deaf
    }

    /// Reads on until this has come.
    async fn until(&mut self, text: &str) {
        let mut part = [0; 1_024];
        while !self.read.contains(text) {
            let read = awaited(text, self.stream.read(&mut part)).await.unwrap();
            assert!(read > 0, "the stream has ended");
            self.read.push_str(std::str::from_utf8(&part[..read]).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_holds_no_memory_it_hears_the_newest_later_and_is_let_go_of_in_the_end() {
    // What the system keeps for it, some 800, is bounded; what we kept would not be.
    const CHANGES: usize = 2_000;
    let studio = Fixture::open_with("streams = 3").await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let id = session.session_id();
    let mut late = Deaf::follow(&studio, &token, &id).await;
    let never = Deaf::follow(&studio, &token, &id).await;
    let mut listening = studio.follow(&token, &id).await;
    listening.expect("queued").await;

    // Attempt after attempt fails, told to who listens one by one.
    let client = redis::Client::open(studio.shop.setting("REDIS_URL")).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let queue = studio.shop.queue();
    let key = queue.key(&format!("data:fulfil:{id}"));
    let data: String = redis::Cmd::get(&key).query_async(&mut redis).await.unwrap();
    let (header, payload) = data.split_once('\n').unwrap();
    let header = header.strip_suffix("0 0").unwrap();
    for attempt in 1..=CHANGES {
        let () = redis::pipe()
            .set(&key, format!("{header}{attempt} 0\n{payload}"))
            .ignore()
            .publish(queue.key("told"), format!("scheduled fulfil:{id}"))
            .ignore()
            .query_async(&mut redis)
            .await
            .unwrap();
        while listening.event().await.data["attempt"] != attempt {}
    }
    late.until(&format!("\"attempt\":{CHANGES},")).await;
    let heard = late.read.matches("event: status").count();
    assert!(heard < CHANGES / 2, "{heard} of {CHANGES} were kept for it");

    // Its place is free without a word of its own.
    drop((late, listening));
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(studio.until_let_in(&token, &id).await);
    }
    drop(never);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_takes_the_open_files_that_it_may_have_and_leaves_a_thousand_to_webhooks() {
    let mut studio = Fixture::prepare("").await;
    // The soft limit is lower than what streams need, and the hard one, too.
    let limited = format!("ulimit -Sn 100; ulimit -Hn 1004; exec {} serve", *SUREPASS);
    let program = studio.shop.launch("sh", &["-c", &limited]);
    let warned = program.says("ulimit -Hn").await;
    assert!(warned.contains(r#""streams":4"#), "{warned}");
    let listening: serde_json::Value = serde_json::from_str(&program.says("listening: POST").await).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files"));
    let files: Vec<_> = files.unwrap().split_whitespace().skip(3).take(2).collect();
    assert_eq!(files, ["1004", "1004"]);
    studio.shop.servers.push(Server {
        address: listening["address"].as_str().unwrap().parse().unwrap(),
        program,
    });
    let token = studio.sign_in.token("kari").await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(studio.follow(&token, "cs_test_1").await);
    }
    let refused = studio.send(studio.stream(0, Some(&token), "cs_test_1")).await;
    assert_eq!(refused.status, 503);
}
