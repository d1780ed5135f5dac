//! The webhook intake: verify, read the envelope, one round trip to Redis, answer.

mod answer;
mod body;
mod headers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::HeaderMap;
use actix_web::http::{ConnectionType, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::answer::Answer;
use self::headers::{STRIPE_SIGNATURE, TRACEPARENT, is_own_audit, value};
use super::endpoints::Endpoints;
use super::metrics::IntakeMetrics;
use crate::batcher::{BatchLimits, Batcher};
use crate::clock::Clock;
use crate::ingest::{Ingested, Path, ingest};
use crate::queue::{Enqueued, Item, Queue, QueueError};
use crate::store::CreatedVia;
use crate::stripe::Event;
use crate::telemetry::TraceParent;

/// The most events handed to Redis in one call. A call's own cost is shared by then; of a larger one the first event waits
/// for the last, and nobody has anything to do while Redis is at it (64: a twentieth fewer webhooks a second).
const LARGEST_BATCH: usize = 24;
/// One thread's calls under way at the same time: while Redis works on one the next are on their way. For a Redis beside us two
/// are as good; one that is milliseconds away is to have as many events on their way to it as with larger calls.
const MOST_CALLS: usize = 8;
/// How many events may wait for their batch on one thread; more callers wait for a place until their time is up.
const LONGEST_QUEUE: usize = 1_024;
/// A body beyond so many bytes is examined on another thread. A checkout's event has some 4,000.
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
    gather: Batcher<Item, Result<Enqueued, Unavailable>>,
    /// Whose turn it is among the large bodies of all threads.
    turns: Arc<Semaphore>,
}

/// Redis did not take the batch; the reason is logged once for all of it.
#[derive(Debug, Clone, Copy)]
struct Unavailable;

