//! The part of Stripe that a lookback reads, over HTTP: lists by account with filters and cursors, and faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};
use surepass::up::sample::SampleSession;

const SESSIONS: &str = "/v1/checkout/sessions";
const EVENTS: &str = "/v1/events";

type Query = Vec<(String, String)>;

/// A call that was made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) query: Query,
    pub(crate) account: Option<String>,
}

#[derive(Default)]
struct State {
    /// By account, the key's own being empty; in the order in which they were made.
    sessions: BTreeMap<String, Vec<Value>>,
    events: BTreeMap<String, Vec<Value>>,
    calls: Vec<Call>,
    lists: usize,
    /// The status of the list of sessions of this number, from 1 on.
    faults: BTreeMap<usize, u16>,
    /// Lists of sessions that go on from an earlier page fail where they ask for more than so many.
    largest_later_page: Option<usize>,
    /// Lists of sessions go round in circles after so many sessions.
    circle: Option<usize>,
    /// Sessions that only a list of one customer, or of one email, holds.
    unlisted: BTreeSet<String>,
    /// So many of the next calls for a single session fail.
    refused: usize,
    /// From this list of sessions on, none is answered.
    held: Option<usize>,
    /// How long each list of sessions or events takes.
    delay: Duration,
    /// Accounts that the key may not read.
    closed: BTreeSet<String>,
}

/// A server that answers as Stripe does. It ends with the test's runtime.
pub(crate) struct Stripe {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Stripe {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = web::Data::from(Arc::clone(&state));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route(SESSIONS, web::get().to(sessions))
                .route("/v1/checkout/sessions/{id}", web::get().to(session))
                .route("/v1/checkout/sessions/{id}/line_items", web::get().to(line_items))
                .route(EVENTS, web::get().to(events))
        });
        let server = server.workers(1).disable_signals().listen(listener).unwrap();
        tokio::spawn(server.run());
        Self { address, state }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes money for a session; nobody is told.
    pub(crate) fn sell(&self, session: &SampleSession) {
        self.add(session.account.as_deref(), object(session));
    }

    pub(crate) fn add(&self, account: Option<&str>, session: Value) {
        let account = account.unwrap_or_default().to_owned();
        self.state().sessions.entry(account).or_default().push(session);
    }

    /// Makes an event that no endpoint has taken.
    pub(crate) fn fail_to_deliver(&self, event: &[u8]) {
        let event: Value = serde_json::from_slice(event).unwrap();
        let account = event["account"].as_str().unwrap_or_default().to_owned();
        self.state().events.entry(account).or_default().push(event);
    }

    /// Answers the list of sessions of this number with this status.
    pub(crate) fn fail(&self, list: usize, status: u16) {
        self.state().faults.insert(list, status);
    }

    /// Fails lists of sessions that go on from an earlier page and ask for more than `largest`; `Some(0)`: all of them.
    pub(crate) fn fail_later_pages(&self, largest: Option<usize>) {
        self.state().largest_later_page = largest;
    }

    /// Lets lists of sessions begin again after so many sessions, for ever.
    pub(crate) fn go_round(&self, after: Option<usize>) {
        self.state().circle = after;
    }

    /// Leaves a session out of the list of all.
    pub(crate) fn unlist(&self, session: &str) {
        self.state().unlisted.insert(session.to_owned());
    }

    /// Answers no list of sessions from this number on.
    pub(crate) fn hold(&self, list: Option<usize>) {
        self.state().held = list;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    pub(crate) fn close(&self, account: &str) {
        self.state().closed.insert(account.to_owned());
    }

    pub(crate) fn open(&self, account: &str) {
        self.state().closed.remove(account);
    }

    /// The next calls for a single session fail, so many.
    pub(crate) fn refuse_sessions(&self, calls: usize) {
        self.state().refused = calls;
    }

    /// Gives all the money of a session of the key's own account back.
    pub(crate) fn refund(&self, id: &str) {
        self.refund_part(id, None);
    }

    /// Gives so much of it back; `None`: all.
    pub(crate) fn refund_part(&self, id: &str, part: Option<i64>) {
        let mut state = self.state();
        let mut sessions = state.sessions.get_mut("").unwrap().iter_mut();
        let session = sessions.find(|one| one["id"] == id).unwrap();
        let (payment, amount) = (session["payment_intent"].clone(), session["amount_total"].clone());
        let refunded = part.map_or_else(|| amount.clone(), Value::from);
        session["payment_intent"] = json!({"id": payment, "object": "payment_intent", "amount": amount, "status": "succeeded",
            "latest_charge": {"id": "ch_1", "object": "charge", "amount": amount, "amount_refunded": refunded}});
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// How many lists of sessions were asked for.
    pub(crate) fn lists(&self) -> usize {
        self.state().lists
    }
}

/// A session as the API tells it.
pub(crate) fn object(session: &SampleSession) -> Value {
    let event: Value = serde_json::from_slice(&session.event("checkout.session.completed", 1)).unwrap();
    event["data"]["object"].clone()
}

fn account(request: &HttpRequest) -> String {
    let header = request.headers().get("Stripe-Account");
    header.map_or_else(String::new, |account| account.to_str().unwrap().to_owned())
}

fn note(state: &mut State, request: &HttpRequest, query: Query) {
    let account = account(request);
    state.calls.push(Call {
        query,
        account: Some(account).filter(|account| !account.is_empty()),
    });
}

async fn sessions(
    state: web::Data<Mutex<State>>,
    query: web::Query<Query>,
    request: HttpRequest,
) -> HttpResponse {
    let (number, fault, delay) = {
        let mut state = state.lock().unwrap();
        note(&mut state, &request, query.0.clone());
        state.lists += 1;
        let number = state.lists;
        (number, state.faults.remove(&number), state.delay)
    };
    actix_web::rt::time::sleep(delay).await;
    if let Some(status) = fault {
        return error(status, "api_error");
    }
    while state.lock().unwrap().held.is_some_and(|held| number >= held) {
        actix_web::rt::time::sleep(Duration::from_millis(10)).await;
    }
    let state = state.lock().unwrap();
    let account = account(&request);
    if state.closed.contains(&account) {
        return error(403, "account_invalid");
    }
    let limit: usize = asked(&query, "limit").map_or(10, |limit| limit.parse().unwrap());
    if asked(&query, "starting_after").is_some()
        && state.largest_later_page.is_some_and(|largest| limit > largest)
    {
        return error(500, "api_error");
    }
    let all = state.sessions.get(&account).map_or(&[][..], Vec::as_slice);
    let of_all = asked(&query, "customer")
        .or(asked(&query, "customer_details[email]"))
        .is_none();
    let is_listed = |one: &Value| !of_all || !state.unlisted.contains(one["id"].as_str().unwrap());
    let all: Vec<Value> = all.iter().filter(|one| is_listed(one)).cloned().collect();
    let customer = query.iter().find(|(name, _)| name == "customer");
    if customer.is_some_and(|(_, id)| all.iter().all(|one| one["customer"] != id.as_str())) {
        return HttpResponse::BadRequest().json(json!({"error": {"type": "invalid_request_error",
            "code": "resource_missing", "param": "customer", "message": "No such customer"}}));
    }
    let expands = query.iter().any(|(_, value)| value == "data.line_items");
    list(&all, &query, state.circle, |session| {
        if !expands {
            session.as_object_mut().unwrap().remove("line_items");
        }
    })
}

async fn session(
    state: web::Data<Mutex<State>>,
    query: web::Query<Query>,
    id: web::Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let mut state = state.lock().unwrap();
    note(&mut state, &request, query.0.clone());
    if state.refused > 0 {
        state.refused -= 1;
        return error(500, "api_error");
    }
    let found = state
        .sessions
        .get(&account(&request))
        .and_then(|all| all.iter().find(|one| one["id"] == id.as_str()));
    match found {
        Some(found) => HttpResponse::Ok().json(found),
        None => error(404, "resource_missing"),
    }
}

/// The session's `all_line_items`, of which `line_items` holds the first.
async fn line_items(
    state: web::Data<Mutex<State>>,
    query: web::Query<Query>,
    id: web::Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let mut state = state.lock().unwrap();
    note(&mut state, &request, query.0.clone());
    let all = &state.sessions[&account(&request)];
    let session = all.iter().find(|one| one["id"] == id.as_str()).unwrap();
    HttpResponse::Ok().json(json!({
        "object": "list", "url": "/v1", "has_more": false, "data": session["all_line_items"]
    }))
}

async fn events(
    state: web::Data<Mutex<State>>,
    query: web::Query<Query>,
    request: HttpRequest,
) -> HttpResponse {
    let delay = state.lock().unwrap().delay;
    actix_web::rt::time::sleep(delay).await;
    let mut state = state.lock().unwrap();
    note(&mut state, &request, query.0.clone());
    let mut own = state.events.get(&account(&request)).cloned().unwrap_or_default();
    // As in Stripe's own list, whoever asks for an account knows whose they are.
    for event in &mut own {
        event.as_object_mut().unwrap().remove("account");
    }
    list(&own, &query, None, |_| {})
}

fn asked<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let value = query.iter().find(|(known, _)| known == name);
    value.map(|(_, value)| value.as_str())
}

