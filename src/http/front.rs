//! `GET /`: what a person sees who opens the server's address.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use actix_web::{HttpResponse, web};

use super::Health;
use super::health::Seen;

const PAGE: &str = include_str!("front.html");

/// Says whether the system works, and nothing of what it holds: anyone may ask.
pub(super) async fn show(health: web::Data<Health>) -> HttpResponse {
    let Seen { redis, store } = health.seen().await;
    let state = |ok: bool| {
        if ok {
            ("ok", "answers")
        } else {
            ("down", "does not answer")
        }
    };
    let ((redis_class, redis), (store_class, store)) = (state(redis), state(store));
    let headline = if redis_class == store_class && redis_class == "ok" {
        "Surepass is running"
    } else {
        "Surepass waits for what it needs"
    };
    let page = PAGE
        .replace("{headline}", headline)
        .replace("{redis_class}", redis_class)
        .replace("{redis}", redis)
        .replace("{store_class}", store_class)
        .replace("{store}", store);
    HttpResponse::Ok()
        .insert_header((
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src data:",
        ))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("text/html; charset=utf-8")
        .body(page)
}
