//! The registry of workers, for operators.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{Queue, millis};
use super::error::QueueError;
use super::scripts;

/// How long a worker that fell silent is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_hours(1);

/// What a worker registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) concurrency: usize,
    /// In ms: silence of this length means death.
    pub(super) lease: u64,
}

impl About {
    pub(super) fn this_process(concurrency: usize, lease: Duration) -> Self {
        let host = nix::unistd::gethostname().ok();
        Self {
            host: host.and_then(|name| name.into_string().ok()).unwrap_or_default(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            concurrency,
            lease: millis(lease),
        }
    }
}

/// Notes that the worker lives.
pub(super) async fn register(queue: &Queue, name: &str, about: &About) -> Result<(), QueueError> {
    let mut call = scripts::REGISTER.on(&[queue.key("workers")]);
    call.arg(queue.prefix())
        .arg(name)
        .arg(serde_json::to_string(about)?)
        .arg(millis(REMEMBERED));
    let _: i64 = call.invoke_async(&mut queue.connection.clone()).await?;
    Ok(())
}

/// Forgets a worker that has stopped in good order.
pub(super) async fn forget(queue: &Queue, name: &str) -> Result<(), QueueError> {
    let forget = redis::Cmd::hdel(queue.key("workers"), name);
    Ok(forget.query_async(&mut queue.connection.clone()).await?)
}
