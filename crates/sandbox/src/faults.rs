//! Faults on demand. Which delivery and which call suffers what follows from the seed and from which one it is, not from
//! how fast things go: the same orders and the same calls suffer the same.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

/// The faults to inject. Percentages are from 0 to 100; what is left out is 0.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultOrder {
    /// In place of the sandbox's own seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seed: Option<u64>,
    pub(crate) deliveries: DeliveryFaults,
    pub(crate) api: ApiFaults,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DeliveryFaults {
    /// Never sent, on no try; the event stays undelivered.
    drop: f64,
    /// Never sent; the event says that it was delivered.
    lose: f64,
    /// Sent twice.
    double: f64,
    /// A second event, of another id, for the same thing.
    twin: f64,
    /// Sent up to `delay_ms` later, at random.
    delay: f64,
    delay_ms: u32,
    /// Sent up to `reorder_ms` later, at random: after others that came after it.
    reorder: f64,
    reorder_ms: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ApiFaults {
    /// Only calls whose path begins with one of these; empty: all.
    paths: Vec<String>,
    /// 429, with `Retry-After`; the call has no effect.
    rate_limited: f64,
    /// Seconds.
    retry_after: u32,
    /// 500; the call has no effect.
    error: f64,
    /// No answer for `hang_ms`, then the connection ends.
    hang: f64,
    hang_ms: u32,
    /// The body comes drop by drop over `drip_ms`.
    drip: f64,
    drip_ms: u32,
    /// The body ends in its middle, and the connection with it.
    truncate: f64,
    /// Calls beyond so many a second get 429: Stripe's own limit is 25 in a sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests_per_second: Option<f64>,
    /// Single calls that fail, counted from this order on.
    once: Vec<Once>,
}

/// The `nth` call to a path fails, and as many after it as `times` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Once {
    /// Whole, such as `/v1/checkout/sessions`.
    path: String,
    /// From 1.
    nth: u64,
    #[serde(default = "one")]
    times: u64,
    fault: ApiFault,
    #[serde(skip)]
    seen: u64,
}

fn one() -> u64 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApiFault {
    RateLimited,
    Error,
    Hang,
    Drip,
    Truncate,
}

/// How a delivery is sent, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Dispatch {
    Dropped,
    Lost,
    Sent { after: TimeDelta, double: bool },
}

/// The fault of a call, with what it needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallFault {
    pub(crate) fault: ApiFault,
    pub(crate) retry_after: u32,
    /// How long a call hangs, or drips.
    pub(crate) lasts: Duration,
}

/// Why an order is rejected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadOrder(String);

impl Default for DeliveryFaults {
    fn default() -> Self {
        Self {
            drop: 0.0,
            lose: 0.0,
            double: 0.0,
            twin: 0.0,
            delay: 0.0,
            delay_ms: 5_000,
            reorder: 0.0,
            reorder_ms: 500,
        }
    }
}

impl Default for ApiFaults {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            rate_limited: 0.0,
            retry_after: 1,
            error: 0.0,
            hang: 0.0,
            hang_ms: 120_000,
            drip: 0.0,
            drip_ms: 2_000,
            truncate: 0.0,
            requests_per_second: None,
            once: Vec::new(),
        }
    }
}

impl FaultOrder {
    fn check(&self) -> Result<(), BadOrder> {
        let deliveries = &self.deliveries;
        let api = &self.api;
        let groups: [&[f64]; 5] = [
            &[deliveries.drop, deliveries.lose],
            &[deliveries.double],
            &[deliveries.twin],
            &[deliveries.delay, deliveries.reorder],
            &[api.rate_limited, api.error, api.hang, api.drip, api.truncate],
        ];
        for group in groups {
            let each = group.iter().all(|percent| (0.0..=100.0).contains(percent));
            if !each || group.iter().sum::<f64>() > 100.0 {
                let message =
                    "percentages are from 0 to 100, and those that exclude each other add up to 100 at most";
                return Err(BadOrder(message.to_owned()));
            }
        }
        if api
            .requests_per_second
            .is_some_and(|rate| !(0.1..=1e6).contains(&rate))
        {
            return Err(BadOrder(
                "requests_per_second is from 0.1 to 1,000,000".to_owned(),
            ));
        }
        if api.once.iter().any(|once| once.nth == 0) {
            return Err(BadOrder("`nth` counts from 1".to_owned()));
        }
        Ok(())
    }
}

