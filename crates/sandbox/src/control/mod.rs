//! `/_sandbox`: what Stripe does not have and tests need. JSON in and out.

mod purchases;

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpResponse, web};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::api::KeyRule;
use crate::checkout::Method;
use crate::delivery::new_secret;
use crate::faults::FaultOrder;
use crate::objects::{Buyer, Endpoint, Metadata};
use crate::sandbox::Sandbox;
use crate::world::{Cause, Scope};

/// How long a moved clock's answer waits at most until all that is due has happened: somebody else may move it back.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .app_data(
            web::JsonConfig::default()
                .limit(1 << 20)
                .error_handler(|error, _| {
                    let answer = HttpResponse::BadRequest().json(json!({"error": error.to_string()}));
                    actix_web::error::InternalError::from_response(error, answer).into()
                }),
        )
        .route("/clock", web::get().to(clock))
        .route("/clock", web::post().to(move_clock))
        .route("/faults", web::get().to(faults))
        .route("/faults", web::put().to(order_faults))
        .route("/faults", web::delete().to(end_faults))
        .route("/requests", web::get().to(requests))
        .route("/requests", web::delete().to(forget_requests))
        .route("/deliveries", web::get().to(deliveries))
        .route("/keys", web::put().to(keys))
        .route("/accounts", web::post().to(account))
        .route("/webhook_endpoints", web::post().to(endpoint))
        .route("/webhook_endpoints/{id}/roll", web::post().to(roll))
        .route("/purchases", web::post().to(purchases::make))
        .route("/sessions/{id}/pay", web::post().to(pay))
        .route("/sessions/{id}/settle", web::post().to(settle))
        .route("/charges/{id}/dispute", web::post().to(dispute))
        .route("/disputes/{id}/close", web::post().to(close_dispute))
        .route("/events/{id}/resend", web::post().to(resend));
}

/// An instant: Unix seconds, or RFC 3339.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub(crate) enum When {
    Seconds(i64),
    Text(DateTime<Utc>),
}

impl When {
    fn instant(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Seconds(seconds) => DateTime::from_timestamp(seconds, 0),
            Self::Text(instant) => Some(instant),
        }
    }
}

fn bad_request(message: impl Into<String>) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({"error": message.into()}))
}

fn not_found(id: &str) -> HttpResponse {
    HttpResponse::NotFound().json(json!({"error": format!("there is no {id}")}))
}

async fn clock(sandbox: Data<Sandbox>) -> HttpResponse {
    let now = sandbox.clock.now();
    HttpResponse::Ok()
        .json(json!({"now": now, "unix": now.timestamp(), "stopped": sandbox.clock.is_stopped()}))
}

/// `now` sets the time, `advance` (seconds) moves it on from there, `stopped` stops it or lets it run again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    now: Option<When>,
    advance: Option<i64>,
    stopped: Option<bool>,
}

async fn move_clock(ordered: web::Json<Move>, sandbox: Data<Sandbox>) -> HttpResponse {
    let from = match ordered.now {
        None => Some(sandbox.clock.now()),
        Some(when) => when.instant(),
    };
    let advance = TimeDelta::try_seconds(ordered.advance.unwrap_or(0));
    let to = from
        .zip(advance)
        .and_then(|(from, advance)| from.checked_add_signed(advance))
        // Objects' times are Unix seconds; beyond the year 9999 nobody can write them.
        .filter(|to| (0..253_402_300_800).contains(&to.timestamp()));
    let Some(to) = to else {
        return bad_request("the clock goes from 1970 to 9999");
    };
    let stopped = ordered.stopped.unwrap_or_else(|| sandbox.clock.is_stopped());
    sandbox.clock.set(to, stopped);
    sandbox.changed();
    // Who is answered finds done what the new time brings: a session expired, a transfer arrived.
    sandbox.until(PATIENCE, |world| !world.is_due(to)).await;
    clock(sandbox).await
}

async fn faults(sandbox: Data<Sandbox>) -> HttpResponse {
    HttpResponse::Ok().json(sandbox.world().faults.order())
}

