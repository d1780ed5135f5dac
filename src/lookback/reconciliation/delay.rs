//! Measures the delay from payment to subscription, in total and by layer.

use chrono::{DateTime, Utc};
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

/// The delay from payment to subscription, in milliseconds.
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

/// Collects delays, in eight bytes each.
#[derive(Debug, Default)]
pub(super) struct DelayStats {
    layers: [Vec<u64>; LAYERS.len()],
    worst: Option<Worst>,
}

impl DelayStats {
    /// If our clock is behind Stripe's, the delay is 0.
    pub(super) fn add(
        &mut self,
        session: &str,
        via: CreatedVia,
        paid_at: DateTime<Utc>,
        created_at: DateTime<Utc>,
    ) {
        let ms = u64::try_from((created_at - paid_at).num_milliseconds()).unwrap_or(0);
        if let Some(at) = LAYERS.iter().position(|layer| *layer == via) {
            self.layers[at].push(ms);
        }
        if self.worst.as_ref().is_none_or(|worst| worst.ms < ms) {
            let session = session.to_owned();
            self.worst = Some(Worst { session, ms });
        }
    }

    pub(super) fn read(mut self) -> (Delays, Vec<Layer>) {
        let layers = LAYERS.iter().zip(&mut self.layers).map(|(via, delays)| {
            delays.sort_unstable();
            Layer {
                created_via: *via,
                count: delays.len() as u64,
                p50_ms: percentile(delays, 50),
                p99_ms: percentile(delays, 99),
                worst_ms: delays.last().copied(),
            }
        });
        let layers = layers.collect();
        let mut all = self.layers.concat();
        all.sort_unstable();
        let delays = Delays {
            p50_ms: percentile(&all, 50),
            p99_ms: percentile(&all, 99),
            worst: self.worst,
        };
        (delays, layers)
    }
}

/// The delay that so many percent of all purchases do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied()
}
