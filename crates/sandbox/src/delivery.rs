//! Webhooks: each event goes to each endpoint that wants it, signed, and again after ever longer delays until the endpoint
//! answers with 2xx.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::Serialize;

use crate::faults::Dispatch;
use crate::objects::Endpoint;
use crate::sandbox::Sandbox;
use crate::signature::hmac_sha256;
use crate::world::{Scope, Task, Webhooks, World};

/// The shape of events for an endpoint that asks for none, and of those that are listed.
pub(crate) const API_VERSION: &str = "2025-03-31.basil";
/// How many tries are kept to be shown.
const KEPT: usize = 20_000;

/// One event on its way to one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    scope: Scope,
    event: String,
    /// Where the endpoint belongs; for Connect not where the event does.
    home: Scope,
    endpoint: String,
    /// How often it was sent before.
    tries: u32,
    /// A second copy: what becomes of it changes nothing.
    copy: bool,
}

impl Delivery {
    pub(crate) fn new(scope: &Scope, event: &str, home: &Scope, endpoint: &str) -> Self {
        Self {
            scope: scope.clone(),
            event: event.to_owned(),
            home: home.clone(),
            endpoint: endpoint.to_owned(),
            tries: 0,
            copy: false,
        }
    }

    /// A resend by hand: tried once.
    pub(crate) fn again(scope: &Scope, event: &str, home: &Scope, endpoint: &str) -> Self {
        Self {
            copy: true,
            ..Self::new(scope, event, home, endpoint)
        }
    }
}

/// The outcomes of all deliveries so far.
#[derive(Debug, Default)]
pub(crate) struct DeliveryLog {
    counts: Counts,
    /// Waiting for their time, or for their next try.
    pub(crate) scheduled: usize,
    /// Due, and without an outcome.
    pub(crate) under_way: usize,
    /// The events some of whose first tries have no outcome yet.
    unanswered: HashMap<String, usize>,
    tries: VecDeque<Try>,
}

#[derive(Debug, Default, Clone, Serialize)]
struct Counts {
    /// Tries that were answered with 2xx.
    delivered: u64,
    /// Tries that were not.
    failed: u64,
    dropped: u64,
    lost: u64,
    doubled: u64,
    /// Deliveries that were given up.
    given_up: u64,
    /// Answers by status, `none` where there was no answer.
    answers: BTreeMap<String, u64>,
}

/// One try, as it is shown.
#[derive(Debug, Clone, Serialize)]
struct Try {
    /// The sandbox's time.
    at: DateTime<Utc>,
    event: String,
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    /// From 1.
    attempt: u32,
    copy: bool,
    /// None: there was no answer.
    status: Option<u16>,
    error: Option<String>,
}

/// The deliveries as they are shown.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    scheduled: usize,
    under_way: usize,
    counts: &'a Counts,
    /// The newest last.
    tries: Vec<&'a Try>,
}

/// An attempt that is ready to be sent.
struct SignedRequest {
    url: String,
    signature: String,
    body: Vec<u8>,
}

impl World {
    /// What becomes of the next delivery.
    pub(crate) fn dispatch(&mut self, webhooks: Webhooks) -> Dispatch {
        let dispatch = match webhooks {
            Webhooks::Deliver => self.faults.of_delivery(),
            Webhooks::Drop => Dispatch::Dropped,
            Webhooks::Lose | Webhooks::None => Dispatch::Lost,
        };
        match dispatch {
            Dispatch::Dropped => self.deliveries.counts.dropped += 1,
            Dispatch::Lost => self.deliveries.counts.lost += 1,
            Dispatch::Sent { double, .. } => self.deliveries.counts.doubled += u64::from(double),
        }
        dispatch
    }

    /// Takes over a delivery that shall be sent, once or twice.
    pub(crate) fn hand_over(&mut self, delivery: Delivery, due: DateTime<Utc>, double: bool) {
        let event = delivery.event.clone();
        *self.deliveries.unanswered.entry(event).or_default() += 1;
        if double {
            let copy = Delivery {
                copy: true,
                ..delivery.clone()
            };
            self.later(due + TimeDelta::milliseconds(20), Task::Deliver(copy));
        }
        self.later(due, Task::Deliver(delivery));
    }

    /// Whether the first tries of these events have their outcome.
    pub(crate) fn answered(&self, events: &[String]) -> bool {
        events
            .iter()
            .all(|event| !self.deliveries.unanswered.contains_key(event))
    }

    /// The deliveries that are under way or wait for their time.
    pub(crate) fn deliveries_left(&self) -> usize {
        self.deliveries.under_way + self.deliveries.scheduled
    }