async fn order_faults(order: web::Json<FaultOrder>, sandbox: Data<Sandbox>) -> HttpResponse {
    let mut world = sandbox.world();
    match world.faults.replace(order.into_inner()) {
        Ok(()) => HttpResponse::Ok().json(world.faults.order()),
        Err(error) => bad_request(error.to_string()),
    }
}

async fn end_faults(sandbox: Data<Sandbox>) -> HttpResponse {
    order_faults(web::Json(FaultOrder::default()), sandbox).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    #[serde(default)]
    path: String,
    limit: Option<usize>,
    /// Seconds to wait until no delivery is under way or scheduled.
    wait: Option<u64>,
}

async fn requests(show: web::Query<Show>, sandbox: Data<Sandbox>) -> HttpResponse {
    let world = sandbox.world();
    HttpResponse::Ok().json(world.requests.show(&show.path, show.limit.unwrap_or(1_000)))
}

async fn forget_requests(sandbox: Data<Sandbox>) -> HttpResponse {
    sandbox.world().requests.clear();
    HttpResponse::NoContent().finish()
}

async fn deliveries(show: web::Query<Show>, sandbox: Data<Sandbox>) -> HttpResponse {
    if let Some(wait) = show.wait {
        let patience = Duration::from_secs(wait.min(600));
        sandbox
            .until(patience, |world| world.deliveries_left() == 0)
            .await;
    }
    let world = sandbox.world();
    HttpResponse::Ok().json(world.show_deliveries(show.limit.unwrap_or(100)))
}

async fn keys(
    rules: web::Json<std::collections::HashMap<String, KeyRule>>,
    sandbox: Data<Sandbox>,
) -> HttpResponse {
    sandbox.world().keys = rules.into_inner();
    HttpResponse::NoContent().finish()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    id: String,
    email: Option<String>,
}

async fn account(new: web::Json<NewAccount>, sandbox: Data<Sandbox>) -> HttpResponse {
    let new = new.into_inner();
    if !new.id.starts_with("acct_") {
        return bad_request("an account's id begins with acct_");
    }
    let at = sandbox.clock.now().timestamp();
    HttpResponse::Ok().json(sandbox.world().connect(new.id, at, new.email).json())
}

/// An endpoint whose secret is known beforehand, which Stripe's own API does not offer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEndpoint {
    pub(crate) url: String,
    pub(crate) secret: Option<SecretString>,
    #[serde(default)]
    pub(crate) connect: bool,
    pub(crate) account: Option<String>,
    #[serde(default)]
    pub(crate) livemode: bool,
    pub(crate) enabled_events: Option<Vec<String>>,
    pub(crate) api_version: Option<String>,
}

impl NewEndpoint {
    pub(crate) fn add(self, sandbox: &Sandbox) -> std::sync::Arc<Endpoint> {
        let created = sandbox.clock.now().timestamp();
        let mut world = sandbox.world();
        let secret = self.secret.unwrap_or_else(|| new_secret(&mut world));
        let scope = Scope {
            account: self.account,
            livemode: self.livemode,
        };
        let endpoint = Endpoint {
            id: world.ids.long("we_1"),
            created,
            livemode: self.livemode,
            url: self.url,
            enabled_events: self.enabled_events.unwrap_or_else(|| vec!["*".to_owned()]),
            disabled: false,
            api_version: self.api_version,
            description: None,
            metadata: Metadata::new(),
            connect: self.connect,
            secret,
            rolled: None,
        };
        world.objects(&scope).endpoints.insert(endpoint)
    }
}

async fn endpoint(new: web::Json<NewEndpoint>, sandbox: Data<Sandbox>) -> HttpResponse {
    let endpoint = new.into_inner().add(&sandbox);
    let mut json = endpoint.json();
    json["secret"] = json!(endpoint.secret.expose_secret());
    HttpResponse::Ok().json(json)
}

