//! Lists of Checkout Sessions as Stripe's API gives them: newest first, by cursor, expanded where asked. What the sandbox
//! would never do is possible here: two sessions of one payment, a key without rights, an account that fails half-way.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use actix_web::web::Data;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

/// Sessions by when they were created and their place, so that none of the same second is lost.
type List = BTreeMap<(i64, usize), Value>;

#[derive(Default)]
struct World {
    /// By account; the key's own is "".
    lists: HashMap<String, List>,
    /// Where each session is in its list, for cursors.
    places: HashMap<String, (i64, usize)>,
    /// The account, from which page on, and the status that it then answers with.
    failing: Option<(String, usize, u16)>,
    may_read_payments: bool,
    /// Paths and queries that were asked for.
    asked: Vec<String>,
    pages: HashMap<String, usize>,
}

#[derive(Clone)]
pub(crate) struct Stripe {
    pub(crate) address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl Stripe {
    pub(crate) fn start() -> Self {
        let world = Arc::new(Mutex::new(World {
            may_read_payments: true,
            ..World::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::clone(&world);
        let server = HttpServer::new(move || {
            App::new()
                .app_data(Data::new(Arc::clone(&shared)))
                .route("/v1/checkout/sessions", web::get().to(list))
                .route("/v1/checkout/sessions/{id}", web::get().to(one))
                .route("/v1/checkout/sessions/{id}/line_items", web::get().to(line_items))
        });
        tokio::spawn(
            server
                .workers(1)
                .disable_signals()
                .listen(listener)
                .unwrap()
                .run(),
        );
        Self { address, world }
    }

    /// Puts a session into an account's list ("": the key's own).
    pub(crate) fn add(&self, account: &str, session: Value) {
        let mut world = self.world.lock().unwrap();
        let list = world.lists.entry(account.to_owned()).or_default();
        let place = (session["created"].as_i64().unwrap(), list.len());
        let id = session["id"].as_str().unwrap().to_owned();
        list.insert(place, session);
        world.places.insert(id, place);
    }

    /// From its nth page on (0: the first) the account answers with this status.
    pub(crate) fn fail(&self, account: &str, page: usize, status: u16) {
        self.world.lock().unwrap().failing = Some((account.to_owned(), page, status));
    }

    pub(crate) fn mend(&self) {
        let mut world = self.world.lock().unwrap();
        world.failing = None;
        world.pages.clear();
    }

    /// The key may no longer read payment intents and charges.
    pub(crate) fn forbid_payments(&self) {
        self.world.lock().unwrap().may_read_payments = false;
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> usize {
        self.world.lock().unwrap().asked.len()
    }
}

fn account(request: &HttpRequest) -> String {
    let header = request.headers().get("Stripe-Account");
    header.map_or_else(String::new, |name| name.to_str().unwrap().to_owned())
}

fn refused(status: u16, code: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap();
    HttpResponse::build(status).json(json!({"error": {"type": "invalid_request_error", "code": code}}))
}

async fn list(request: HttpRequest, world: Data<Arc<Mutex<World>>>) -> HttpResponse {
    let mut world = world.lock().unwrap();
    world.asked.push(request.uri().to_string());
    let query: Vec<(String, String)> = url::form_urlencoded::parse(request.query_string().as_bytes())
        .into_owned()
        .collect();
    let of = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let expands = |what: &str| {
        query
            .iter()
            .any(|(key, value)| key == "expand[]" && value == what)
    };
    if expands("data.payment_intent.latest_charge") && !world.may_read_payments {
        return refused(403, "more_permissions_required");
    }
    let account = account(&request);
    let page = world.pages.entry(account.clone()).or_default();
    *page += 1;
    if let Some((_, _, status)) = world
        .failing
        .as_ref()
        .filter(|(failing, from, _)| *failing == account && world.pages[&account] > *from)
    {
        return refused(*status, "api_key_expired");
    }
    let number = |name: &str, default: i64| of(name).map_or(default, |text| text.parse().unwrap());
    let (from, before) = (number("created[gte]", 0), number("created[lt]", i64::MAX));
    let limit = usize::try_from(number("limit", 10)).unwrap();
    let nothing = List::new();
    let sessions = world.lists.get(&account).unwrap_or(&nothing);
    let cursor = of("starting_after").map(|id| world.places[id]);
    let end = cursor.unwrap_or((before, 0));
    let mut rest = sessions.range((from, 0)..end).rev();
    let data: Vec<Value> = rest
        .by_ref()
        .take(limit)
        .map(|(_, session)| {
            shown(
                session,
                expands("data.line_items"),
                expands("data.payment_intent.latest_charge"),
            )
        })
        .collect();
    HttpResponse::Ok().json(json!({"object": "list", "data": data, "has_more": rest.next().is_some()}))
}

/// A list carries ten line items; a payment intent is an id unless it is expanded.
fn shown(session: &Value, line_items: bool, payment: bool) -> Value {
    let mut session = session.clone();
    let items = session["line_items"].take();
    if let (true, Some(items)) = (line_items, items.as_array()) {
        session["line_items"] = json!({"object": "list", "data": items[..items.len().min(10)],
            "has_more": items.len() > 10});
    }
    if !payment && session["payment_intent"].is_object() {
        session["payment_intent"] = session["payment_intent"]["id"].clone();
    }
    session
}

async fn one(request: HttpRequest, id: web::Path<String>, world: Data<Arc<Mutex<World>>>) -> HttpResponse {
    let mut world = world.lock().unwrap();
    world.asked.push(request.uri().to_string());
    let list = world.lists.get(&account(&request));
    let mut sessions = list.into_iter().flat_map(BTreeMap::values);
    sessions.find(|session| session["id"] == *id).map_or_else(
        || refused(404, "resource_missing"),
        |session| HttpResponse::Ok().json(shown(session, true, false)),
    )
}

async fn line_items(
    request: HttpRequest,
    id: web::Path<String>,
    world: Data<Arc<Mutex<World>>>,
) -> HttpResponse {
    let mut world = world.lock().unwrap();
    world.asked.push(request.uri().to_string());
    let list = world.lists.get(&account(&request));
    let mut sessions = list.into_iter().flat_map(BTreeMap::values);
    let session = sessions.find(|session| session["id"] == *id).unwrap();
    HttpResponse::Ok().json(json!({"object": "list", "data": session["line_items"], "has_more": false}))
}
