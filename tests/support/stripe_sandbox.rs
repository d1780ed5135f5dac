//! `surepass-sandbox` as a process, and what is asked of it beyond Stripe's own calls.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::program::{PATIENCE, Program, command};
use crate::shop::WEBHOOK_SECRET;

const SANDBOX: &str = env!("CARGO_BIN_EXE_surepass-sandbox");

pub(crate) struct StripeSandbox {
    /// Lives as long as this.
    _program: Program,
    pub(crate) base: String,
    client: reqwest::Client,
}

impl StripeSandbox {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let arguments = [&["--bind", "127.0.0.1:0"], arguments].concat();
        let program = Program::start(command(SANDBOX, &arguments, &[]));
        let line = program.says("listening on ").await;
        Self {
            base: line.rsplit(' ').next().unwrap().to_owned(),
            _program: program,
            client: surepass::outbound::http().timeout(PATIENCE).build().unwrap(),
        }
    }

    /// Sends connected accounts' events of purchases to a server of ours.
    pub(crate) async fn connect_webhook(&self, server: std::net::SocketAddr) {
        self.post(
            "webhook_endpoints",
            json!({"url": format!("http://{server}/webhooks/stripe"), "secret": WEBHOOK_SECRET, "connect": true,
                "enabled_events": ["checkout.session.completed", "checkout.session.async_payment_succeeded"]}),
        )
        .await;
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        self.call(self.client.post(self.url(path)).json(&body)).await
    }

    /// Orders these faults in place of all others.
    pub(crate) async fn order_faults(&self, faults: Value) {
        self.call(self.client.put(self.url("faults")).json(&faults)).await;
    }

    pub(crate) async fn end_faults(&self) {
        self.call(self.client.delete(self.url("faults"))).await;
    }

    /// How many calls to this path (`/v1/checkout/sessions`) there have been since [`Self::forget_calls`].
    pub(crate) async fn calls(&self, path: &str) -> u64 {
        let shown = self.call(self.client.get(self.url("requests?limit=0"))).await;
        let by_status = shown["counts"][format!("GET {path}")].as_object();
        let counts = by_status.into_iter().flat_map(serde_json::Map::values);
        counts.map(|count| count.as_u64().unwrap()).sum()
    }

    /// How the calls were answered since then, by status; `none`: not at all.
    pub(crate) async fn answers(&self) -> BTreeMap<String, u64> {
        let shown = self.call(self.client.get(self.url("requests?limit=0"))).await;
        let mut answers = BTreeMap::new();
        for counts in shown["counts"].as_object().unwrap().values() {
            for (status, count) in counts.as_object().unwrap() {
                *answers.entry(status.clone()).or_default() += count.as_u64().unwrap();
            }
        }
        answers
    }

    pub(crate) async fn forget_calls(&self) {
        let request = self.client.delete(self.url("requests"));
        assert!(request.send().await.unwrap().status().is_success());
    }

    /// Waits until no webhook is under way or is to be sent again; the events that were answered with 200.
    pub(crate) async fn delivered(&self) -> BTreeSet<String> {
        let shown = self
            .call(self.client.get(self.url("deliveries?wait=55&limit=1000000")))
            .await;
        assert_eq!((&shown["scheduled"], &shown["under_way"]), (&json!(0), &json!(0)));
        let tries = shown["tries"].as_array().unwrap().iter();
        tries
            .filter(|one| one["status"] == 200)
            .map(|one| one["event"].as_str().unwrap().to_owned())
            .collect()
    }

    fn url(&self, path: &str) -> String {
        format!("{}/_sandbox/{path}", self.base)
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let body = answer.text().await.unwrap();
        assert!(status.is_success(), "{status}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}
