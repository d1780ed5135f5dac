//! A purchase is followed as it changes: server-sent events, read byte by byte as a browser reads them.

use std::time::Duration;

use chrono::TimeDelta;
use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::program::awaited;
use crate::shop::now;
use crate::studio::{Reply, STREAM, Studio, UNAUTHORIZED, of};

/// An event as a browser gives it to a page.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

/// An open stream.
pub(crate) struct Listening {
    response: reqwest::Response,
    unread: Vec<u8>,
    /// The last `id` so far, as a browser keeps it.
    pub(crate) last_id: String,
    pub(crate) retries: Vec<u64>,
    pub(crate) comments: usize,
}

impl Listening {
    /// The next event; `None`: the stream has ended in good order.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        awaited("an event", async {
            loop {
                let block = self.block().await?;
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
            }
        })
        .await
    }

    async fn event(&mut self) -> Event {
        self.next().await.expect("the stream has ended")
    }

    /// The next event, which must be this one.
    async fn expect(&mut self, state: &str) -> Event {
        let event = self.event().await;
        assert_eq!(
            (event.name.as_str(), &event.data["state"]),
            ("status", &json!(state)),
            "{event:?}"
        );
        event
    }

    /// Reads until this state is told.
    pub(crate) async fn until(&mut self, state: &str) -> Event {
        loop {
            let event = self.event().await;
            if event.data["state"] == state {
                return event;
            }
        }
    }

    /// That it is over, and nothing follows.
    async fn expect_end(&mut self) {
        let event = self.event().await;
        assert_eq!((event.name.as_str(), event.data), ("end", json!({})));
        assert_eq!(self.next().await, None);
    }

    /// All until it ends by itself.
    async fn rest(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }

    /// The next lines up to an empty one.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                return Some(String::from_utf8(block).unwrap());
            }
            match self.response.chunk().await.expect("it ends in good order") {
                Some(more) => self.unread.extend_from_slice(&more),
                None => {
                    assert_eq!(self.unread, b"", "it ends after an event");
                    return None;
                }
            }
        }
    }

    /// As the standard says (HTML, 9.2.6).
    fn read(&mut self, block: &str) -> Option<Event> {
        let (mut name, mut data) = ("message", None::<String>);
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "event" => name = value,
                "id" => value.clone_into(&mut self.last_id),
                "retry" => self.retries.push(value.parse().unwrap()),
                "data" => {
                    let data = data.get_or_insert_default();
                    assert!(data.is_empty(), "one line of data");
                    data.push_str(value);
                }
                _ => panic!("{line}"),
            }
        }
        let data = data?;
        Some(Event {
            name: name.to_owned(),
            id: self.last_id.clone(),
            data: serde_json::from_str(&data).unwrap(),
        })
    }
}