/// Gives an endpoint a new secret; the old one signs, too, for 24 hours.
async fn roll(id: web::Path<String>, sandbox: Data<Sandbox>) -> HttpResponse {
    let until = (sandbox.clock.now() + TimeDelta::hours(24)).timestamp();
    let mut world = sandbox.world();
    let Some(scope) = world.home(|objects| objects.endpoints.get(&id).is_some()) else {
        return not_found(&id);
    };
    let secret = new_secret(&mut world);
    let shown = secret.expose_secret().to_owned();
    world.objects(&scope).endpoints.change(&id, |endpoint| {
        let old = std::mem::replace(&mut endpoint.secret, secret);
        endpoint.rolled = Some((old, until));
    });
    HttpResponse::Ok().json(json!({"id": *id, "secret": shown}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pay {
    #[serde(default)]
    transfer: bool,
    email: Option<String>,
    name: Option<String>,
}

/// Pays a session as its hosted page does, without waiting for the webhooks.
async fn pay(id: web::Path<String>, how: web::Json<Pay>, sandbox: Data<Sandbox>) -> HttpResponse {
    let how = how.into_inner();
    let Some((scope, session)) = sandbox.world().session_anywhere(&id) else {
        return not_found(&id);
    };
    let buyer = Buyer {
        email: how.email.or_else(|| session.email().cloned()),
        name: how.name,
    };
    let method = if how.transfer {
        Method::Transfer
    } else {
        Method::Card
    };
    let cause = Cause::now(sandbox.clock.now());
    let paid = sandbox.world().pay(&scope, &id, method, buyer, &cause);
    respond(&sandbox, &id, paid)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settle {
    arrives: bool,
}

/// Makes a bank transfer arrive, or fail, now.
async fn settle(id: web::Path<String>, how: web::Json<Settle>, sandbox: Data<Sandbox>) -> HttpResponse {
    let Some((scope, _)) = sandbox.world().session_anywhere(&id) else {
        return not_found(&id);
    };
    let cause = Cause::now(sandbox.clock.now());
    let settled = sandbox.world().settle(&scope, &id, how.arrives, &cause);
    respond(&sandbox, &id, settled)
}

fn respond(
    sandbox: &Sandbox,
    id: &str,
    done: Result<Vec<String>, crate::checkout::NotPayable>,
) -> HttpResponse {
    sandbox.changed();
    match done {
        Ok(events) => {
            let session = sandbox.world().session_anywhere(id);
            let session = session.map(|(_, session)| session.json());
            HttpResponse::Ok().json(json!({"session": session, "events": events}))
        }
        Err(error) => HttpResponse::Conflict().json(json!({"error": error.to_string()})),
    }
}

async fn dispute(id: web::Path<String>, sandbox: Data<Sandbox>) -> HttpResponse {
    let cause = Cause::now(sandbox.clock.now());
    let mut world = sandbox.world();
    let Some(scope) = world.home(|objects| objects.charges.get(&id).is_some()) else {
        return not_found(&id);
    };
    let charge = world.find(&scope, |objects| objects.charges.get(&id).cloned());
    let made = charge.map(|charge| world.dispute(&scope, &charge, &cause).json());
    drop(world);
    sandbox.changed();
    HttpResponse::Ok().json(made)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Close {
    won: bool,
}

async fn close_dispute(id: web::Path<String>, how: web::Json<Close>, sandbox: Data<Sandbox>) -> HttpResponse {
    let cause = Cause::now(sandbox.clock.now());
    let mut world = sandbox.world();
    let Some(scope) = world.home(|objects| objects.disputes.get(&id).is_some()) else {
        return not_found(&id);
    };
    let closed = world.close_dispute(&scope, &id, how.won, &cause);
    drop(world);
    sandbox.changed();
    HttpResponse::Ok().json(closed.map(|dispute| dispute.json()))
}

/// Sends an event again to every endpoint that wants it, as a person does in the Dashboard.
async fn resend(id: web::Path<String>, sandbox: Data<Sandbox>) -> HttpResponse {
    let cause = Cause::now(sandbox.clock.now());
    let sent = sandbox.world().resend(&id, &cause);
    sandbox.changed();
    match sent {
        Some(deliveries) => HttpResponse::Ok().json(json!({"deliveries": deliveries})),
        None => not_found(&id),
    }
}