/// One page of what was made, the newest first.
fn list(all: &[Value], query: &Query, circle: Option<usize>, trim: impl Fn(&mut Value)) -> HttpResponse {
    let asked = |name: &str| asked(query, name);
    let bound = |name: &str| asked(name).map(|value| value.parse::<i64>().unwrap());
    let created = |one: &Value| one["created"].as_i64().unwrap();
    let mut newest: Vec<&Value> = all
        .iter()
        .filter(|one| bound("created[gte]").is_none_or(|from| created(one) >= from))
        .filter(|one| bound("created[lt]").is_none_or(|to| created(one) < to))
        .filter(|one| asked("customer").is_none_or(|customer| one["customer"] == customer))
        .filter(|one| {
            let email = asked("customer_details[email]");
            email.is_none_or(|email| one["customer_details"]["email"] == email)
        })
        .collect();
    newest.sort_by_key(|one| (-created(one), one["id"].as_str().unwrap().to_owned()));
    let begin = asked("starting_after").map_or(0, |after| {
        newest.iter().position(|one| one["id"] == after).unwrap() + 1
    });
    let limit = bound("limit").map_or(10, |limit| usize::try_from(limit).unwrap());
    let begin = circle.map_or(begin, |circle| begin % circle);
    let end = (begin + limit)
        .min(newest.len())
        .min(circle.unwrap_or(usize::MAX));
    let mut data: Vec<Value> = newest[begin..end].iter().map(|one| (*one).clone()).collect();
    data.iter_mut().for_each(trim);
    HttpResponse::Ok().json(json!({
        "object": "list", "url": "/v1", "has_more": end < newest.len() || circle.is_some(), "data": data
    }))
}

fn error(status: u16, code: &str) -> HttpResponse {
    HttpResponse::build(status.try_into().unwrap())
        .insert_header(("Request-Id", "req_1"))
        .json(json!({"error": {"type": "invalid_request_error", "code": code, "message": "no"}}))
}