impl Studio {
    /// As a page asks that has a token at hand.
    fn stream(&self, server: usize, token: Option<&str>, session: &str) -> RequestBuilder {
        let path = format!("{STREAM}?sessionId={session}&tenant=studio");
        let request = self.request_to(server, Method::GET, &path);
        match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn listen(&self, request: RequestBuilder) -> Listening {
        let response = awaited("a stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        Listening {
            response,
            unread: Vec::new(),
            last_id: String::new(),
            retries: Vec::new(),
            comments: 0,
        }
    }

    pub(crate) async fn follow(&self, token: &str, session: &str) -> Listening {
        self.listen(self.stream(0, Some(token), session)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_purchase_that_becomes_active_is_pushed_as_the_post_answers_and_the_stream_ends() {
    let mut studio = Studio::open_with("").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let token = studio.sign_in.token("kari").await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    let header = |name: &str| {
        let value = listening.response.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header("content-type").unwrap(), "text/event-stream");
    assert_eq!(header("cache-control").unwrap(), "no-store, no-transform");
    assert_eq!(header("x-accel-buffering").unwrap(), "no");
    // Nothing on the way may gather it to compress it.
    assert_eq!(header("content-encoding").unwrap(), "identity");

    let queued = listening.expect("queued").await;
    assert_eq!(queued.data, studio.told(&token, &session.session_id()).await);
    assert_eq!(listening.retries, [2_000]);
    studio.shop.start_worker().await;
    let active = listening.expect("active").await;
    assert_eq!(active.data, studio.told(&token, &session.session_id()).await);
    assert_eq!(active.data["subscription"]["passName"], "10 classes");
    assert!(!active.id.is_empty() && active.id != queued.id);
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_settles_is_pushed_and_not_only_looked_for() {
    let studio = Studio::open().await;
    let token = studio.sign_in.token("kari").await;
    // By its looks alone, one in a dozen seconds, this would take minutes: told apart by the patience, not by a clock.
    let rounds = async {
        for _ in 0..20 {
            let session = of(studio.shop.session(), "kari");
            let mut listening = studio.follow(&token, &session.session_id()).await;
            listening.expect("unknown").await;
            studio.shop.buy(&session).await;
            listening.until("active").await;
            listening.expect_end().await;
        }
    };
    awaited("twenty purchases", rounds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retrying_purchase_is_pushed_with_its_attempt_and_when_the_next_comes() {
    let studio = Studio::open().await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    let store = studio.shop.lock_store().await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    studio.shop.buy(&session).await;
    let mut attempts = Vec::new();
    while attempts.len() < 3 {
        let retrying = listening.until("retrying").await;
        let next = retrying.data["nextAttemptAt"].clone();
        let next = chrono::DateTime::parse_from_rfc3339(next.as_str().unwrap()).unwrap();
        assert!((next.to_utc() - now()).abs() < TimeDelta::minutes(2), "{next}");
        attempts.push(retrying.data["attempt"].as_u64().unwrap());
    }
    assert_eq!(attempts, [1, 2, 3], "each attempt is told as it fails");
    store.release().await;
    listening.until("active").await;
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_purchase_is_pushed_as_failed_with_the_sync_enqueued_once() {
    let studio = Studio::open().await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari")
        .with("passId", None)
        .with("passName", None);
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(studio.follow(&token, &session.session_id()).await);
    }
    studio.shop.buy(&session).await;
    for listening in &mut all {
        let failed = listening.until("failed").await;
        assert_eq!(
            (&failed.data["found"], &failed.data["webhookError"]),
            (&json!(false), &json!(true))
        );
        listening.expect_end().await;
    }
    let store = studio.shop.store().await;
    let runs = store.lookback().runs(10).await.unwrap();
    let keys: Vec<_> = runs.iter().map(|run| run.key.as_str()).collect();
    assert_eq!(keys, ["sync:studio:kari"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_stripe_knows_is_asked_for_and_then_pushed() {
    let studio = Studio::open().await;
    let token = studio.sign_in.token("kari").await;
    let paid = studio.stripe.session("kari", "paid").await;
    let mut listening = studio.follow(&token, &paid).await;
    listening.until("active").await;
    listening.expect_end().await;
    for (outcome, state) in [("failed", "declined"), ("expired", "expired")] {
        let session = studio.stripe.session("kari", outcome).await;
        let mut listening = studio.follow(&token, &session).await;
        listening.expect(state).await;
        listening.expect_end().await;
    }
    // Nobody publishes that a customer has paid at last: who follows looks by himself.
    let open = studio.stripe.session("kari", "open").await;
    let mut listening = studio.follow(&token, &open).await;
    listening.expect("unpaid").await;
    studio.stripe.pay(&open).await;
    listening.until("active").await;
    assert!(listening.comments > 0, "a heartbeat stands before each such look");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_session_stays_unknown_for_ever_also_while_it_is_fulfilled() {
    let mut studio = Studio::open_with("").await;
    let (kari, ola) = (
        studio.sign_in.token("kari").await,
        studio.sign_in.token("ola").await,
    );
    let session = of(studio.shop.session(), "kari");
    let id = session.session_id();
    let mut theirs = studio.follow(&ola, &id).await;
    let mut nobodys = studio.follow(&ola, "cs_test_nobodyknowsthisone").await;
    let unknown = theirs.expect("unknown").await;
    assert_eq!(unknown.data, nobodys.expect("unknown").await.data);
    studio.shop.buy(&session).await;
    let mut own = studio.follow(&kari, &id).await;
    own.expect("queued").await;
    studio.shop.start_worker().await;
    own.expect("active").await;
    // Opened when all is done: the same.
    let mut late = studio.follow(&ola, &id).await;
    assert_eq!(late.expect("unknown").await.data, unknown.data);
    // A heartbeat: they have looked again, too.
    while theirs.comments == 0 {
        let block = awaited("a heartbeat", theirs.block()).await.unwrap();
        assert_eq!(theirs.read(&block), None, "{block}");
    }
    studio.shop.servers[0].program.signal(Signal::SIGTERM);
    for listening in [&mut theirs, &mut late, &mut nobodys] {
        assert_eq!(listening.rest().await, [], "nothing else was ever told");
    }
    // Nor did it set anything going.
    let store = studio.shop.store().await;
    assert!(store.lookback().runs(10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_restarts_and_a_server_that_hears_nothing_meanwhile_lose_nothing() {
    let mut studio = Studio::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    listening.expect("queued").await;
    studio.shop.kill_redis().await;
    studio.shop.servers[0].program.signal(Signal::SIGSTOP);
    studio.shop.restart_redis().await;
    studio.shop.start_worker().await;
    studio.shop.worked_off().await;
    studio.shop.servers[0].program.signal(Signal::SIGCONT);
    let active = listening.until("active").await;
    assert_eq!(active.data["found"], true);
    listening.expect_end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_away_while_a_purchase_is_followed_ends_no_stream() {
    let mut studio = Studio::open_with("").await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    studio.shop.buy(&session).await;
    let mut listening = studio.follow(&token, &session.session_id()).await;
    listening.expect("queued").await;
    studio.shop.kill_redis().await;
    // It looks, in vain, and goes on.
    while listening.comments == 0 {
        let block = awaited("a heartbeat", listening.block()).await.unwrap();
        assert_eq!(listening.read(&block), None, "{block}");
    }
    studio.shop.restart_redis().await;
    studio.shop.start_worker().await;
    listening.until("active").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_stopped_ends_its_streams_at_once_and_another_takes_them_on_without_telling_twice() {
    let mut studio = Studio::open_with("").await;
    studio.shop.start_server().await;
    let token = studio.sign_in.token("kari").await;
    let session = of(studio.shop.session(), "kari");
    let id = session.session_id();
    studio.shop.buy(&session).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut listening = studio.follow(&token, &id).await;
        listening.expect("queued").await;
        all.push(listening);
    }
    studio.shop.servers[0].program.signal(Signal::SIGTERM);
    for listening in &mut all {
        // Had it been held open to the end of the server's patience, it would break off.
        assert_eq!(listening.next().await, None);
        let again = listening.retries.last().unwrap();
        assert!((1..=4_000).contains(again), "{:?}", listening.retries);
    }
    assert!(studio.shop.servers[0].program.ended().await.success());

    let resumed = studio
        .stream(1, Some(&token), &id)
        .header("Last-Event-ID", &all[0].last_id);
    let mut resumed = studio.listen(resumed).await;
    studio.shop.start_worker().await;
    let active = resumed.expect("active").await;
    resumed.expect_end().await;
    // Who knows even that, and comes again, is told to stay away: 204 is what a browser takes for it.
    let known = studio
        .stream(1, Some(&token), &id)
        .header("Last-Event-ID", &active.id);
    assert_eq!(studio.send(known).await.status, 204);
    // Whatever else a client claims to know is nothing to us.
    for odd in ["", "0", &"f".repeat(4_000), "\u{e6}"] {
        let asked = studio.stream(1, Some(&token), &id).header("Last-Event-ID", odd);
        let mut listening = studio.listen(asked).await;
        assert_eq!(listening.expect("active").await, active);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_id_alone_is_followed_until_it_is_active_and_tells_nothing_else() {
    let mut studio = Studio::open_with("").await;
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
    let studio = Studio::open_with("").await;
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
    let studio = Studio::open_with("").await;
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
    let studio = Studio::open_with(&format!("allowed_origins = [\"{SHOP}\"]")).await;
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

/// Asks until there is room.
async fn until_let_in(studio: &Studio, token: &str, session: &str) -> Listening {
    awaited("room for a stream", async {
        loop {
            let response = studio.stream(0, Some(token), session).send().await.unwrap();
            if response.status() == 200 {
                return Listening {
                    response,
                    unread: Vec::new(),
                    last_id: String::new(),
                    retries: Vec::new(),
                    comments: 0,
                };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_so_many_streams_and_a_client_that_has_gone_leaves_its_place_at_once() {
    let studio = Studio::open_with("streams = 3").await;
    let mut open = Vec::new();
    for user in ["kari", "ola", "liv"] {
        let token = studio.sign_in.token(user).await;
        open.push(studio.follow(&token, "cs_test_1").await);
    }
    let token = studio.sign_in.token("per").await;
    let refused = studio.send(studio.stream(0, Some(&token), "cs_test_1")).await;
    assert_eq!(
        refused.refusal(),
        (503, "Too many streams are open. Please ask again without one.")
    );
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    // The page can ask instead.
    assert_eq!(studio.told(&token, "cs_test_1").await["state"], "unknown");
    // Were a client's end only seen when a heartbeat cannot be sent to it, these would take minutes.
    awaited("twelve changes of guard", async {
        for _ in 0..12 {
            drop(open.remove(0));
            open.push(until_let_in(&studio, &token, "cs_test_1").await);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_customer_and_one_address_without_a_token_have_ten_streams_each() {
    let studio = Studio::open_with("address_header = \"X-Forwarded-For\"").await;
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
async fn an_opened_stream_counts_as_a_call() {
    let studio = Studio::open_with("requests_per_minute = 6").await;
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
    async fn follow(studio: &Studio, token: &str, session: &str) -> Self {
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
    const CHANGES: usize = 1_500;
    let studio = Studio::open_with("streams = 3").await;
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
        others.push(until_let_in(&studio, &token, &id).await);
    }
    drop(never);
}
