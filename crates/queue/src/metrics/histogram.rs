//! A histogram of durations. Counting one is two atomic additions, without a lock.

use std::array;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper bounds of the buckets in µs: 1 ms to 10 minutes. One more bucket takes what is longer.
const BOUNDS: [u64; 18] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
    600_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// In µs.
    sum: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Writes it as Prometheus' histogram, in seconds.
    ///
    /// # Errors
    /// Where the encoder does not take it.
    pub fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let mut count = 0;
        let buckets: [(f64, u64); BOUNDS.len() + 1] = array::from_fn(|at| {
            let bound = BOUNDS.get(at).map_or(f64::INFINITY, |micros| seconds(*micros));
            let bucket = self.buckets[at].load(Ordering::Relaxed);
            count += bucket;
            (bound, bucket)
        });
        let sum = seconds(self.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a sum beyond 285 years may lose a microsecond"
)]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
