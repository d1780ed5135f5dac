//! Logs a line for each created pass. A thread of its own formats them, since that costs a tenth of what a
//! purchase costs.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use surepass::clock::Clock;

/// The most lines that wait. Beyond that, the worker's own thread writes.
const MOST: usize = 10_000;
/// Lines gather for so long: to wake the writer costs the worker's thread as much as to write the line.
const GATHER: Duration = Duration::from_millis(20);

/// A created pass.
pub(crate) struct Line {
    pub(crate) tenant: String,
    pub(crate) session: String,
    /// The layer that found the purchase, such as `webhook`.
    pub(crate) layer: &'static str,
    /// When the purchase was enqueued, in ms since 1970.
    pub(crate) enqueued: u64,
}

/// Writes lines. Waiting lines are written before it is dropped.
#[derive(Debug)]
pub(crate) struct PurchaseLog {
    clock: Clock,
    /// `None`: the log level is off, or the thread could not be started.
    lines: Option<SyncSender<(Line, u64)>>,
    writer: Option<JoinHandle<()>>,
}

impl PurchaseLog {
    pub(crate) fn start(clock: Clock) -> Self {
        let mut log = Self {
            clock,
            lines: None,
            writer: None,
        };
        if !tracing::enabled!(tracing::Level::INFO) {
            return log;
        }
        let (lines, waiting) = sync_channel::<(Line, u64)>(MOST);
        let writer = thread::Builder::new().name("purchase-log".to_owned());
        let write = move || {
            while let Ok((line, ms)) = waiting.recv() {
                line.write(ms);
                while let Ok((line, ms)) = waiting.try_recv() {
                    line.write(ms);
                }
                thread::sleep(GATHER);
            }
        };
        match writer.spawn(write) {
            Ok(writer) => (log.lines, log.writer) = (Some(lines), Some(writer)),
            Err(error) => tracing::warn!(%error, "no thread for the lines of purchases: none are written"),
        }
        log
    }

    /// Writes the line that `line` creates, if the log level is on.
    pub(crate) fn write(&self, line: impl FnOnce() -> Line) {
        let Some(lines) = &self.lines else { return };
        let line = line();
        let now = u64::try_from(self.clock.now().timestamp_millis()).unwrap_or_default();
        // Redis's clock set the one, ours the other.
        let ms = now.saturating_sub(line.enqueued);
        if let Err(TrySendError::Full((line, ms)) | TrySendError::Disconnected((line, ms))) =
            lines.try_send((line, ms))
        {
            line.write(ms);
        }
    }
}

impl Drop for PurchaseLog {
    fn drop(&mut self) {
        drop(self.lines.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Line {
    fn write(self, ms: u64) {
        let Self {
            tenant,
            session,
            layer,
            ..
        } = self;
        tracing::info!(tenant, session, ms, layer, "pass created");
    }
}
