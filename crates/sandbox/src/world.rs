//! The sandbox's state, in memory: accounts, their objects, timers, and the faults to inject. One lock guards it; nothing is awaited under it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::api::{KeyRule, Replays};
use crate::delivery::{Delivery, DeliveryLog};
use crate::faults::{Dispatch, Faults};
use crate::ids::Ids;
use crate::objects::{
    Account, Charge, Customer, Dispute, Endpoint, Event, PaymentIntent, Price, Product, Refund, Session,
    Snapshot,
};
use crate::request_log::RequestLog;
use crate::table::Table;

/// An account and a mode. The objects of one scope are invisible in another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// A connected account; none: the platform's own.
    pub(crate) account: Option<String>,
    pub(crate) livemode: bool,
}

/// The objects of one scope.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) products: Table<Product>,
    pub(crate) prices: Table<Price>,
    pub(crate) customers: Table<Customer>,
    /// Their ids go on to be known.
    pub(crate) deleted_customers: HashSet<String>,
    pub(crate) sessions: Table<Session>,
    pub(crate) payment_intents: Table<PaymentIntent>,
    pub(crate) charges: Table<Charge>,
    pub(crate) refunds: Table<Refund>,
    pub(crate) disputes: Table<Dispute>,
    pub(crate) events: Table<Event>,
    pub(crate) endpoints: Table<Endpoint>,
}

/// What does not change while the sandbox runs.
#[derive(Debug, Clone)]
pub(crate) struct WorldSettings {
    pub(crate) seed: u64,
    /// Where the hosted pages are, without a slash at the end.
    pub(crate) base_url: String,
    /// How long a bank transfer takes to settle.
    pub(crate) settle_after: TimeDelta,
    /// What the delays between tries of a delivery are multiplied by.
    pub(crate) retry_scale: f64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) settings: WorldSettings,
    pub(crate) ids: Ids,
    pub(crate) platform: Account,
    pub(crate) accounts: BTreeMap<String, Account>,
    objects: HashMap<Scope, Objects>,
    timers: BTreeMap<(DateTime<Utc>, u64), Task>,
    timers_set: u64,
    pub(crate) deliveries: DeliveryLog,
    pub(crate) faults: Faults,
    pub(crate) requests: RequestLog,
    pub(crate) replays: Replays,
    /// What certain keys may not; all others may do all that their prefix says.
    pub(crate) keys: HashMap<String, KeyRule>,
}

/// Something that happens later.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    Deliver(Delivery),
    /// A session's 24 hours are over.
    Expire(Scope, String),
    /// A bank transfer arrives.
    Settle(Scope, String),
}

/// Why something happens, and when.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) now: DateTime<Utc>,
    /// Unix seconds: `created` of the objects and events that come of it. Earlier than `now` for purchases in the past.
    pub(crate) at: i64,
    /// The API request that caused it, and its idempotency key.
    pub(crate) request: (Option<String>, Option<String>),
    pub(crate) webhooks: Webhooks,
}

/// What happens to the webhooks of a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Webhooks {
    /// They are sent, unless a fault is injected.
    #[default]
    Deliver,
    /// They are never sent; the events say that they are undelivered.
    Drop,
    /// They are never sent; the events say that they were delivered.
    Lose,
    /// There are no events at all.
    None,
}

impl Cause {
    pub(crate) fn now(now: DateTime<Utc>) -> Self {
        Self {
            now,
            at: now.timestamp(),
            request: (None, None),
            webhooks: Webhooks::default(),
        }
    }
}

impl World {
    pub(crate) fn new(settings: WorldSettings, now: DateTime<Utc>) -> Self {
        let mut ids = Ids::new(settings.seed);
        let platform = Account {
            id: ids.next("acct_1", 15),
            created: now.timestamp(),
            email: None,
        };
        Self {
            faults: Faults::none(settings.seed),
            settings,
            ids,
            platform,
            accounts: BTreeMap::new(),
            objects: HashMap::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            deliveries: DeliveryLog::default(),
            requests: RequestLog::default(),
            replays: Replays::default(),
            keys: HashMap::new(),
        }
    }

    pub(crate) fn objects(&mut self, scope: &Scope) -> &mut Objects {
        self.objects.entry(scope.clone()).or_default()
    }

    pub(crate) fn find<T>(&self, scope: &Scope, find: impl FnOnce(&Objects) -> Option<T>) -> Option<T> {
        self.objects.get(scope).and_then(find)
    }

    /// Where an object is that only its id tells of.
    pub(crate) fn home(&self, has: impl Fn(&Objects) -> bool) -> Option<Scope> {
        let home = self.objects.iter().find(|(_, objects)| has(objects));
        home.map(|(scope, _)| scope.clone())
    }

