//! Clients that are slow, silent or many: what they may keep busy, and that a webhook gets in all the same.

use std::net::{IpAddr, SocketAddr};

use futures::future::join_all;
use nix::sys::signal::Signal;
use surepass::stripe::signature::sign;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use support::answer::Answer;
use support::program::{PATIENCE, Program, SUREPASS, awaited, command};
use support::shop::{COMPLETED, Server, Shop, WEBHOOK_SECRET, now, signed};

const LARGEST: usize = 1_048_576;

/// Begins a request whose body is to have so many bytes.
async fn begin(address: SocketAddr, path: &str, headers: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: {address}\r\n{headers}content-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The answer that a client reads, to its end or that of the connection.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    awaited("an answer", async {
        while !String::from_utf8_lossy(&text).contains("\"}") {
            if stream.read_buf(&mut text).await.unwrap() == 0 {
                return;
            }
        }
    })
    .await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_webhook_is_refused_by_its_head_and_a_client_that_is_still_sending_can_read_why() {
    // No body that is waited for would be given up in the time of this test.
    let mut shop = Shop::prepare("[server]\nbody_timeout_seconds = 300\n").await;
    shop.start_server().await;
    let body = vec![b' '; LARGEST];
    let stale = sign(&WEBHOOK_SECRET.into(), now().timestamp() - 302, &body);
    for (headers, code) in [
        (String::new(), "missing_signature"),
        (
            "stripe-signature: who knows\r\n".to_owned(),
            "malformed_signature",
        ),
        (format!("stripe-signature: {stale}\r\n"), "stale_timestamp"),
    ] {
        let mut stream = begin(shop.servers[0].address, "/webhooks/stripe", &headers, LARGEST).await;
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400") && said.contains(code), "{said}");
        // Who sends first and reads then finds the answer, too.
        let mut stream = begin(shop.servers[0].address, "/webhooks/stripe", &headers, LARGEST).await;
        stream.write_all(&body).await.unwrap();
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400") && said.contains(code), "{said}");
    }
    // A connection whose request has come whole goes on.
    let mut stream = TcpStream::connect(shop.servers[0].address).await.unwrap();
    for _ in 0..3 {
        let request = b"POST /webhooks/stripe HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(request).await.unwrap();
        assert!(answer(&mut stream).await.contains("missing_signature"));
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up_on_every_route_that_reads_one() {
    let mut shop = Shop::prepare("[server]\nbody_timeout_seconds = 1\n").await;
    shop.set("SUREPASS_JWT_SECRET", "Hemmelig-noekkel-av-over-32-tegn");
    shop.start_server().await;
    let address = shop.servers[0].address;
    let promised = format!("stripe-signature: {}\r\n", signed(WEBHOOK_SECRET, b"{}"));
    let form = "content-type: application/x-www-form-urlencoded\r\norigin: http://localhost\r\n";
    for (path, headers, status) in [
        ("/webhooks/stripe", promised.as_str(), "408"),
        ("/webhooks/stripe/studio", promised.as_str(), "408"),
        ("/api/user/subscription-status", "", "401"),
        ("/api/user/sync-subscriptions", "", "401"),
        ("/api/user/session", form, "403"),
    ] {
        let mut stream = begin(address, path, headers, 4_000).await;
        stream.write_all(b"{").await.unwrap();
        let mut said = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
        let said = String::from_utf8_lossy(&said);
        assert!(
            read.is_ok() && said.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {said}"
        );
    }
}

/// Connections from an address of this machine that send nothing.
async fn silent(from: [u8; 4], to: SocketAddr, count: usize) -> Vec<TcpStream> {
    let connect = || async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(to).await.unwrap()
    };
    awaited("connections", join_all((0..count).map(|_| connect()))).await
}

/// Delivers a purchase from another address than those connections.
async fn deliver(shop: &Shop) -> Answer {
    let body = shop.session().event(COMPLETED, 1);
    let client = surepass::http_client::http()
        .local_address(IpAddr::from([127, 0, 0, 2]))
        .timeout(PATIENCE)
        .build()
        .unwrap();
    let request = client
        .post(format!("http://{}/webhooks/stripe", shop.servers[0].address))
        .header("stripe-signature", signed(WEBHOOK_SECRET, &body))
        .body(body);
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn one_address_with_more_connections_than_the_system_allows_keeps_no_webhook_of_another_out() {
    let mut shop = Shop::prepare("").await;
    // A server that may have few files open.
    let program = Program::start(command(
        "sh",
        &["-c", "ulimit -n 400; exec \"$0\" serve", &SUREPASS],
        shop.environment(),
    ));
    let line: serde_json::Value = serde_json::from_str(&program.says("listening: POST").await).unwrap();
    let address = line["address"].as_str().unwrap().parse().unwrap();
    shop.servers.push(Server { program, address });
    let silent = silent([127, 0, 0, 1], address, 600).await;
    assert_eq!(deliver(&shop).await, Answer::accepted());
    drop(silent);
}

/// Waits for the first bytes, or the end, of so many connections; answers which have come and with how many bytes.
async fn first_bytes(reading: &mut JoinSet<(usize, usize)>, count: usize) -> Vec<(usize, usize)> {
    let mut come = Vec::new();
    awaited("bytes or ends", async {
        while come.len() < count {
            come.push(reading.join_next().await.unwrap().unwrap());
        }
    })
    .await;
    come
}

#[tokio::test]
async fn of_more_unfinished_requests_of_one_address_than_it_may_have_some_are_closed_and_behind_a_proxy_none()
{
    let mut shop = Shop::prepare("[server]\nunfinished_per_address = 8\nworkers = 1\n").await;
    shop.start_server().await;
    shop.set("SUREPASS_ADDRESS_HEADER", "X-Forwarded-For");
    shop.start_server().await;
    let open = async |server: &Server| {
        let (mut reading, mut writing) = (JoinSet::new(), Vec::new());
        for (nth, stream) in silent([127, 0, 0, 1], server.address, 20)
            .await
            .into_iter()
            .enumerate()
        {
            let (mut read, write) = stream.into_split();
            reading.spawn(async move { (nth, read.read(&mut [0; 100]).await.unwrap()) });
            writing.push(Some(write));
        }
        (reading, writing)
    };
    let (mut behind_proxy, mut to_proxied) = open(&shop.servers[1]).await;
    let (mut direct, mut to_direct) = open(&shop.servers[0]).await;
    for (nth, bytes) in first_bytes(&mut direct, 12).await {
        assert_eq!(bytes, 0);
        to_direct[nth] = None;
    }
    // All others can still ask.
    for write in to_direct.iter_mut().chain(&mut to_proxied).flatten() {
        let request = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
        write.write_all(request).await.unwrap();
    }
    let answers = [
        first_bytes(&mut direct, 8).await,
        first_bytes(&mut behind_proxy, 20).await,
    ];
    for (nth, bytes) in answers.concat() {
        assert_ne!(bytes, 0, "{nth}");
    }
}

#[tokio::test]
async fn a_burst_of_connections_is_taken_while_the_server_is_busy() {
    let mut shop = Shop::prepare("").await;
    shop.start_server().await;
    shop.servers[0].program.frozen().await;
    // The system takes them: a full line would answer nothing, and each would try again after seconds.
    let connections = silent([127, 0, 0, 1], shop.servers[0].address, 600).await;
    assert_eq!(connections.len(), 600);
    shop.servers[0].program.signal(Signal::SIGCONT);
    assert_eq!(deliver(&shop).await, Answer::accepted());
}
