//! A request byte by byte, for what an HTTP client would not send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::program::PATIENCE;

/// Posts to the intake with these headers and this body, already framed. Answers the status and the whole answer.
pub(crate) async fn post(address: SocketAddr, headers: &str, body: &[u8]) -> (u16, String) {
    let head =
        format!("POST /webhooks/stripe HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    let (mut reading, mut writing) = TcpStream::connect(address).await.unwrap().into_split();
    let body = body.to_vec();
    let sending = tokio::spawn(async move {
        writing.write_all(head.as_bytes()).await.unwrap();
        // A server that has seen enough may close before the end.
        let _ = writing.write_all(&body).await;
        writing
    });
    let mut answer = Vec::new();
    let read = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    drop(sending.await);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no answer: {read:?} {answer}")),
        answer,
    )
}

/// A body in chunks of the transfer encoding.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut framed = Vec::new();
    for chunk in body.chunks(size) {
        framed.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        framed.extend(chunk);
        framed.extend(b"\r\n");
    }
    framed.extend(b"0\r\n\r\n");
    framed
}
