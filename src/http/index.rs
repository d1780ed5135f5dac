//! `GET /`: the server's first page.

use actix_web::http::header::{CACHE_CONTROL, REFERRER_POLICY};
use actix_web::{HttpResponse, web};

use super::Health;
use super::health::Seen;
use crate::verdict::{PAID_WITHOUT_PASS, UNKNOWN, WAITING_TOO_LONG};

const PAGE: &str = include_str!("index.html");

/// Shows whether the system works. It is public, so it shows no data.
pub(super) async fn show(health: web::Data<Health>) -> HttpResponse {
    let Seen {
        redis,
        store,
        verdict,
        ..
    } = health.seen().await;
    let state = |ok: bool| {
        if ok {
            ("ok", "responding")
        } else {
            ("down", "not responding")
        }
    };
    // Without numbers: the page is public.
    let (headline, (paid_class, paid)) = match (redis, verdict.code()) {
        (false, _) => (
            "Surepass is not ready: Redis is not responding",
            ("down", "not known"),
        ),
        (_, PAID_WITHOUT_PASS) => (
            "A customer has paid and has no pass: run surepass doctor",
            ("down", "a paid purchase has none"),
        ),
        (_, WAITING_TOO_LONG) => (
            "A customer has waited for over a minute: run surepass doctor",
            ("down", "a paid purchase is waiting"),
        ),
        _ if !store => (
            "Surepass is running, but its store is not responding",
            ("ok", "created as soon as the store responds"),
        ),
        (_, UNKNOWN) => (
            "Surepass is running, but its queue cannot be read: run surepass doctor",
            ("down", "not known"),
        ),
        _ => ("Surepass is running", ("ok", "every paid purchase has one")),
    };
    let ((redis_class, redis), (store_class, store)) = (state(redis), state(store));
    let page = PAGE
        .replace("{headline}", headline)
        .replace("{redis_class}", redis_class)
        .replace("{redis}", redis)
        .replace("{store_class}", store_class)
        .replace("{store}", store)
        .replace("{paid_class}", paid_class)
        .replace("{paid}", paid);
    HttpResponse::Ok()
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/html; charset=utf-8")
        .body(page)
}