impl Intake {
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
        let gather = Batcher::start(limits, move |items: Vec<Item>| {
            let (own, log) = (own.as_ref().ok().cloned(), log.clone());
            async move {
                let enqueued = match &own {
                    Some(queue) => hand_in(queue, &items, settings.patience).await,
                    None => Err(QueueError::Closed),
                };
                match enqueued {
                    Ok(answers) => {
                        log.redis_answered();
                        answers.into_iter().map(Ok).collect()
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
            gather,
            turns: turns.clone(),
        }
    }

    /// Why a request is refused whatever its body is. Anyone can send a body, so it is read only where it may be genuine.
    async fn refusal_by_head(&self, tenant: Option<&str>, headers: &HeaderMap) -> Option<Answer> {
        let told = headers.get(header::CONTENT_LENGTH);
        let told = told.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if told.is_some_and(|length| length > self.settings.largest) {
            return Some(Answer::TooLarge);
        }
        let signature = value(headers, STRIPE_SIGNATURE);
        let now = self.clock.now();
        let refusal = self.endpoints.refusal_by_header(tenant, signature, now).await;
        refusal.and_then(|verdict| Answer::of(verdict).err())
    }

    async fn take(&self, tenant: Option<&str>, headers: &HeaderMap, body: Bytes) -> Answer {
        let read = if body.len() > LARGE_BODY {
            // Boxed: few bodies are large, and every request would pay for the room.
            Box::pin(self.examine_apart(tenant, headers, body)).await
        } else {
            let (signature, trace) = (value(headers, STRIPE_SIGNATURE), value(headers, TRACEPARENT));
            self.examine(tenant, signature, trace, &body).await
        };
        let Webhook { item, ignored, span } = match read {
            Ok(webhook) => webhook,
            Err(answer) => return answer,
        };
        let handed_in = tokio::time::timeout(self.settings.patience, self.gather.call(item)).await;
        let _entered = span.entered();
        let Ok(Ok(Ok(enqueued))) = handed_in else {
            // Whether Redis has it is unknown: Stripe sends it again, and the key tells.
            tracing::debug!("not taken");
            return Answer::Unavailable;
        };
        tracing::debug!(?enqueued, ignored, "received");
        match (ignored, enqueued) {
            (Some(_), _) => Answer::Ignored,
            (None, Enqueued::New) => Answer::Accepted,
            (None, _) => Answer::Duplicate,
        }
    }

    /// Verifies and reads a body.
    async fn examine(
        &self,
        tenant: Option<&str>,
        signature: Option<&[u8]>,
        traceparent: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Webhook, Answer> {
        let now = self.clock.now();
        let verdict = self.endpoints.verify(tenant, signature, body, now).await;
        let proved_by = Answer::of(verdict)?;
        let path = tenant.map(|tenant| Path { tenant, proved_by });
        self.read(path, traceparent, body).map_err(Answer::Malformed)
    }

    /// The same on another thread, one large body after the other: small ones, which nearly all are, do not wait for
    /// milliseconds of hashing.
    async fn examine_apart(
        &self,
        tenant: Option<&str>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Webhook, Answer> {
        let turn = self.turns.clone().acquire_owned().await;
        let (this, tenant) = (self.clone(), tenant.map(str::to_owned));
        let own = |name| value(headers, name).map(<[u8]>::to_owned);
        let (signature, trace) = (own(STRIPE_SIGNATURE), own(TRACEPARENT));
        let runtime = Handle::current();
        let examining = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runtime.block_on(this.examine(tenant.as_deref(), signature.as_deref(), trace.as_deref(), &body))
        });
        examining.await.unwrap_or(Err(Answer::Unavailable))
    }

    /// What to hand in for a verified body, or why it is malformed. Apart from [`Self::take`], whose future would hold all
    /// that is read here: beyond a kilobyte malloc is slow.
    fn read(
        &self,
        path: Option<Path<'_>>,
        traceparent: Option<&[u8]>,
        body: &[u8],
    ) -> Result<Webhook, String> {
        let mut event = Event::parse(body).map_err(|malformed| malformed.to_string())?;
        let Ingested { item, ignored } = ingest(
            &mut event,
            body,
            path,
            CreatedVia::Webhook,
            self.settings.remember,
        )
        .map_err(|_| "its purchase could not be written as a job".to_owned())?;
        // Of level debug: one for each webhook, and the worker's span tells the same ids later.
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
}

/// A verified event on its way to Redis.
struct Webhook {
    item: Item,
    ignored: Option<&'static str>,
    span: tracing::Span,
}

/// Hands a batch in, and once more where the connection turns out to be dead: the connection learns of an outage's end
/// by its next call, and would refuse one event on each thread for a Redis that is back. Handing in twice is safe.
async fn hand_in(queue: &Queue, items: &[Item], patience: Duration) -> Result<Vec<Enqueued>, QueueError> {
    let handed_in = async {
        match queue.enqueue(items).await {
            Err(error) if error.is_broken_connection() => queue.enqueue(items).await,
            answer => answer,
        }
    };
    tokio::time::timeout(patience, handed_in)
        .await
        .unwrap_or_else(|_| {
            queue.count_given_up();
            Err(QueueError::Timeout)
        })
}

/// `POST /webhooks/stripe`
pub(super) async fn receive(
    intake: web::Data<Intake>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    answer(&intake, None, &request, payload).await
}

/// `POST /webhooks/stripe/{tenant}`
pub(super) async fn receive_for_tenant(
    intake: web::Data<Intake>,
    tenant: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    answer(&intake, Some(&tenant), &request, payload).await
}

async fn answer(
    intake: &Intake,
    tenant: Option<&str>,
    request: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    let mut stays_open = true;
    let body = match intake.refusal_by_head(tenant, request.headers()).await {
        None => body::read(payload, intake.settings.largest).await,
        Some(refused) => {
            stays_open = body::pass_over(payload).await;
            Err(refused)
        }
    };
    let began = Instant::now();
    let answer = match body {
        Ok(body) => intake.take(tenant, request.headers(), body).await,
        Err(answer) => answer,
    };
    intake.metrics.count(answer.received(), tenant);
    if !answer.is_good() && !is_own_audit(request.headers()) {
        // A stranger makes slugs up.
        let tenant = tenant.filter(|slug| intake.endpoints.has_seen(slug));
        intake.metrics.refused(answer.received(), tenant);
    }
    intake.metrics.took(began.elapsed());
    let mut response = answer.respond();
    if !stays_open {
        // Else a client would send its next request into a connection that is about to be closed.
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}
