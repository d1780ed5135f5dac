//! What the system is to do with our connections.

use std::net::TcpListener;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have so many files, and so connections, open, as far as the system allows it without asking anybody: the
/// usual 1024 is a courtesy to programs that use `select`. Answers how many it may have now.
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
            tracing::debug!(%error, "the limit of open files stays as it is");
            soft
        }
    }
}

/// Lets go of clients that have vanished without a word, as phones do, or that take nothing of what is sent to them: half a
/// minute after the first byte that was not acknowledged. Linux by itself would try for a quarter of an hour.
pub(super) fn let_go_of_the_vanished(listener: &TcpListener) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
        const MILLISECONDS: u32 = 30_000;
        // Connections have what their listener has.
        if let Err(error) = setsockopt(listener, TcpUserTimeout, &MILLISECONDS) {
            tracing::debug!(%error, "clients that vanish are let go of as the system is set");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}
