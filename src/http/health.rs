//! Liveness (`/healthz`) and readiness probe (`/readyz`), and the state that the first page shows.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::read;
use crate::cached::Cached;
use crate::queue::Queue;
use crate::store::Store;
use crate::verdict::{Facts, Verdict};

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one check serves all requests, so that nobody can keep Redis and the store busy.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// What `/readyz` and the first page show. Clones share their looks.
#[derive(Debug, Clone)]
pub struct Health {
    look: Arc<Cached<Seen>>,
    needs_store: bool,
    store: Arc<Store>,
}

/// What a look has found.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Redis answers, and takes writes.
    pub redis: bool,
    /// The store answers.
    pub store: bool,
    /// Whether somebody has paid and has no pass, or waits too long.
    pub verdict: Arc<Verdict>,
    /// Of a worker: its acknowledgements are accepted.
    pub acknowledges: bool,
}

impl Health {
    /// Of a server: it is ready while this queue's Redis takes writes, since webhooks need nothing else.
    #[must_use]
    pub fn of_server(queue: Queue, store: Arc<Store>) -> Self {
        Self::new(queue, store, Vec::new(), false)
    }

    /// Of a worker of these queues: it needs the store, too, and that the jobs' ends are acknowledged.
    #[must_use]
    pub fn of_worker(queue: Queue, store: Arc<Store>, worked: Vec<Queue>) -> Self {
        Self::new(queue, store, worked, true)
    }

    fn new(queue: Queue, store: Arc<Store>, worked: Vec<Queue>, needs_store: bool) -> Self {
        let looked_at = store.clone();
        let look = Cached::new(BETWEEN_LOOKS, move || {
            let acknowledges = worked.iter().all(Queue::acknowledges);
            look(queue.clone(), looked_at.clone(), acknowledges)
        });
        Self {
            look: Arc::new(look),
            needs_store,
            store,
        }
    }

    /// What Redis and the store are like, at most a second ago.
    pub async fn seen(&self) -> Seen {
        self.look.get().await
    }

    fn is_ready(&self, seen: &Seen) -> bool {
        seen.redis && seen.acknowledges && (seen.store || !self.needs_store)
    }
}

async fn look(queue: Queue, store: Arc<Store>, acknowledges: bool) -> Seen {
    let redis = tokio::time::timeout(PATIENCE, queue.ping());
    // Where calls have found the store out of order, the proof that it works again is that it would take a purchase.
    let answered = tokio::time::timeout(PATIENCE, async {
        match store.outage() {
            Some(_) => store.try_write().await,
            None => store.ping().await,
        }
    });
    let (redis, answered) = tokio::join!(redis, answered);
    let redis = matches!(redis, Ok(Ok(())));
    let facts = if redis {
        Facts::gather(&queue, Some(store.as_ref())).await
    } else {
        Facts::without_redis("it takes no writes")
    };
    Seen {
        redis,
        store: matches!(answered, Ok(Ok(()))),
        verdict: Arc::new(Verdict::of(&facts)),
        acknowledges,
    }
}

/// `/healthz` and `/readyz`, for the server and for a worker.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/healthz", read().to(alive))
        .route("/readyz", read().to(ready));
}

async fn alive() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

async fn ready(health: web::Data<Health>) -> HttpResponse {
    let seen = health.seen().await;
    let word = |ok: bool| if ok { "ok" } else { "no answer" };
    let mut body =
        json!({ "redis": word(seen.redis), "store": word(seen.store), "verdict": seen.verdict.code() });
    // Only of a worker, whose address is for operators: it may name tables and users of the database.
    if health.needs_store
        && !seen.store
        && let Some(outage) = health.store.outage()
    {
        body["cause"] = outage.cause.into();
    }
    let mut response = if health.is_ready(&seen) {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    if !seen.acknowledges {
        body["acknowledgements"] = "Redis refuses them: see this worker's log".into();
    }
    response.insert_header((CACHE_CONTROL, "no-store")).json(body)
}
