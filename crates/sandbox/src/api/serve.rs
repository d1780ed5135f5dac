//! From an HTTP request to an answer: key, account, faults, idempotency; and the faults that spoil an answer.

use std::io;
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody, SizedStream};
use actix_web::http::StatusCode;
use actix_web::http::header::{DATE, HeaderMap, RETRY_AFTER};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};

use chrono::{DateTime, Utc};
use futures::stream;
use serde_json::Value;

use super::call::Call;
use super::error::ApiError;
use super::expand::expand;
use super::key::Key;
use super::params::Params;
use super::routes::route;
use crate::delivery::API_VERSION;
use crate::faults::{ApiFault, CallFault};
use crate::request_log::LoggedCall;
use crate::sandbox::Sandbox;
use crate::world::{Cause, Scope, World};

/// An answer on its way out.
struct Answered {
    status: u16,
    body: Value,
    replayed: bool,
}

/// Every call below `/v1`.
pub(crate) async fn serve(request: HttpRequest, body: Bytes, sandbox: web::Data<Sandbox>) -> HttpResponse {
    let now = sandbox.clock.now();
    let (answered, fault, id) = {
        let mut world = sandbox.world();
        let id = world.ids.next("req_", 14);
        let fault = world.faults.of_call(request.path(), Instant::now());
        let answered = match fault.map(|fault| fault.fault) {
            Some(ApiFault::RateLimited) => refused(429, "rate_limit", "Request rate limit exceeded."),
            Some(ApiFault::Error) => refused(500, "", "An unexpected error occurred."),
            _ => answer(&mut world, &request, &body, &id, now),
        };
        let hangs = fault.is_some_and(|fault| fault.fault == ApiFault::Hang);
        world.requests.add(LoggedCall {
            id: id.clone(),
            at: now,
            method: request.method().to_string(),
            path: request.path().to_owned(),
            query: request.query_string().to_owned(),
            account: header(request.headers(), "stripe-account").map(str::to_owned),
            status: (!hangs).then_some(answered.status),
            fault: fault.map(|fault| fault.fault),
        });
        (answered, fault, id)
    };
    sandbox.changed();

    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    let version = header(request.headers(), "stripe-version").unwrap_or(API_VERSION);
    response
        .insert_header((DATE, now.format("%a, %d %b %Y %H:%M:%S GMT").to_string()))
        .insert_header(("Request-Id", id))
        .insert_header(("Stripe-Version", version))
        .content_type("application/json");
    for name in ["stripe-account", "idempotency-key"] {
        if let Some(value) = header(request.headers(), name) {
            response.insert_header((name, value));
        }
    }
    if answered.replayed {
        response.insert_header(("Idempotent-Replayed", "true"));
    }
    if let Some(CallFault {
        fault: ApiFault::RateLimited,
        retry_after,
        ..
    }) = fault
    {
        response
            .insert_header((RETRY_AFTER, retry_after.to_string()))
            .insert_header(("Stripe-Rate-Limited-Reason", "global-rate"));
    }
    let text = Bytes::from(serde_json::to_vec_pretty(&answered.body).unwrap_or_default());
    match fault.map(|fault| (fault.fault, fault.lasts)) {
        Some((ApiFault::Hang, lasts)) => {
            tokio::time::sleep(lasts).await;
            response.body(cut(&text, 0))
        }
        Some((ApiFault::Truncate, _)) => {
            let half = text.len() / 2;
            response.body(cut(&text, half))
        }
        Some((ApiFault::Drip, lasts)) => response.body(drip(text, lasts)),
        _ => response.body(text),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

fn refused(status: u16, code: &'static str, message: &str) -> Answered {
    let kind = if status == 429 {
        "invalid_request_error"
    } else {
        "api_error"
    };
    let error = ApiError::new(status, kind, message);
    let error = if code.is_empty() { error } else { error.code(code) };
    Answered {
        status,
        body: error.json(),
        replayed: false,
    }
}

fn answer(world: &mut World, request: &HttpRequest, body: &[u8], id: &str, now: DateTime<Utc>) -> Answered {
    let done = scope_of(world, request).and_then(|scope| {
        let is_read = request.method().is_safe();
        let idempotency_key = header(request.headers(), "idempotency-key")
            .filter(|_| !is_read)
            .map(str::to_owned);
        let body = std::str::from_utf8(body).map_err(|_| ApiError::invalid("Invalid UTF-8 in the body."))?;
        let said = format!(
            "{} {}?{}&{body}",
            request.method(),
            request.path(),
            request.query_string()
        );
        if let Some(key) = &idempotency_key
            && let Some((status, body)) = world.replays.answer(&scope, key, &said)?
        {
            return Ok(Answered {
                status,
                body,
                replayed: true,
            });
        }
        let cause = Cause {
            request: (Some(id.to_owned()), idempotency_key.clone()),
            ..Cause::now(now)
        };
        let encoded = if is_read { request.query_string() } else { body };
        let (status, body) = match run(world, request, encoded, &scope, cause) {
            Ok(body) => (200, body),
            Err(error) => (error.status, error.json()),
        };
        // What is refused has not begun, so another try is a new one.
        if let Some(key) = idempotency_key.filter(|_| status == 200) {
            world.replays.keep(&scope, key, said, status, body.clone());
        }
        Ok(Answered {
            status,
            body,
            replayed: false,
        })
    });
    done.unwrap_or_else(|error| Answered {
        status: error.status,
        body: error.json(),
        replayed: false,
    })
}

/// Whose objects the call is about, if its key may make it.
fn scope_of(world: &World, request: &HttpRequest) -> Result<Scope, ApiError> {
    let headers = request.headers();
    let key = Key::read(header(headers, "authorization"))?;
    let rule = world.keys.get(&key.text);
    key.may(request.method().is_safe(), request.path(), rule)?;
    if let Some(version) = header(headers, "stripe-version")
        && !is_version(version)
    {
        return Err(ApiError::invalid(format!(
            "Invalid Stripe API version: {version}"
        )));
    }
    let account = header(headers, "stripe-account").filter(|account| *account != world.platform.id);
    if let Some(account) = account
        && !world.accounts.contains_key(account)
    {
        let message = format!(
            "The provided key '{key:?}' does not have access to account '{account}' (or that account does not exist). \
             Application access may have been revoked."
        );
        return Err(ApiError::new(403, "invalid_request_error", message).code("account_invalid"));
    }
    Ok(Scope {
        account: account.map(str::to_owned),
        livemode: key.livemode,
    })
}

/// `2025-03-31.basil`, or an older one that is only a date.
fn is_version(text: &str) -> bool {
    let (date, name) = text.split_once('.').unwrap_or((text, "x"));
    chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").is_ok()
        && !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '_')
}

fn run(
    world: &mut World,
    request: &HttpRequest,
    encoded: &str,
    scope: &Scope,
    cause: Cause,
) -> Result<Value, ApiError> {
    let mut params = Params::parse(encoded)?;
    let expansions = params.texts("expand")?;
    let mut call = Call {
        world: &mut *world,
        scope: scope.clone(),
        path: request.path(),
        params,
        cause,
    };
    let mut answer = route(request.method(), &mut call)?;
    for path in &expansions {
        expand(world, scope, &mut answer, path)?;
    }
    Ok(answer)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "a fault that was ordered")
}

/// A body that promises to be whole and ends after `length` bytes, and the connection with it.
fn cut(text: &Bytes, length: usize) -> BoxBody {
    let whole = text.len() as u64;
    let parts = [Ok(text.slice(..length)), Err(broken())];
    let parts = parts
        .into_iter()
        .filter(|part| !part.as_ref().is_ok_and(Bytes::is_empty));
    SizedStream::new(whole, stream::iter(parts)).boxed()
}

/// A body that takes its time.
fn drip(text: Bytes, lasts: Duration) -> BoxBody {
    const DROPS: usize = 20;
    let whole = text.len() as u64;
    let size = text.len().div_ceil(DROPS).max(1);
    let pause = lasts / u32::try_from(DROPS).unwrap_or(1);
    let drops = stream::unfold(text, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let drop = rest.split_to(size.min(rest.len()));
        Some((Ok::<_, io::Error>(drop), rest))
    });
    SizedStream::new(whole, drops).boxed()
}
