//! Subscribes to a channel of a queue.

use std::convert::Infallible;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;

use super::client::Queue;
use super::error::QueueError;

/// Between two tries to subscribe.
const AGAIN: Duration = Duration::from_millis(200);
/// After so long without a message Redis gets a PING: a connection whose other end has vanished is silent, too.
const SILENCE: Duration = Duration::from_secs(10);
/// How long its answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What a subscription receives.
#[derive(Debug, Clone, Copy)]
pub(super) enum Notification<'a> {
    /// The subscription has begun. Earlier messages are lost.
    Begun,
    Message(&'a [u8]),
}

/// Listens for as long as it is polled, and subscribes again when the connection breaks.
pub(super) async fn listen(
    queue: &Queue,
    channel: &str,
    mut receive: impl FnMut(Notification<'_>),
) -> Infallible {
    let channel = queue.key(channel);
    loop {
        if let Err(error) = listen_once(queue, &channel, &mut receive).await {
            tracing::debug!(%error, channel, "not listening; trying again");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen_once(
    queue: &Queue,
    channel: &str,
    receive: &mut impl FnMut(Notification<'_>),
) -> Result<(), QueueError> {
    let (mut sink, mut messages) = queue.redis.pubsub(channel).await?.split();
    let late = |_| QueueError::Timeout;
    timeout(ANSWER, sink.subscribe(channel)).await.map_err(late)??;
    receive(Notification::Begun);
    loop {
        match timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => receive(Notification::Message(message.get_payload_bytes())),
            Ok(None) => return Ok(()),
            Err(_) => {
                let _: redis::Value = timeout(ANSWER, sink.ping()).await.map_err(late)??;
            }
        }
    }
}
