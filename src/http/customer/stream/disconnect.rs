//! Notices that the client of a quiet stream has disconnected.

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

/// The pause between two writes of a probe: a client that is gone answers the first with a reset, and the second fails.
const SECOND_WRITE: Duration = Duration::from_millis(500);

/// A stream that writes a heartbeat when something happens on its connection that the stream did not cause.
///
/// actix-web polls the body when anything happens on its connection, also when the client has closed it. But it treats that as
/// half closed and notices only by a failed write. Without this a client that is gone would keep its slot until the second
/// heartbeat. (`h1_allow_half_closed(false)` would cancel all other handlers, too.)
pub(super) struct DisconnectProbe<S> {
    parts: Pin<Box<S>>,
    own: Arc<Own>,
    /// The stream is waiting: a poll without its own wake-up comes from the connection.
    waits: bool,
    second_write: Option<Pin<Box<Sleep>>>,
}

/// The wake-ups of the stream itself, apart from those of the connection.
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

impl<S> DisconnectProbe<S> {
    pub(super) fn new(parts: S) -> Self {
        Self {
            parts: Box::pin(parts),
            own: Arc::default(),
            waits: false,
            second_write: None,
        }
    }
}

impl<S, E> Stream for DisconnectProbe<S>
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
        if let Some(second) = &mut this.second_write {
            if second.as_mut().poll(&mut own).is_pending() {
                return Poll::Pending;
            }
            this.second_write = None;
            this.waits = false;
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
        if this.waits && !was_own {
            this.waits = false;
            this.second_write = Some(Box::pin(tokio::time::sleep(SECOND_WRITE)));
            return Poll::Ready(Some(Ok(HEARTBEAT)));
        }
        this.waits = true;
        Poll::Pending
    }
}
