//! Whether the process lives, and whether it can do its work.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::queue::Queue;
use crate::store::Store;

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What `/readyz` asks.
#[derive(Debug, Clone)]
pub struct Health {
    queue: Queue,
    store: Arc<dyn Store>,
}

impl Health {
    /// Asks this queue's Redis and this store.
    #[must_use]
    pub fn new(queue: Queue, store: Arc<dyn Store>) -> Self {
        Self { queue, store }
    }

    /// Whether Redis and the store answer.
    pub async fn ready(&self) -> (bool, bool) {
        let redis = tokio::time::timeout(PATIENCE, self.queue.ping());
        let store = tokio::time::timeout(PATIENCE, self.store.ping());
        let (redis, store) = tokio::join!(redis, store);
        (matches!(redis, Ok(Ok(()))), matches!(store, Ok(Ok(()))))
    }
}

/// `/healthz` and `/readyz`, for the server and for a worker.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", web::get().to(alive))
        .route("/readyz", web::get().to(ready));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

async fn ready(health: web::Data<Health>) -> HttpResponse {
    let (redis, store) = health.ready().await;
    let word = |ok: bool| if ok { "ok" } else { "no answer" };
    let mut response = if redis && store {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    response
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "redis": word(redis), "store": word(store) }))
}
