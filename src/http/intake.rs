//! The webhook intake: one request, one round trip to Redis, one response. It asks neither the store nor Stripe; only a tenant's
//! own endpoint may read that tenant's secrets ([`super::endpoints`]).
//!
//! The next steps of the walk: `stripe/signature` verifies the raw bytes, `stripe/event` reads them, `ingest` makes the queue's
//! item, and `crates/queue/src/scripts/enqueue.lua` takes it.

mod response;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::ConnectionType;
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, USER_AGENT};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::response::WebhookResponse;
use super::endpoints::Endpoints;
use super::metrics::IntakeMetrics;
use super::middleware::is_too_slow;
use crate::batcher::{BatchLimits, Batcher};
use crate::clock::Clock;
use crate::fulfil::TenantPath;
use crate::ingest::{Ingested, ingest};
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::store::CreatedVia;
use crate::stripe::Event;
use crate::telemetry::TraceParent;

const STRIPE_SIGNATURE: &str = "stripe-signature";
const TRACEPARENT: &str = "traceparent";

/// The most events in one call to Redis. The cost of a call is shared by then; in a larger one the first event would wait for
/// the last.
const LARGEST_BATCH: usize = 24;
/// One thread's concurrent calls. A Redis that is milliseconds away needs several to be busy all the time.
const MOST_CALLS: usize = 8;
/// How many events may wait for their batch on one thread; more requests wait for a place until their time is up.
const LONGEST_QUEUE: usize = 1_024;
/// A larger body, in bytes, is verified on another thread. A checkout's event has some 4,000.
const LARGE_BODY: usize = 65_536;

#[derive(Debug, Clone, Copy)]
pub(super) struct IntakeSettings {
    /// The most bytes of a body.
    pub(super) largest: usize,
    /// How long an event's id is remembered.
    pub(super) remember: Duration,
    /// How long to wait for Redis.
    pub(super) patience: Duration,
    /// Randomness for the ids of traces.
    pub(super) random: fn() -> u64,
}

/// One thread's way to Redis.
#[derive(Clone)]
pub(super) struct Intake {
    endpoints: Arc<Endpoints>,
    metrics: Arc<IntakeMetrics>,
    clock: Clock,
    settings: IntakeSettings,
    batches: Batcher<Item, Result<Enqueued, Unavailable>>,
    /// Admits one large body at a time, of all threads.
    turns: Arc<Semaphore>,
}

/// A verified event on its way to Redis.
struct Webhook {
    item: Item,
    ignored: Option<&'static str>,
    span: tracing::Span,
}

/// Redis did not take the batch; the reason is logged once for all of it.
#[derive(Debug, Clone, Copy)]
struct Unavailable;

/// `POST /webhooks/stripe`
pub(super) async fn receive(
    intake: web::Data<Intake>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    respond(&intake, None, &request, payload).await
}

/// `POST /webhooks/stripe/{tenant}`
pub(super) async fn receive_for_tenant(
    intake: web::Data<Intake>,
    tenant: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    respond(&intake, Some(&tenant), &request, payload).await
}

