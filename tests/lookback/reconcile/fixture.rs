//! A shop whose purchases stand at Stripe, some of them fulfilled.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use surepass::clock::Clock;
use surepass::fulfil::{Fulfilled, Fulfiller, Purchase};
use surepass::ingest::{Triage, triage};
use surepass::store::{CreatedVia, Store};
use surepass::stripe::Event;
use surepass::up::sample::SampleSession;

use crate::reconcile::stripe::Stripe;
use support::program::{stderr, stdout};
use support::shop::{COMPLETED, Shop, now};

pub(crate) struct Fixture {
    pub(crate) shop: Shop,
    pub(crate) stripe: Stripe,
    pub(crate) store: Arc<Store>,
}

/// What `surepass reconcile --json` said.
pub(crate) struct Ledger {
    pub(crate) status: i32,
    pub(crate) json: Value,
    pub(crate) stderr: String,
}

impl Ledger {
    /// The sessions of a kind of finding, sorted.
    pub(crate) fn sessions(&self, kind: &str) -> Vec<&str> {
        let items = self.json[kind]["items"].as_array().unwrap();
        assert_eq!(self.json[kind]["count"], items.len());
        let mut sessions: Vec<_> = items.iter().map(|one| one["session"].as_str().unwrap()).collect();
        sessions.sort_unstable();
        sessions
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap()
    }

    /// No finding of any kind.
    pub(crate) fn finds_nothing(&self) {
        for kind in KINDS {
            assert_eq!(self.json[kind]["count"], 0, "{kind}: {}", self.json[kind]);
        }
    }
}

pub(crate) const KINDS: [&str; 10] = [
    "missing",
    "inFlight",
    "doubled",
    "wrong",
    "otherOwner",
    "refundedActive",
    "disputedActive",
    "unpaidActive",
    "refundedUnfulfilled",
    "unknownSession",
];

impl Fixture {
    /// With the example catalog, and no program that runs.
    pub(crate) async fn open() -> Self {
        let mut shop = Shop::prepare("").await;
        let stripe = Stripe::start();
        shop.set("STRIPE_API_BASE", &format!("http://{}", stripe.address));
        shop.set("SUREPASS_STRIPE_RATE", "100");
        let store = shop.store().await;
        Self { shop, stripe, store }
    }

    /// A session of ten classes, paid so many hours ago; unique by its name, which must be letters and digits.
    pub(crate) fn sold(name: &str, hours: i64) -> SampleSession {
        SampleSession::ten_classes(name, now() - TimeDelta::hours(hours))
    }

    /// At Stripe, and a minute after its payment in the store.
    pub(crate) async fn sell(&self, name: &str, hours: i64) -> SampleSession {
        let session = Self::sold(name, hours);
        self.stripe.add("", listed(&session));
        self.fulfil(&session, CreatedVia::Webhook, TimeDelta::minutes(1))
            .await;
        session
    }

    /// Makes the subscription of a session, so long after the session's creation.
    pub(crate) async fn fulfil(&self, session: &SampleSession, via: CreatedVia, after: TimeDelta) {
        let created_at = session.created + after;
        let mut purchase = purchase(session);
        purchase.created_via = via;
        let fulfiller = Fulfiller::new(Arc::clone(&self.store), Some(false), clock(created_at));
        let outcome = fulfiller.fulfil(&purchase).await.unwrap();
        assert!(matches!(outcome, Fulfilled::Created { .. }), "{outcome:?}");
    }

    /// Runs `surepass reconcile --json` with these arguments.
    pub(crate) async fn reconcile(&self, arguments: &[&str]) -> Ledger {
        let output = self
            .shop
            .surepass(&[&["reconcile", "--json"], arguments].concat())
            .await;
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap_or_default();
        let ledger = Ledger {
            status: output.status.code().unwrap(),
            json,
            stderr: stderr(&output),
        };
        if ledger.json["complete"] == true {
            let findings = |kind: &str| ledger.json[kind]["count"].as_u64().unwrap();
            let parts = ["missing", "inFlight", "refundedUnfulfilled", "closedUnfulfilled"].map(findings);
            let sum = ledger.count("fulfilled") + parts.iter().sum::<u64>();
            assert_eq!(ledger.count("paid"), sum, "{}", ledger.json);
            let ok = findings("missing") + findings("doubled") + findings("unmatched") == 0;
            assert_eq!(ledger.json["ok"], ok);
            assert_eq!(ledger.status, i32::from(!ok), "{}", ledger.stderr);
        }
        ledger
    }
}

/// The purchase that the session's webhook tells of.
pub(crate) fn purchase(session: &SampleSession) -> Purchase {
    let event = Event::parse(&session.event(COMPLETED, 1)).unwrap();
    match triage(&event, None, CreatedVia::Webhook) {
        Triage::Fulfil(purchase) => purchase,
        Triage::Ignore(why) => panic!("{why}"),
    }
}

/// The session as Stripe lists it, with the charge that was made as it was created.
pub(crate) fn listed(session: &SampleSession) -> Value {
    let event: Value = serde_json::from_slice(&session.event(COMPLETED, 1)).unwrap();
    let mut listed = event["data"]["object"].clone();
    if let Some(id) = listed["payment_intent"].as_str() {
        listed["payment_intent"] = json!({
            "id": id, "object": "payment_intent", "amount": session.amount, "amount_received": session.amount,
            "currency": "nok", "status": "succeeded", "created": listed["created"],
            "latest_charge": {"id": id.replace("pi_", "ch_"), "object": "charge", "amount": session.amount,
                "amount_refunded": 0, "currency": "nok", "status": "succeeded", "paid": true, "refunded": false,
                "disputed": false, "payment_intent": id, "created": listed["created"]}
        });
    }
    listed
}

/// Stands still.
fn clock(at: DateTime<Utc>) -> Clock {
    Clock::new(move || at)
}