    pub(crate) fn show_deliveries(&self, limit: usize) -> Shown<'_> {
        let tries = &self.deliveries.tries;
        Shown {
            scheduled: self.deliveries.scheduled,
            under_way: self.deliveries.under_way,
            counts: &self.deliveries.counts,
            tries: tries.iter().skip(tries.len().saturating_sub(limit)).collect(),
        }
    }

    /// Signs a delivery with the current time. `None`: its endpoint is deleted or disabled, so it is dropped.
    fn request(&mut self, delivery: &Delivery, now: DateTime<Utc>) -> Option<SignedRequest> {
        let endpoint = self.find(&delivery.home, |objects| {
            objects.endpoints.get(&delivery.endpoint).cloned()
        });
        let endpoint = endpoint.filter(|endpoint| !endpoint.disabled)?;
        let event = self.find(&delivery.scope, |objects| {
            objects.events.get(&delivery.event).cloned()
        })?;
        let version = endpoint.api_version.as_deref().unwrap_or(API_VERSION);
        let body = serde_json::to_vec_pretty(&event.json(version, delivery.home.account.is_none()))
            .unwrap_or_default();
        Some(SignedRequest {
            url: endpoint.url.clone(),
            signature: signed(&endpoint, now.timestamp(), &body),
            body,
        })
    }

    fn tried(&mut self, delivery: &Delivery, url: String, outcome: Result<u16, String>, now: DateTime<Utc>) {
        let kind = self.find(&delivery.scope, |objects| {
            Some(objects.events.get(&delivery.event)?.kind)
        });
        let (status, error) = match outcome {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let good = status.is_some_and(|status| (200..300).contains(&status));
        let counts = &mut self.deliveries.counts;
        let answer = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *counts.answers.entry(answer).or_default() += 1;
        if good {
            counts.delivered += 1;
        } else {
            counts.failed += 1;
        }
        if self.deliveries.tries.len() == KEPT {
            self.deliveries.tries.pop_front();
        }
        self.deliveries.tries.push_back(Try {
            at: now,
            event: delivery.event.clone(),
            kind: kind.unwrap_or_default(),
            url,
            attempt: delivery.tries + 1,
            copy: delivery.copy,
            status,
            error,
        });
        if delivery.copy {
            return;
        }
        if good {
            let events = &mut self.objects(&delivery.scope).events;
            events.change(&delivery.event, |event| {
                event.pending = event.pending.saturating_sub(1);
            });
            return;
        }
        match self.next_try(delivery, now) {
            Some(due) => {
                let again = Delivery {
                    tries: delivery.tries + 1,
                    ..delivery.clone()
                };
                self.later(due, Task::Deliver(again));
            }
            None => self.deliveries.counts.given_up += 1,
        }
    }

    /// Counts a try as over, whether it was made or had nowhere to go.
    fn over(&mut self, delivery: &Delivery) {
        self.deliveries.under_way -= 1;
        if delivery.copy || delivery.tries > 0 {
            return;
        }
        if let Some(left) = self.deliveries.unanswered.get_mut(&delivery.event) {
            *left -= 1;
            if *left == 0 {
                self.deliveries.unanswered.remove(&delivery.event);
            }
        }
    }

    /// Live: after 5 minutes, then ever twice as long up to 12 hours, for 3 days. Test: after 30 minutes and 2 hours.
    fn next_try(&self, delivery: &Delivery, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        const MINUTES: [u32; 12] = [5, 10, 20, 40, 80, 160, 320, 640, 720, 720, 720, 720];
        const MINUTES_IN_TEST: [u32; 2] = [30, 120];
        let delays: &[u32] = if delivery.scope.livemode {
            &MINUTES
        } else {
            &MINUTES_IN_TEST
        };
        let minutes = delays.get(usize::try_from(delivery.tries).ok()?)?;
        let seconds = f64::from(*minutes) * 60.0 * self.settings.retry_scale;
        let delay = std::time::Duration::try_from_secs_f64(seconds.max(0.01)).ok()?;
        now.checked_add_signed(TimeDelta::from_std(delay).ok()?)
    }
}

/// `Stripe-Signature`: a signature with each secret that is active, as while Stripe rolls one.
fn signed(endpoint: &Endpoint, timestamp: i64, body: &[u8]) -> String {
    let rolled = endpoint.rolled.as_ref().filter(|(_, until)| timestamp < *until);
    let secrets = [Some(&endpoint.secret), rolled.map(|(secret, _)| secret)];
    let mut header = format!("t={timestamp}");
    for secret in secrets.into_iter().flatten() {
        let signature = hmac_sha256(secret, &[timestamp.to_string().as_bytes(), b".", body]);
        header = format!("{header},v1={}", hex::encode(signature));
    }
    header
}

/// The secret of a new endpoint.
pub(crate) fn new_secret(world: &mut World) -> SecretString {
    world.ids.next("whsec_", 32).into()
}

/// Sends one delivery and records its outcome.
pub(crate) async fn deliver(sandbox: Arc<Sandbox>, delivery: Delivery) {
    // Fewer at a time than Stripe sends: the receiver is a test's server.
    let Ok(_turn) = sandbox.turns.acquire().await else {
        return;
    };
    let request = sandbox.world().request(&delivery, sandbox.clock.now());
    if let Some(request) = request {
        let url = request.url.clone();
        let sent = sandbox
            .http
            .post(&url)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("Stripe-Signature", request.signature)
            .body(request.body)
            .send();
        let outcome = match sent.await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(error.without_url().to_string()),
        };
        let now = sandbox.clock.now();
        sandbox.world().tried(&delivery, url, outcome, now);
    }
    sandbox.world().over(&delivery);
    sandbox.changed();
}
