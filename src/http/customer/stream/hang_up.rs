//! Notices that a client has hung up on a quiet stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::task::AtomicWaker;
use tokio::time::Sleep;

use super::HEARTBEAT;

/// From the first word into the silence to the second: the first is answered by who is gone, the second hears that.
const SECOND_WORD: Duration = Duration::from_millis(500);

/// A stream of parts that says a word when its connection stirs for no reason of ours.
///
/// actix-web polls the body when anything happens on its connection, also when the other side has closed it; but it lets
/// who has closed one direction read on in the other, and finds out by a write only. Without this a client that is gone would
/// hold its place until the second heartbeat. (`h1_allow_half_closed(false)` would cut off every other handler, too.)
pub(super) struct HangUp<S> {
    parts: Pin<Box<S>>,
    own: Arc<Own>,
    /// It has been waiting: a poll that it has not asked for means that something else has happened.
    waits: bool,
    second_word: Option<Pin<Box<Sleep>>>,
}

/// The wake-ups of the stream itself, told apart from the connection's.
#[derive(Default)]
struct Own {
    woken: AtomicBool,
    connection: AtomicWaker,
}

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.connection.wake();
    }
}

impl<S> HangUp<S> {
    pub(super) fn new(parts: S) -> Self {
        Self {
            parts: Box::pin(parts),
            own: Arc::default(),
            waits: false,
            second_word: None,
        }
    }
}

impl<S, E> Stream for HangUp<S>
where
    S: Stream<Item = Result<Bytes, E>>,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.own.connection.register(cx.waker());
        let was_own = this.own.woken.swap(false, Ordering::AcqRel);
        let waker = Waker::from(this.own.clone());
        let mut own = Context::from_waker(&waker);
        if let Poll::Ready(part) = this.parts.as_mut().poll_next(&mut own) {
            this.waits = false;
            return Poll::Ready(part);
        }
        if let Some(second) = &mut this.second_word {
            if second.as_mut().poll(&mut own).is_pending() {
                return Poll::Pending;
            }
            this.second_word = None;
            this.waits = false;
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
        if this.waits && !was_own {
            this.waits = false;
            this.second_word = Some(Box::pin(tokio::time::sleep(SECOND_WORD)));
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
        this.waits = true;
        Poll::Pending
    }
}
