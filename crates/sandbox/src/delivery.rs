//! Webhooks: each event goes to each endpoint that wants it, signed, and again after ever longer delays until the endpoint
//! answers with 2xx.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::Serialize;

use crate::faults::Fate;
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
pub(crate) struct Parcel {
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

impl Parcel {
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

/// What became of the deliveries so far.
#[derive(Debug, Default)]
pub(crate) struct Post {
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

/// A try that is ready to be sent.
struct Letter {
    url: String,
    signature: String,
    body: Vec<u8>,
}

impl World {
    /// What becomes of the next delivery.
    pub(crate) fn fate(&mut self, webhooks: Webhooks) -> Fate {
        let fate = match webhooks {
            Webhooks::Deliver => self.faults.of_delivery(),
            Webhooks::Drop => Fate::Dropped,
            Webhooks::Lose | Webhooks::None => Fate::Lost,
        };
        match fate {
            Fate::Dropped => self.post.counts.dropped += 1,
            Fate::Lost => self.post.counts.lost += 1,
            Fate::Sent { double, .. } => self.post.counts.doubled += u64::from(double),
        }
        fate
    }

    /// Takes over a delivery that shall be sent, once or twice.
    pub(crate) fn hand_over(&mut self, parcel: Parcel, due: DateTime<Utc>, double: bool) {
        let event = parcel.event.clone();
        *self.post.unanswered.entry(event).or_default() += 1;
        if double {
            let copy = Parcel {
                copy: true,
                ..parcel.clone()
            };
            self.later(due + TimeDelta::milliseconds(20), Task::Deliver(copy));
        }
        self.later(due, Task::Deliver(parcel));
    }

    /// Whether the first tries of these events have their outcome.
    pub(crate) fn answered(&self, events: &[String]) -> bool {
        events
            .iter()
            .all(|event| !self.post.unanswered.contains_key(event))
    }

    /// The deliveries that are under way or wait for their time.
    pub(crate) fn deliveries_left(&self) -> usize {
        self.post.under_way + self.post.scheduled
    }

    pub(crate) fn show_deliveries(&self, limit: usize) -> Shown<'_> {
        let tries = &self.post.tries;
        Shown {
            scheduled: self.post.scheduled,
            under_way: self.post.under_way,
            counts: &self.post.counts,
            tries: tries.iter().skip(tries.len().saturating_sub(limit)).collect(),
        }
    }

    /// Signs a parcel as of now. None: its endpoint is gone or disabled, and it goes nowhere any more.
    fn letter(&mut self, parcel: &Parcel, now: DateTime<Utc>) -> Option<Letter> {
        let endpoint = self.find(&parcel.home, |books| {
            books.endpoints.get(&parcel.endpoint).cloned()
        });
        let endpoint = endpoint.filter(|endpoint| !endpoint.disabled)?;
        let event = self.find(&parcel.scope, |books| books.events.get(&parcel.event).cloned())?;
        let version = endpoint.api_version.as_deref().unwrap_or(API_VERSION);
        let body = serde_json::to_vec_pretty(&event.json(version, parcel.home.account.is_none()))
            .unwrap_or_default();
        Some(Letter {
            url: endpoint.url.clone(),
            signature: signed(&endpoint, now.timestamp(), &body),
            body,
        })
    }

    fn tried(&mut self, parcel: &Parcel, url: String, outcome: Result<u16, String>, now: DateTime<Utc>) {
        let kind = self.find(&parcel.scope, |books| Some(books.events.get(&parcel.event)?.kind));
        let (status, error) = match outcome {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let good = status.is_some_and(|status| (200..300).contains(&status));
        let counts = &mut self.post.counts;
        let answer = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        *counts.answers.entry(answer).or_default() += 1;
        if good {
            counts.delivered += 1;
        } else {
            counts.failed += 1;
        }
        if self.post.tries.len() == KEPT {
            self.post.tries.pop_front();
        }
        self.post.tries.push_back(Try {
            at: now,
            event: parcel.event.clone(),
            kind: kind.unwrap_or_default(),
            url,
            attempt: parcel.tries + 1,
            copy: parcel.copy,
            status,
            error,
        });
        if parcel.copy {
            return;
        }
        if good {
            let events = &mut self.books(&parcel.scope).events;
            events.change(&parcel.event, |event| {
                event.pending = event.pending.saturating_sub(1);
            });
            return;
        }
        match self.next_try(parcel, now) {
            Some(due) => {
                let again = Parcel {
                    tries: parcel.tries + 1,
                    ..parcel.clone()
                };
                self.later(due, Task::Deliver(again));
            }
            None => self.post.counts.given_up += 1,
        }
    }

    /// Counts a try as over, whether it was made or had nowhere to go.
    fn over(&mut self, parcel: &Parcel) {
        self.post.under_way -= 1;
        if parcel.copy || parcel.tries > 0 {
            return;
        }
        if let Some(left) = self.post.unanswered.get_mut(&parcel.event) {
            *left -= 1;
            if *left == 0 {
                self.post.unanswered.remove(&parcel.event);
            }
        }
    }

    /// Live: after 5 minutes, then ever twice as long up to 12 hours, for 3 days. Test: after 30 minutes and 2 hours.
    fn next_try(&self, parcel: &Parcel, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        const MINUTES: [u32; 12] = [5, 10, 20, 40, 80, 160, 320, 640, 720, 720, 720, 720];
        const MINUTES_IN_TEST: [u32; 2] = [30, 120];
        let delays: &[u32] = if parcel.scope.livemode {
            &MINUTES
        } else {
            &MINUTES_IN_TEST
        };
        let minutes = delays.get(usize::try_from(parcel.tries).ok()?)?;
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

/// Sends one parcel and notes what became of it.
pub(crate) async fn deliver(sandbox: Arc<Sandbox>, parcel: Parcel) {
    // Stripe's servers are many; a test's are not.
    let Ok(_turn) = sandbox.turns.acquire().await else {
        return;
    };
    let letter = sandbox.world().letter(&parcel, sandbox.clock.now());
    if let Some(letter) = letter {
        let url = letter.url.clone();
        let sent = sandbox
            .http
            .post(&url)
            .header("Content-Type", "application/json; charset=utf-8")
            .header("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header("Stripe-Signature", letter.signature)
            .body(letter.body)
            .send();
        let outcome = match sent.await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(error.without_url().to_string()),
        };
        let now = sandbox.clock.now();
        sandbox.world().tried(&parcel, url, outcome, now);
    }
    sandbox.world().over(&parcel);
    sandbox.changed();
}