async fn respond(
    intake: &Intake,
    tenant: Option<&str>,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let headers = request.headers();
    let mut stays_open = true;
    let body = match intake.refusal_by_head(tenant, headers).await {
        None => read_body(payload, intake.settings.largest).await,
        Some(refused) => {
            stays_open = skip_body(payload).await;
            Err(refused)
        }
    };
    let began = Instant::now();
    let response = match body {
        Ok(body) => intake.take(tenant, headers, body).await,
        Err(refused) => refused,
    };
    intake.metrics.count(response.received(), tenant);
    if !response.is_good() && !is_own_check(headers) {
        // A stranger makes slugs up.
        let tenant = tenant.filter(|slug| intake.endpoints.has_seen(slug));
        intake.metrics.refused(response.received(), tenant);
    }
    intake.metrics.took(began.elapsed());
    let mut response = response.into_http();
    if !stays_open {
        // Otherwise a client would send its next request into a connection that is about to be closed.
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get(name).map(HeaderValue::as_bytes)
}

/// Whether our own check of the endpoints sent it, which also tries a request without a signature.
fn is_own_check(headers: &HeaderMap) -> bool {
    headers
        .get(USER_AGENT)
        .is_some_and(|agent| agent.as_bytes().starts_with(b"surepass/"))
}

/// The raw body, of at most `largest` bytes. One that came in one piece, as nearly all do, is not copied, which actix's own
/// reader would. Nothing is unpacked: the sent bytes are signed.
async fn read_body(mut payload: web::Payload, largest: usize) -> Result<Bytes, WebhookResponse> {
    let mut body = Bytes::new();
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(|error| {
            if is_too_slow(&error) {
                WebhookResponse::TooSlow
            } else {
                WebhookResponse::Unreadable
            }
        })?;
        if body.len() + piece.len() > largest {
            return Err(WebhookResponse::TooLarge);
        }
        body = if body.is_empty() {
            piece
        } else {
            let mut joined = BytesMut::from(body);
            joined.extend_from_slice(&piece);
            joined.freeze()
        };
    }
    Ok(body)
}

/// Reads what has already arrived of an unwanted body, so that the connection of a client that has sent all of it stays open.
/// False: there is more to come, and actix closes the connection after the response.
async fn skip_body(mut payload: web::Payload) -> bool {
    // The body that came with the head is there when this is polled again.
    tokio::task::yield_now().await;
    loop {
        match payload.next().now_or_never() {
            Some(Some(Ok(_))) => {}
            Some(None) => return true,
            Some(Some(Err(_))) | None => return false,
        }
    }
}

