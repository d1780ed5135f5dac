//! When to stop: SIGTERM, Ctrl-C, or the end of the supervisor that started us.

use std::io::{self, Read as _};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Set by `surepass up`: stdin is a pipe whose end tells that the supervisor is gone, even by SIGKILL.
pub const SUPERVISED: &str = "SUREPASS_SUPERVISED";

/// Hears when the process is told to stop, and when it is told again. Clones hear the same.
#[derive(Debug, Clone)]
pub struct Shutdown {
    times: watch::Receiver<u32>,
    _keep: Arc<watch::Sender<u32>>,
}

impl Shutdown {
    /// Begins to listen to SIGTERM and SIGINT, and to the supervisor where there is one.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub fn listen() -> io::Result<Self> {
        let (sender, times) = watch::channel(0);
        let sender = Arc::new(sender);
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind)?;
            let told = sender.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    told.send_modify(|times| *times += 1);
                }
            });
        }
        if std::env::var_os(SUPERVISED).is_some() {
            let told = sender.clone();
            std::thread::Builder::new()
                .name("supervisor".to_owned())
                .spawn(move || {
                    let mut rest = Vec::new();
                    let _ = io::stdin().read_to_end(&mut rest);
                    // On its way down the supervisor sends SIGTERM as well: that is not a second word.
                    told.send_modify(|times| *times = (*times).max(1));
                })?;
        }
        Ok(Self { times, _keep: sender })
    }

    async fn told(&self, times: u32) {
        // The sender lives as long as we do, so this waits and does not fail.
        let _ = self.times.clone().wait_for(|told| *told >= times).await;
    }

    /// Waits until the process is told to stop.
    pub async fn asked(&self) {
        self.told(1).await;
    }

    /// Waits until it is told a second time.
    pub async fn insisted(&self) {
        self.told(2).await;
    }

    /// Whether it has been told.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        *self.times.borrow() > 0
    }
}
