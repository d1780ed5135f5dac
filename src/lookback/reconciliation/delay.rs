//! Measures the delay from payment to subscription, in total and by layer.

use chrono::{DateTime, Utc};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::store::CreatedVia;

/// In the order in which they find a purchase.
const LAYERS: [CreatedVia; 5] = [
    CreatedVia::Webhook,
    CreatedVia::Status,
    CreatedVia::Lookback,
    CreatedVia::SelfService,
    CreatedVia::Support,
];

/// The longest delay that is measured exactly, in milliseconds: over ten years.
const MAX_DELAY_MS: u64 = 1 << 39;

/// The subscriptions that one layer created.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    pub created_via: CreatedVia,
    pub count: u64,
    /// Milliseconds, as are the other two. `None` if there are no subscriptions.
    pub p50_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    pub worst_ms: Option<u64>,
}

/// The delay from payment to subscription, in milliseconds, precise to 0.1 %.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Delays {
    pub p50_ms: Option<u64>,
    pub p99_ms: Option<u64>,
    pub worst: Option<Worst>,
}

/// The purchase with the longest delay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Worst {
    pub session: String,
    pub ms: u64,
}

/// Collects delays in constant memory.
#[derive(Debug)]
pub(super) struct DelayStats {
    all: DelayHistogram,
    layers: [DelayHistogram; LAYERS.len()],
    worst: Option<Worst>,
}

#[derive(Debug, Default)]
struct DelayHistogram {
    count: u64,
    /// Created with the first delay.
    delays: Option<Histogram<u32>>,
}

impl DelayHistogram {
    fn add(&mut self, ms: u64) {
        self.count += 1;
        if self.delays.is_none() {
            self.delays = Histogram::new_with_bounds(1, MAX_DELAY_MS, 3).ok();
        }
        if let Some(delays) = &mut self.delays {
            delays.saturating_record(ms);
        }
    }

    /// The delay that this share of all purchases does not exceed.
    fn quantile(&self, share: f64) -> Option<u64> {
        self.delays.as_ref().map(|delays| delays.value_at_quantile(share))
    }

    fn worst(&self) -> Option<u64> {
        self.delays.as_ref().map(Histogram::max)
    }
}

impl DelayStats {
    pub(super) fn new() -> Self {
        Self {
            all: DelayHistogram::default(),
            layers: std::array::from_fn(|_| DelayHistogram::default()),
            worst: None,
        }
    }

    /// If our clock is behind Stripe's, the delay is 0.
    pub(super) fn add(
        &mut self,
        session: &str,
        via: CreatedVia,
        paid_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
    ) {
        let ms = u64::try_from((created_at - paid_at).num_milliseconds()).unwrap_or(0);
        self.all.add(ms);
        if let Some(at) = LAYERS.iter().position(|layer| *layer == via) {
            self.layers[at].add(ms);
        }
        if self.worst.as_ref().is_none_or(|worst| worst.ms < ms) {
            let session = session.to_owned();
            self.worst = Some(Worst { session, ms });
        }
    }

    pub(super) fn read(self) -> (Delays, Vec<Layer>) {
        let delays = Delays {
            p50_ms: self.all.quantile(0.5),
            p99_ms: self.all.quantile(0.99),
            worst: self.worst,
        };
        let layers = LAYERS.iter().zip(&self.layers).map(|(via, record)| Layer {
            created_via: *via,
            count: record.count,
            p50_ms: record.quantile(0.5),
            p99_ms: record.quantile(0.99),
            worst_ms: record.worst(),
        });
        (delays, layers.collect())
    }
}