/// The order, and how far it has been carried out.
#[derive(Debug)]
pub(crate) struct Faults {
    own_seed: u64,
    order: FaultOrder,
    events: u64,
    deliveries: u64,
    calls: u64,
    bucket: Bucket,
}

impl Faults {
    pub(crate) fn none(seed: u64) -> Self {
        Self {
            own_seed: seed,
            order: FaultOrder::default(),
            events: 0,
            deliveries: 0,
            calls: 0,
            bucket: Bucket::default(),
        }
    }

    pub(crate) fn order(&self) -> &FaultOrder {
        &self.order
    }

    /// Takes an order in place of the one before, and counts from the start.
    ///
    /// # Errors
    /// [`BadOrder`] for what is out of range; the order before goes on.
    pub(crate) fn replace(&mut self, order: FaultOrder) -> Result<(), BadOrder> {
        order.check()?;
        *self = Self {
            order,
            ..Self::none(self.own_seed)
        };
        Ok(())
    }

    /// Whether the next event comes as two.
    pub(crate) fn twin(&mut self) -> bool {
        self.events += 1;
        let percent = self.order.deliveries.twin;
        percent > 0.0 && self.dice(Stream::Events, self.events).percent() < percent
    }

    /// What becomes of the next delivery.
    pub(crate) fn of_delivery(&mut self) -> Dispatch {
        self.deliveries += 1;
        let mut dice = self.dice(Stream::Deliveries, self.deliveries);
        let faults = &self.order.deliveries;
        let roll = dice.percent();
        if roll < faults.drop {
            return Dispatch::Dropped;
        }
        if roll < faults.drop + faults.lose {
            return Dispatch::Lost;
        }
        let double = dice.percent() < faults.double;
        let roll = dice.percent();
        let up_to = if roll < faults.delay {
            faults.delay_ms
        } else if roll < faults.delay + faults.reorder {
            faults.reorder_ms
        } else {
            0
        };
        let after = TimeDelta::milliseconds(dice.0.random_range(0..=i64::from(up_to)));
        Dispatch::Sent { after, double }
    }

    /// What the next call of the API suffers.
    pub(crate) fn of_call(&mut self, path: &str, now: Instant) -> Option<CallFault> {
        let mut fault = None;
        for once in &mut self.order.api.once {
            if once.path == path {
                once.seen += 1;
                if once.seen >= once.nth && once.seen - once.nth < once.times {
                    fault = Some(once.fault);
                }
            }
        }
        let api = &self.order.api;
        if api
            .requests_per_second
            .is_some_and(|rate| !self.bucket.take(rate, now))
        {
            fault = Some(ApiFault::RateLimited);
        }
        if fault.is_none() && (api.paths.is_empty() || api.paths.iter().any(|start| path.starts_with(start)))
        {
            self.calls += 1;
            let mut roll = self.dice(Stream::Calls, self.calls).percent();
            let shares = [
                (api.rate_limited, ApiFault::RateLimited),
                (api.error, ApiFault::Error),
                (api.hang, ApiFault::Hang),
                (api.drip, ApiFault::Drip),
                (api.truncate, ApiFault::Truncate),
            ];
            for (share, struck) in shares {
                if fault.is_none() && roll < share {
                    fault = Some(struck);
                }
                roll -= share;
            }
        }
        let fault = fault?;
        let lasts = if fault == ApiFault::Drip {
            api.drip_ms
        } else {
            api.hang_ms
        };
        Some(CallFault {
            fault,
            retry_after: api.retry_after,
            lasts: Duration::from_millis(lasts.into()),
        })
    }

    fn dice(&self, stream: Stream, nth: u64) -> Dice {
        let seed = self.order.seed.unwrap_or(self.own_seed);
        let mut whole = [0; 32];
        whole[..8].copy_from_slice(&seed.to_le_bytes());
        whole[8..16].copy_from_slice(&nth.to_le_bytes());
        whole[16] = stream as u8;
        Dice(StdRng::from_seed(whole))
    }
}

/// What is counted apart.
#[derive(Debug, Clone, Copy)]
enum Stream {
    Events = 1,
    Deliveries,
    Calls,
}

struct Dice(StdRng);

impl Dice {
    fn percent(&mut self) -> f64 {
        self.0.random_range(0.0..100.0)
    }
}

/// A second's worth of calls at once, then as many as the rate says.
#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, rate: f64, now: Instant) -> bool {
        let full = rate.max(1.0);
        self.tokens = match self.filled {
            None => full,
            Some(filled) => (self.tokens + rate * now.duration_since(filled).as_secs_f64()).min(full),
        };
        self.filled = Some(now);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests;
