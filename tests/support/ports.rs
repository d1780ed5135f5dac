//! Ports for programs that must be told which to take.

use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A free port below those that the kernel hands out: none of these tests' servers takes it before the program does.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let start = RandomState::new().hash_one(0) % 20_000;
        AtomicU16::new(u16::try_from(start).unwrap_or_default())
    });
    loop {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