impl Intake {
    /// Why a request is refused whatever its body contains. Anyone can send a body, so it is read only if it may be genuine.
    async fn refusal_by_head(&self, tenant: Option<&str>, headers: &HeaderMap) -> Option<WebhookResponse> {
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > self.settings.largest) {
            return Some(WebhookResponse::TooLarge);
        }
        let signature = header(headers, STRIPE_SIGNATURE);
        let now = self.clock.now();
        let refusal = self.endpoints.refusal_by_header(tenant, signature, now).await;
        refusal.and_then(|verdict| WebhookResponse::of(verdict).err())
    }

    /// Verifies and reads a body, and enqueues its event. Only Redis' answer makes it a success.
    async fn take(&self, tenant: Option<&str>, headers: &HeaderMap, body: Bytes) -> WebhookResponse {
        let (signature, trace) = (header(headers, STRIPE_SIGNATURE), header(headers, TRACEPARENT));
        let read = if body.len() > LARGE_BODY {
            // Boxed: few bodies are large, and every request would pay for the room.
            Box::pin(self.read_apart(tenant, signature, trace, body)).await
        } else {
            self.read(tenant, signature, trace, &body).await
        };
        let Webhook { item, ignored, span } = match read {
            Ok(webhook) => webhook,
            Err(refused) => return refused,
        };
        let enqueued = tokio::time::timeout(self.settings.patience, self.batches.call(item)).await;
        let _entered = span.entered();
        let Ok(Ok(Ok(enqueued))) = enqueued else {
            // Whether Redis has it is unknown: Stripe sends it again, and the dedupe key decides.
            tracing::debug!("not enqueued");
            return WebhookResponse::Unavailable;
        };
        tracing::debug!(?enqueued, ignored, "received");
        match (ignored, enqueued) {
            (Some(_), _) => WebhookResponse::Ignored,
            (None, Enqueued::New) => WebhookResponse::Accepted,
            (None, _) => WebhookResponse::Duplicate,
        }
    }

    /// Verifies a body and reads it.
    async fn read(
        &self,
        tenant: Option<&str>,
        signature: Option<&[u8]>,
        traceparent: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Webhook, WebhookResponse> {
        let now = self.clock.now();
        let path = match tenant {
            None => {
                let verified = self.endpoints.platform().verify(signature, body, now);
                verified.map_err(WebhookResponse::Refused)?;
                None
            }
            Some(slug) => {
                let verdict = self.endpoints.verify(slug, signature, body, now).await;
                let proved_by = WebhookResponse::of(verdict)?;
                Some(TenantPath { slug, proved_by })
            }
        };
        self.parse(path, traceparent, body)
            .map_err(WebhookResponse::Malformed)
    }

    /// Likewise, on another thread, one large body after the other: small ones, which nearly all are, do not wait for
    /// milliseconds of hashing.
    async fn read_apart(
        &self,
        tenant: Option<&str>,
        signature: Option<&[u8]>,
        traceparent: Option<&[u8]>,
        body: Bytes,
    ) -> Result<Webhook, WebhookResponse> {
        let turn = self.turns.clone().acquire_owned().await;
        let (this, tenant) = (self.clone(), tenant.map(str::to_owned));
        let (signature, trace) = (signature.map(<[u8]>::to_owned), traceparent.map(<[u8]>::to_owned));
        let runtime = Handle::current();
        let reading = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runtime.block_on(this.read(tenant.as_deref(), signature.as_deref(), trace.as_deref(), &body))
        });
        reading.await.unwrap_or(Err(WebhookResponse::Unavailable))
    }

    /// The queue's item of a verified body, or why the body is malformed. Not async: the future of [`Self::take`] would hold
    /// all that is read here, and allocations beyond a kilobyte are slow.
    fn parse(
        &self,
        path: Option<TenantPath<'_>>,
        traceparent: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Webhook, String> {
        let event = Event::parse(body).map_err(|malformed| malformed.to_string())?;
        let Ingested { item, ignored } =
            ingest(&event, body, path, CreatedVia::Webhook, self.settings.remember)
                .map_err(|_| "its purchase could not be written as a job".to_owned())?;
        // Of level debug: one for each webhook, and the worker's span has the same ids.
        let span = tracing::debug_span!(
            "webhook",
            event = event.id,
            r#type = event.kind,
            session = event.object_id,
            job = item.job_id(),
            trace = tracing::field::Empty
        );
        let trace = TraceParent::begin(&span, traceparent, self.settings.random);
        Ok(Webhook {
            item: item.trace(trace.to_string()),
            ignored,
            span,
        })
    }

    /// One thread's intake, with a connection and batches of its own.
    pub(super) fn start(
        queue: &Queue,
        endpoints: &Arc<Endpoints>,
        metrics: &Arc<IntakeMetrics>,
        clock: &Clock,
        settings: IntakeSettings,
        turns: &Arc<Semaphore>,
    ) -> Self {
        let own = queue.reconnected();
        let log = metrics.clone();
        let limits = BatchLimits {
            batch: LARGEST_BATCH,
            waiting: LONGEST_QUEUE,
            parallel: MOST_CALLS,
        };
        let batches = Batcher::start(limits, move |items: Vec<Item>| {
            let (own, log) = (own.as_ref().ok().cloned(), log.clone());
            async move {
                let enqueued = match &own {
                    Some(queue) => enqueue(queue, &items, settings.patience).await,
                    None => Err(QueueError::Closed),
                };
                match enqueued {
                    Ok(all) => {
                        log.redis_answered();
                        all.into_iter().map(Ok).collect()
                    }
                    Err(error) => {
                        log.redis_failed(&error);
                        vec![Err(Unavailable); items.len()]
                    }
                }
            }
        });
        Self {
            endpoints: endpoints.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            settings,
            batches,
            turns: turns.clone(),
        }
    }
}

/// Enqueues a batch, and once more if the connection turns out to be dead: it notices the end of an outage by its next call, and
/// would otherwise refuse one event on each thread although Redis is back. Enqueueing twice is safe.
async fn enqueue(queue: &Queue, items: &[Item], patience: Duration) -> Result<Vec<Enqueued>, QueueError> {
    let enqueued = async {
        match queue.enqueue(items).await {
            Err(error) if error.is_broken_connection() => queue.enqueue(items).await,
            enqueued => enqueued,
        }
    };
    tokio::time::timeout(patience, enqueued)
        .await
        .unwrap_or_else(|_| {
            queue.count_given_up();
            Err(QueueError::Timeout)
        })
}
