//! A Stripe that answers as the test says, and remembers what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use actix_web::http::header::DATE;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::TimeDelta;
use serde_json::{Value, json};
use surepass::clock::Clock;

/// What it says.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By account; the key's own is "".
    pub(crate) endpoints: HashMap<String, Vec<Value>>,
    /// Resources that the key may not read, as the first part of their path.
    pub(crate) forbidden: Vec<&'static str>,
    /// Accounts that the key has no access to.
    pub(crate) foreign: Vec<&'static str>,
    pub(crate) refuses_key: bool,
    /// How far its clock is ahead of ours.
    pub(crate) ahead: TimeDelta,
    /// The events that no endpoint has taken.
    pub(crate) undelivered: Vec<Value>,
    /// Method and path of each request.
    pub(crate) asked: Vec<String>,
}

/// It runs until the test ends.
pub(crate) struct Stripe {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Stripe {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::from(shared.clone()))
                .default_service(web::to(answer))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let address = server.addrs()[0];
        tokio::spawn(server.run());
        Self { address, state }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The endpoints of the key's own account.
    pub(crate) fn has(&self, endpoints: Vec<Value>) {
        self.state().endpoints.insert(String::new(), endpoints);
    }

    /// How often this was asked for.
    pub(crate) fn times(&self, request: &str) -> usize {
        let state = self.state();
        state.asked.iter().filter(|asked| *asked == request).count()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// An endpoint in good order.
pub(crate) fn endpoint(url: &str) -> Value {
    json!({
        "id": "we_1",
        "object": "webhook_endpoint",
        "api_version": "2025-03-31.basil",
        "application": null,
        "enabled_events": ["*"],
        "livemode": false,
        "status": "enabled",
        "url": url,
    })
}

async fn answer(request: HttpRequest, state: web::Data<Mutex<State>>) -> HttpResponse {
    let mut state = state.lock().unwrap();
    let path = request.path();
    state.asked.push(format!("{} {path}", request.method()));
    let header = |name| {
        let value = request.headers().get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let refused = |status: u16, kind: &str, code: Option<&str>| {
        let mut error = json!({ "type": kind, "message": "rk_test_HemmeligKey may not" });
        if let Some(code) = code {
            error["code"] = code.into();
        }
        (status, json!({ "error": error }))
    };
    let account = header("Stripe-Account").to_owned();
    let resource = path.strip_prefix("/v1/").unwrap_or_default();
    let (status, body) = if state.refuses_key || header("Authorization").is_empty() {
        refused(401, "invalid_request_error", None)
    } else if state.foreign.contains(&account.as_str()) {
        refused(403, "invalid_request_error", Some("account_invalid"))
    } else if state
        .forbidden
        .iter()
        .any(|forbidden| resource.starts_with(forbidden))
    {
        refused(403, "invalid_request_error", None)
    } else {
        let failed = request.query_string().contains("delivery_success=false");
        let items = match resource {
            "webhook_endpoints" => state.endpoints.get(&account).cloned().unwrap_or_default(),
            "events" if failed => state.undelivered.clone(),
            _ => Vec::new(),
        };
        let is_list = matches!(
            resource,
            "checkout/sessions" | "events" | "customers" | "refunds" | "webhook_endpoints"
        );
        if is_list {
            (200, json!({ "object": "list", "has_more": false, "data": items }))
        } else {
            refused(404, "invalid_request_error", Some("resource_missing"))
        }
    };
    let date = (Clock::system().now() + state.ahead).format("%a, %d %b %Y %H:%M:%S GMT");
    HttpResponse::build(status.try_into().unwrap())
        .insert_header((DATE, date.to_string()))
        .json(body)
}
