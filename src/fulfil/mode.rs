//! Live and test mode ("Fulfilment" rule 9): which purchases are accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::OnceCell;

use crate::batcher::{BatchLimits, Batcher};
use crate::store::{Store, StoreError};

use super::error::Reason;
use super::purchase::Purchase;

/// The most purchases that share one query.
const BATCH: usize = 256;

/// Which purchases are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// Live and test ones: nothing is configured, and no live purchase was fulfilled yet.
    #[default]
    Undecided,
    /// Those of the mode of the key, or else of `stripe.livemode`.
    Configured { live: bool },
    /// Live ones: nothing is configured, and a live purchase was fulfilled.
    FirstLive,
}

impl Mode {
    /// The current mode; `configured` is that of the key or the setting.
    ///
    /// # Errors
    /// [`StoreError`], if nothing is configured.
    pub async fn read(store: &Store, configured: Option<bool>) -> Result<Self, StoreError> {
        match configured {
            Some(live) => Ok(Self::Configured { live }),
            None if store.subscriptions().has_live().await? => Ok(Self::FirstLive),
            None => Ok(Self::Undecided),
        }
    }

    /// Whether what happened in this mode counts.
    #[must_use]
    pub fn accepts(self, livemode: bool) -> bool {
        match self {
            Self::Undecided => true,
            Self::Configured { live } => livemode == live,
            Self::FirstLive => livemode,
        }
    }

    pub(super) fn check(self, purchase: &Purchase) -> Result<(), Reason> {
        let mode = match self {
            Self::Undecided => "this system takes both",
            Self::Configured { live: true } => "this system is configured for live mode",
            Self::Configured { live: false } => "this system is configured for test mode",
            Self::FirstLive => {
                "without STRIPE_SECRET_KEY and `stripe.livemode` this system is in live mode since its first live purchase"
            }
        };
        let stated = match purchase.livemode {
            None => "its event, its session and its id disagree about live and test mode",
            Some(livemode) if self.accepts(livemode) => return Ok(()),
            Some(true) => "it is a live purchase",
            Some(false) => "it is a test purchase",
        };
        Err(Reason::LivemodeMismatch { stated, mode })
    }
}

/// The current mode. Only test purchases without a configured mode query the store.
#[derive(Debug)]
pub(super) struct CurrentMode {
    store: Arc<Store>,
    configured: Option<bool>,
    /// Once a live purchase was fulfilled this stays true. Another worker may fulfil the first at any moment.
    is_live: Arc<AtomicBool>,
    /// Concurrent purchases share one query.
    ask: OnceCell<Batcher<(), Result<Mode, StoreError>>>,
}

impl CurrentMode {
    pub(super) fn new(store: Arc<Store>, configured: Option<bool>) -> Self {
        Self {
            store,
            configured,
            is_live: Arc::default(),
            ask: OnceCell::new(),
        }
    }

    /// The mode for this purchase. A live purchase is accepted whether it is the first or not.
    pub(super) async fn for_purchase(&self, purchase: &Purchase) -> Result<Mode, Reason> {
        if let Some(live) = self.configured {
            return Ok(Mode::Configured { live });
        }
        if purchase.livemode != Some(false) {
            return Ok(Mode::Undecided);
        }
        if self.is_live.load(Ordering::Relaxed) {
            return Ok(Mode::FirstLive);
        }
        let mode = self.shared().await.call(()).await;
        let mode = mode.map_err(|unanswered| StoreError::Transient(unanswered.to_string()));
        mode.flatten().map_err(|error| Reason::from(&error))
    }

    async fn shared(&self) -> &Batcher<(), Result<Mode, StoreError>> {
        let start = async || {
            let limits = BatchLimits {
                batch: BATCH,
                waiting: BATCH,
                parallel: 1,
            };
            let (store, is_live) = (Arc::clone(&self.store), Arc::clone(&self.is_live));
            Batcher::start(limits, move |batch: Vec<()>| {
                let (store, is_live) = (Arc::clone(&store), Arc::clone(&is_live));
                async move {
                    let mode = Mode::read(store.as_ref(), None).await;
                    is_live.fetch_or(matches!(mode, Ok(Mode::FirstLive)), Ordering::Relaxed);
                    vec![mode; batch.len()]
                }
            })
        };
        self.ask.get_or_init(start).await
    }
}
