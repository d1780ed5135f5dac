//! Kari, who buys and then asks for what is hers, in a world that Stripe tells nothing.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use surepass::lookback::{AccountSyncRequest, Customer, Report, RunId, SyncRequest};
use surepass::store::{CreatedVia, RunPhase, Watermark};

use crate::end_to_end::world::World;
use support::shop::now;

pub(crate) const KARI: &str = "kari@example.com";
pub(crate) const ACCOUNT: &str = "acct_dance";

pub(crate) fn long_ago() -> DateTime<Utc> {
    now() - TimeDelta::hours(2)
}

/// An order of one session by Kari at `dance`, two hours ago, of which no webhook tells.
pub(crate) fn by_kari(changes: Value) -> Value {
    let mut order = json!({
        "account": ACCOUNT, "email": KARI, "name": "Kari Nordmann", "guests": true, "webhooks": "lose",
        "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": "kari", "tenantId": "tenant-dance"},
        "created_from": long_ago(), "created_to": long_ago(),
    });
    let Value::Object(changes) = changes else {
        panic!("no object")
    };
    for (name, value) in changes {
        order[&name] = value;
    }
    order
}

pub(crate) fn nobodys() -> Value {
    json!({"type": "pass_purchase", "passId": "pass-10", "tenantId": "tenant-dance"})
}

impl World {
    /// With a worker, and a Stripe none of whose webhooks arrive.
    pub(crate) async fn unheard(settings: &str) -> Self {
        let world = Self::open_with(1, settings).await;
        world.break_api(json!({})).await;
        world
    }

    pub(crate) async fn break_api(&self, faults: Value) {
        let order = json!({"deliveries": {"lose": 100}, "api": faults});
        self.stripe.faults(order).await;
    }

    /// Makes one session, and answers its id.
    pub(crate) async fn order(&self, changes: Value) -> String {
        let made = self.stripe.purchases(by_kari(changes)).await;
        made[0]["id"].as_str().unwrap().to_owned()
    }

    /// A session's hosted page, or its bank, does something.
    pub(crate) async fn act(&self, session: &str, what: &str, how: Value) {
        let path = format!("sessions/{session}/{what}");
        self.stripe.control(Method::POST, &path, how).await;
    }

    /// A sweep over the dancers' account, up to now, and its report.
    pub(crate) async fn sweep(&self) -> Report {
        let run = self.begin_sweep(Some(ACCOUNT), now()).await;
        let report = self.ended(&run).await;
        assert_eq!(report.phase, RunPhase::Done, "{report:?}");
        report
    }

    /// A sweep of the recent past, as there is one every ten minutes.
    pub(crate) async fn begin_sweep_from(&self, from: DateTime<Utc>) -> RunId {
        let request = AccountSyncRequest::new("recent", Some(ACCOUNT), from, now() + TimeDelta::seconds(1));
        self.begin(&request).await
    }

    pub(crate) async fn mark(&self) -> Option<Watermark> {
        let marks = self.shop.store().await.lookback().watermarks().await.unwrap();
        let own = |mark: &Watermark| mark.account.as_deref() == Some(ACCOUNT) && mark.detector == "sessions";
        marks.into_iter().find(own)
    }

    /// Calls of Stripe's API since they were forgotten.
    pub(crate) async fn calls(&self) -> u64 {
        let shown = self
            .stripe
            .control(Method::GET, "requests?limit=0", Value::Null)
            .await;
        shown["total"].as_u64().unwrap()
    }

    /// Kari asks at a tenant; what it came to, and the calls that it cost.
    pub(crate) async fn visit(&self, tenant: &str, verified_email: Option<&str>) -> (Report, u64) {
        self.ask(tenant, verified_email, CreatedVia::SelfService).await
    }

    pub(crate) async fn ask(
        &self,
        tenant: &str,
        verified_email: Option<&str>,
        via: CreatedVia,
    ) -> (Report, u64) {
        self.forget_calls().await;
        let request = SyncRequest {
            tenant: Some(tenant.to_owned()),
            customer: Customer::User {
                id: "kari".to_owned(),
                verified_email: verified_email.map(str::to_owned),
            },
            days: 30,
            via,
            run: None,
        };
        let lookback = self.lookback().await;
        let asked = lookback
            .request_sync(&request, ulid::Ulid::generate())
            .await
            .unwrap();
        let report = self.ended(&asked.run).await;
        (report, self.calls().await)
    }
}
