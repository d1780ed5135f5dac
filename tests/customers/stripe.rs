//! `surepass-sandbox` as a process: what customers do at Stripe.

use reqwest::Method;
use serde_json::{Value, json};

use support::program::{PATIENCE, Program, command};
use support::stripe_sandbox::SANDBOX;

pub(crate) struct Stripe {
    _program: Program,
    /// For `STRIPE_API_BASE`.
    pub(crate) url: String,
    http: reqwest::Client,
}

impl Stripe {
    pub(crate) async fn start() -> Self {
        let program = Program::start(command(
            &SANDBOX,
            &["--bind", "127.0.0.1:0", "--account", "acct_other"],
            &[],
        ));
        let line = program.says("listening on").await;
        Self {
            url: line.trim_start_matches("listening on ").to_owned(),
            http: surepass::http_client::http().timeout(PATIENCE).build().unwrap(),
            _program: program,
        }
    }

    /// A session of ten classes that this user has begun, which nobody but Stripe knows; `outcome` as in
    /// `crates/sandbox/src/control/purchases.rs`. Answers its id.
    pub(crate) async fn session(&self, user: &str, outcome: &str) -> String {
        self.session_with(json!({
            "outcome": outcome, "guests": true, "email": format!("{user}@example.com"), "webhooks": "none",
            "metadata": {"type": "pass_purchase", "passId": "pass-10", "userId": user, "tenantId": "tenant-1"}
        }))
        .await
    }

    pub(crate) async fn session_with(&self, order: Value) -> String {
        let made = self.control(Method::POST, "purchases", order).await;
        made["sessions"][0]["id"].as_str().unwrap().to_owned()
    }

    /// Pays an open session.
    pub(crate) async fn pay(&self, session: &str) {
        let path = format!("sessions/{session}/pay");
        self.control(Method::POST, &path, json!({})).await;
    }

    /// Pays all of a session's money back, as its shop does in the dashboard.
    pub(crate) async fn refund(&self, session: &str) {
        let call = async |method: Method, path: &str, form: &str| -> Value {
            let request = self.http.request(method, format!("{}/v1/{path}", self.url));
            let response = request
                .bearer_auth("sk_test_shop")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(form.to_owned())
                .send()
                .await
                .unwrap();
            let (status, text) = (response.status(), response.text().await.unwrap());
            assert!(status.is_success(), "{path}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        };
        let session = call(Method::GET, &format!("checkout/sessions/{session}"), "").await;
        let payment = session["payment_intent"].as_str().unwrap();
        call(Method::POST, "refunds", &format!("payment_intent={payment}")).await;
    }

    pub(crate) async fn faults(&self, order: Value) {
        self.control(Method::PUT, "faults", order).await;
    }

    /// How often a session was read, by whatever account.
    pub(crate) async fn reads(&self, session: &str) -> usize {
        let path = format!("requests?path=/v1/checkout/sessions/{session}");
        let log = self.control(Method::GET, &path, Value::Null).await;
        log["requests"].as_array().unwrap().len()
    }

    async fn control(&self, method: Method, path: &str, order: Value) -> Value {
        let url = format!("{}/_sandbox/{path}", self.url);
        let response = self.http.request(method, url).json(&order).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}