    pub(crate) fn session_anywhere(&self, id: &str) -> Option<(Scope, Arc<Session>)> {
        let scope = self.home(|objects| objects.sessions.get(id).is_some())?;
        let session = self.find(&scope, |objects| objects.sessions.get(id).cloned())?;
        Some((scope, session))
    }

    /// Connects an account, unless it is there.
    pub(crate) fn connect(&mut self, id: String, created: i64, email: Option<String>) -> &Account {
        let account = Account {
            id: id.clone(),
            created,
            email,
        };
        self.accounts.entry(id).or_insert(account)
    }

    pub(crate) fn later(&mut self, due: DateTime<Utc>, task: Task) {
        self.timers_set += 1;
        self.deliveries.scheduled += usize::from(matches!(task, Task::Deliver(_)));
        self.timers.insert((due, self.timers_set), task);
    }

    /// Takes what is due, and tells when the next thing is.
    pub(crate) fn due(&mut self, now: DateTime<Utc>) -> (Vec<Task>, Option<DateTime<Utc>>) {
        let rest = self.timers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut self.timers, rest);
        let next = self.timers.first_key_value().map(|((due, _), _)| *due);
        let due: Vec<_> = due.into_values().collect();
        let deliveries = due.iter().filter(|task| matches!(task, Task::Deliver(_)));
        let deliveries = deliveries.count();
        self.deliveries.scheduled -= deliveries;
        self.deliveries.under_way += deliveries;
        (due, next)
    }

    /// Whether anything waits whose time has come.
    pub(crate) fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.timers
            .first_key_value()
            .is_some_and(|((due, _), _)| *due <= now)
    }

    /// Writes an event down and sends it to every endpoint that wants it. Answers the ids of the events: none where
    /// there shall be none, two where the fault `twin` strikes.
    pub(crate) fn emit(
        &mut self,
        scope: &Scope,
        cause: &Cause,
        kind: &'static str,
        object: &Snapshot,
        previous: Option<&serde_json::Value>,
    ) -> Vec<String> {
        if cause.webhooks == Webhooks::None {
            return Vec::new();
        }
        let count = if self.faults.twin() { 2 } else { 1 };
        let endpoints = self.listeners(scope, kind);
        let mut made = Vec::new();
        for _ in 0..count {
            let id = self.ids.long("evt_1");
            let dispatches: Vec<Dispatch> = endpoints.iter().map(|_| self.dispatch(cause.webhooks)).collect();
            let pending = dispatches
                .iter()
                .filter(|dispatch| **dispatch != Dispatch::Lost)
                .count();
            let least = usize::from(cause.webhooks == Webhooks::Drop);
            let event = Event {
                id: id.clone(),
                created: cause.at,
                livemode: scope.livemode,
                kind,
                object: object.clone(),
                previous: previous.cloned(),
                account: scope.account.clone(),
                request: cause.request.clone(),
                pending: u32::try_from(pending.max(least)).unwrap_or(u32::MAX),
            };
            self.objects(scope).events.insert(event);
            for ((home, endpoint), dispatch) in endpoints.iter().zip(dispatches) {
                if let Dispatch::Sent { after, double } = dispatch {
                    let delivery = Delivery::new(scope, &id, home, endpoint);
                    self.hand_over(delivery, cause.now + after, double);
                }
            }
            made.push(id);
        }
        made
    }

    /// Hands an event to its endpoints once more. Answers to how many; none: there is no such event.
    pub(crate) fn resend(&mut self, id: &str, cause: &Cause) -> Option<usize> {
        let scope = self.home(|objects| objects.events.get(id).is_some())?;
        let kind = self.find(&scope, |objects| Some(objects.events.get(id)?.kind))?;
        let endpoints = self.listeners(&scope, kind);
        for (home, endpoint) in &endpoints {
            let delivery = Delivery::again(&scope, id, home, endpoint);
            self.later(cause.now, Task::Deliver(delivery));
        }
        Some(endpoints.len())
    }

    /// The endpoints that want events of this type from this scope, with the scope that each belongs to.
    fn listeners(&self, scope: &Scope, kind: &str) -> Vec<(Scope, String)> {
        let platform = Scope {
            account: None,
            livemode: scope.livemode,
        };
        let of = |home: &Scope, connect: bool| -> Vec<(Scope, String)> {
            let endpoints = self
                .objects
                .get(home)
                .into_iter()
                .flat_map(|objects| objects.endpoints.iter());
            endpoints
                .filter(|endpoint| endpoint.connect == connect && endpoint.wants(kind))
                .map(|endpoint| (home.clone(), endpoint.id.clone()))
                .collect()
        };
        let mut listeners = of(scope, false);
        if scope.account.is_some() {
            listeners.extend(of(&platform, true));
        }
        listeners
    }
}
