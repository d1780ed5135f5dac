//! Socket options and limits of our connections.

use std::net::TcpListener;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Backlog, listen};

/// Raises the soft limit of open files, and so of connections, to `files`, or to the hard limit if that is lower. The usual 1024
/// is only for programs that use `select`. Returns the new limit.
pub(super) fn allow(files: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return u64::MAX;
    };
    let wanted = files.min(hard);
    if wanted <= soft {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files could not be raised");
            soft
        }
    }
}

/// How many connections each of so many threads may have open, `wanted` at most: beyond the limit of open files the system takes
/// none at all, also not those to Redis.
pub(super) fn most(wanted: usize, threads: usize) -> usize {
    let files = allow(
        u64::try_from(wanted)
            .unwrap_or(u64::MAX)
            .saturating_add(LEFT_TO_OTHERS),
    );
    let room = files.saturating_sub(LEFT_TO_OTHERS.min(files / 2));
    let each = usize::try_from(room).unwrap_or(usize::MAX) / threads.max(1);
    each.clamp(1, wanted.max(1))
}

/// What other connections, to Redis, the store and from Stripe, are left of the open files.
pub(super) const LEFT_TO_OTHERS: u64 = 1_000;
/// Connections that the system takes for us before we do: a burst is not turned away. Linux allows as many by itself.
const BACKLOG: i32 = 4_096;

/// Sets the options of a listener and of the connections that it accepts.
pub(super) fn prepare(listener: &TcpListener) {
    let listening = Backlog::new(BACKLOG).and_then(|backlog| listen(listener, backlog));
    if let Err(error) = listening {
        tracing::warn!(%error, "the listen backlog could not be raised: bursts of connections may be refused");
    }
    set_tcp_user_timeout(listener);
}

/// Closes connections of clients that have vanished, as phones do, or that read nothing: 30 s after the first byte that was not
/// acknowledged. Linux by default would retry for a quarter of an hour.
fn set_tcp_user_timeout(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
        const MILLISECONDS: u32 = 30_000;
        // Connections inherit it from their listener.
        if let Err(error) = setsockopt(listener, TcpUserTimeout, &MILLISECONDS) {
            tracing::debug!(%error, "TCP_USER_TIMEOUT could not be set");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}
