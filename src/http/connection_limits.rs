//! Limits on connections that wait for their client: for the head of a request, or for the rest of its body.
//!
//! Each serving thread has a list of its own connections and checks it once a second. `middleware.rs` sets what a connection
//! waits for. If it waits too long, its reading half is closed: a handler that waits for a body gets an error and can still
//! respond.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use nix::sys::socket::{Shutdown, shutdown};

use crate::queue::Caller;

/// How often a thread checks its connections, and the unit of their ages.
const TICK: Duration = Duration::from_secs(1);
/// A connection beyond a limit is closed when it has waited for so many ticks: a burst that sends at once is served.
const GRACE: u32 = 2;
/// The operator is warned once a minute at most.
const BETWEEN_WARNINGS: u32 = 60;

/// What one thread allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections of one address that wait for it; `None`: any number, as all come from one proxy.
    pub(super) per_address: Option<usize>,
    /// So many of them at one moment; beyond that a new connection is closed at once.
    pub(super) burst: usize,
    /// Connections of all addresses that wait for them.
    pub(super) in_all: usize,
    /// How long a body may take.
    pub(super) body: Duration,
    /// How long a connection may wait for a head. What has sent nothing the server closes earlier; what has sent a part
    /// of a head, it does not.
    pub(super) head: Duration,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaits {
    Head,
    Body,
    /// Our response: not limited, because it does not depend on the client.
    Answer,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: RawFd,
    address: Caller,
    /// How many connections of this address wait for their client.
    waiting: Rc<Cell<usize>>,
    awaits: Cell<Awaits>,
    /// The tick since which it waits.
    since: Cell<u32>,
    /// Its time was over.
    is_late: Cell<bool>,
}

/// The connections of one thread.
#[derive(Default)]
struct Connections {
    tick: Cell<u32>,
    open: RefCell<HashMap<RawFd, Weak<Connection>>>,
    /// The first tick at which the operator may be warned again.
    next_warning: Cell<u32>,
    /// Addresses with open connections.
    addresses: RefCell<HashMap<Caller, Rc<Cell<usize>>>>,
}

thread_local! {
    static OPEN: Connections = Connections::default();
}

/// Notes a new connection, for `HttpServer::on_connect`.
pub(super) fn admit(io: &dyn Any, extensions: &mut Extensions, limits: Limits) {
    let Some(stream) = io.downcast_ref::<TcpStream>() else {
        return;
    };
    let Ok(peer) = stream.peer_addr() else {
        return;
    };
    let socket = stream.as_raw_fd();
    OPEN.with(|open| {
        let address = Caller::address(peer.ip());
        let mut addresses = open.addresses.borrow_mut();
        let waiting = addresses.entry(address.clone()).or_default().clone();
        if limits.per_address.is_some() && waiting.get() >= limits.burst {
            close(socket, Shutdown::Both);
            return;
        }
        waiting.set(waiting.get() + 1);
        let connection = Rc::new(Connection {
            socket,
            address,
            waiting,
            awaits: Cell::new(Awaits::Head),
            since: open.tick.clone(),
            is_late: Cell::new(false),
        });
        let noted = Rc::downgrade(&connection);
        open.open.borrow_mut().insert(socket, noted);
        extensions.insert(connection);
    });
}

/// Checks this thread's connections as long as the thread serves.
pub(super) async fn watch(limits: Limits) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
        OPEN.with(|open| open.look(limits));
    }
}

impl Connections {
    /// Closes the connections that wait too long and, beyond a limit, those that wait longest.
    fn look(&self, limits: Limits) {
        let tick = self.tick.get() + 1;
        self.tick.set(tick);
        let mut waiting: Vec<_> = self.open.borrow().values().filter_map(Weak::upgrade).collect();
        waiting.retain(|one| one.awaits.get() != Awaits::Answer);
        let mut in_all = waiting.len();
        waiting.retain(|one| tick - one.since.get() >= GRACE);
        waiting.sort_unstable_by_key(|one| one.since.get());
        for one in waiting {
            let most = match one.awaits.get() {
                Awaits::Body => limits.body,
                _ => limits.head,
            };
            let is_over = TICK * (tick - one.since.get()) > most;
            let is_too_many = limits.per_address.is_some_and(|most| one.waiting.get() > most);
            if is_over || is_too_many || in_all > limits.in_all {
                if is_too_many && tick >= self.next_warning.get() {
                    self.next_warning.set(tick + BETWEEN_WARNINGS);
                    tracing::warn!(
                        address = %one.address,
                        open = one.waiting.get(),
                        "too many unfinished requests from one address (server.unfinished_per_address): the oldest are closed; if it is your proxy, set customers.address_header (docs/proxy.md)"
                    );
                }
                one.stop_reading();
                in_all -= 1;
            }
        }
    }
}

impl Connection {
    /// Notes what it waits for from now on.
    pub(super) fn awaits(&self, awaits: Awaits) {
        let count = self.waiting.get();
        match (self.awaits.replace(awaits), awaits) {
            (Awaits::Answer, Awaits::Head | Awaits::Body) => self.waiting.set(count + 1),
            (Awaits::Head | Awaits::Body, Awaits::Answer) => self.waiting.set(count.saturating_sub(1)),
            _ => {}
        }
        if awaits != Awaits::Answer {
            let tick = OPEN.try_with(|open| open.tick.get());
            self.since.set(tick.unwrap_or_default());
        }
    }

    /// Whether its client took too long.
    pub(super) fn is_late(&self) -> bool {
        self.is_late.get()
    }

    /// Reads no more. As long as this is there, its socket is open: the server drops both together, this one first.
    fn stop_reading(&self) {
        self.is_late.set(true);
        self.awaits(Awaits::Answer);
        close(self.socket, Shutdown::Read);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.awaits(Awaits::Answer);
        // The list is gone where the thread ends.
        let _ = OPEN.try_with(|open| {
            open.open.borrow_mut().remove(&self.socket);
            // Its own, and that of the list.
            if Rc::strong_count(&self.waiting) == 2 {
                open.addresses.borrow_mut().remove(&self.address);
            }
        });
    }
}

fn close(socket: RawFd, half: Shutdown) {
    if let Err(error) = shutdown(socket, half) {
        tracing::debug!(%error, "connection already closed");
    }
}
