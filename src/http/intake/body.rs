//! Reading a webhook's body.

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};

use super::Answer;
use crate::http::middleware::is_too_slow;

/// The body as it came, of at most `largest` bytes. One that came in one piece, as nearly all do, lies where the connection has
/// read it to: actix's own reader would copy it. Nothing is unpacked: what is signed are the bytes that were sent.
pub(super) async fn read(mut payload: web::Payload, largest: usize) -> Result<Bytes, Answer> {
    let mut body = Bytes::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| {
            if is_too_slow(&error) {
                Answer::TooSlow
            } else {
                Answer::Unreadable
            }
        })?;
        if body.len() + piece.len() > largest {
            return Err(Answer::TooLarge);
        }
        body = if body.is_empty() {
            piece
        } else {
            let mut joined = BytesMut::from(body);
            joined.extend_from_slice(&piece);
            joined.freeze()
        };
    }
    Ok(body)
}

/// Takes in what has come already of a body that is not wanted, so that a connection whose client has sent all of it stays
/// open. Waits for nothing; `false`: there is more to come, and actix closes the connection after the answer.
pub(super) async fn pass_over(mut payload: web::Payload) -> bool {
    // The body that came with the head is at hand when this is polled again.
    tokio::task::yield_now().await;
    loop {
        match payload.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None) => return true,
            Some(Some(Err(_))) | None => return false,
        }
    }
}
