//! The HTTP server: webhooks, the customers' routes and pages, health, metrics.

mod connection_limits;
mod connections;
mod customer;
mod endpoints;
pub mod health;
mod index;
mod intake;
pub mod metrics;
mod metrics_server;
mod middleware;
mod page;
mod refusals;
mod unknown;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::guard::{Any, Get, Head};
use actix_web::{App, HttpServer, Route, web};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{QueueName, Settings};
use crate::customer::StatusStreams;
use crate::queue::{Exposition, Queue, QueueError, Redis};
use crate::store::Store;
use crate::stripe::signature::{EmptySecret, Verifier};

pub use health::Health;
pub use metrics::{IntakeMetrics, MetricsPage};
pub use page::LocaleError;

use connection_limits::Limits;
use customer::CustomerApi;
use endpoints::Endpoints;
use intake::{Intake, IntakeSettings};
use middleware::SafetyHeaders;
use page::Page;
use refusals::Refusals;

/// The HTTP server, bound and ready to run. Production and tests start the same thing.
pub struct Application {
    server: Server,
    /// Its own `/metrics`, if that address is free.
    metrics: Option<Server>,
    address: SocketAddr,
    streams: StatusStreams,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "STRIPE_WEBHOOK_SECRET is not set: give it the signing secret (whsec_…) of your webhook endpoint, from Stripe's \
         Dashboard under Developers → Webhooks"
    )]
    NoSecret(#[from] EmptySecret),
    #[error("cannot listen on {0}: {1}; set SUREPASS_BIND to a free address")]
    Bind(SocketAddr, io::Error),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("no HTTP client: {0}")]
    Client(String),
    #[error(transparent)]
    Locale(#[from] LocaleError),
}

/// How long open requests may take to finish at shutdown, in seconds.
const SHUTDOWN_SECONDS: u64 = 10;
/// How long an idle connection stays open.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long the head of a connection's first request may take.
const FIRST_HEAD: Duration = Duration::from_secs(10);
/// How long the rest of a request that is already answered is read and dropped.
const STILL_SENDING: Duration = Duration::from_secs(5);
/// How many large bodies are verified at the same time, so that other requests keep the other cores.
const LARGE_BODIES_AT_ONCE: usize = 1;
/// For a second or two an address may have this many times its limit of unfinished requests.
const BURST: usize = 8;
/// Connections that one thread accepts beside the customers' streams, all of which it may get: a full thread accepts no webhook.
/// It is actix's default for all threads.
const OTHER_CONNECTIONS: usize = 25_600;

impl Application {
    /// Binds the address and builds the server.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn build(
        settings: &Settings,
        redis: &Redis,
        store: Arc<Store>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let bind = settings.server.bind;
        let verifier = Verifier::new(&settings.stripe.webhook_secrets)?;
        let queue = Queue::new(redis, settings.queue_config())?;
        let listener = TcpListener::bind(bind).map_err(|error| StartError::Bind(bind, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Bind(bind, error))?;
        connections::prepare(&listener);
        let refusals = Refusals::new(queue.clone(), clock.clone());
        let metrics = Arc::new(IntakeMetrics::new(Arc::new(refusals)));
        let sync = Queue::new(redis, settings.queue_config_of(QueueName::Sync))?;
        let tolerance = settings.server.signature_tolerance;
        let api = Arc::new(CustomerApi::build(
            settings, redis, &queue, &sync, &store, &clock,
        )?);
        let tenants = api.customers.tenants.clone();
        let verifier = verifier.with_tolerance(*tolerance);
        let endpoints = Arc::new(Endpoints::new(verifier, *tolerance, tenants, store.clone()));
        let page_of_customers = web::Data::new(Page::new(api.clone(), &settings.folder)?);
        let streams = api.customers.streams.clone();
        let health = Health::of_server(queue.clone(), store);
        let page = MetricsPage::new(Exposition::new([&queue, &sync])?, Some(metrics.clone()))
            .with_streams(streams.clone())
            .with_health(health.clone());
        let intake = IntakeSettings {
            largest: *settings.server.max_body_bytes,
            remember: *settings.queue.event_dedupe,
            patience: *settings.server.redis_timeout,
            random: rand::random,
        };
        let threads = match *settings.server.workers {
            0 => half_of_the_cores(),
            threads => threads,
        };
        let (limits, most) = limits(settings, threads);
        let safety = SafetyHeaders::new(settings.server.public_url.as_ref());
        let turns = Arc::new(Semaphore::new(LARGE_BODIES_AT_ONCE));
        let server = HttpServer::new(move || {
            // One connection and one batcher for each thread: nothing on the way to Redis crosses threads.
            let intake = Intake::start(&queue, &endpoints, &metrics, &clock, intake, &turns);
            actix_web::rt::spawn(connection_limits::watch(limits));
            App::new()
                .wrap_fn(move |request, service| middleware::serve(request, service, safety))
                .app_data(web::Data::new(intake))
                .app_data(web::Data::new(health.clone()))
                .app_data(page_of_customers.clone())
                .configure(routes)
                .service(customer::scope(api.clone(), page::sign_in()))
                .default_service(web::to(unknown::show))
        });
        let server = server
            .on_connect(move |io, extensions| connection_limits::admit(io, extensions, limits))
            .workers(threads)
            .max_connections(most)
            .disable_signals()
            .shutdown_timeout(SHUTDOWN_SECONDS)
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(FIRST_HEAD)
            // Only then a client that is still sending reads the early response.
            .client_disconnect_timeout(STILL_SENDING)
            // A stream's next event does not wait for the TCP acknowledgement of the last one.
            .tcp_nodelay(true)
            .listen(listener)
            .map_err(|error| StartError::Bind(bind, error))?
            .run();
        Ok(Self {
            server,
            metrics: metrics_server::start(settings.server.metrics_bind, &page),
            address,
            streams,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then finishes open requests (graceful shutdown); streams end at once.
    ///
    /// # Errors
    /// If the server ends by itself with an error.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (handle, streams) = (self.server.handle(), self.streams);
        let stopping = async {
            stop.await;
            streams.close();
            handle.stop(true).await;
        };
        let metrics = self.metrics.map(tokio::spawn);
        let (served, ()) = tokio::join!(self.server, stopping);
        if let Some(metrics) = metrics {
            metrics.abort();
        }
        served
    }
}

/// A webhook takes a thread of ours as long as it takes Redis (13 µs each), which has one thread only. So one thread is
/// enough for a Redis, and fewer make larger batches: with one of two cores a webhook costs 2 µs less of all CPU.
fn half_of_the_cores() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

/// What one thread allows its clients, and how many connections it takes.
fn limits(settings: &Settings, threads: usize) -> (Limits, usize) {
    let streams = usize::try_from(*settings.customers.streams).unwrap_or(usize::MAX);
    let wanted = streams.saturating_add(OTHER_CONNECTIONS);
    let most = connections::most(wanted, threads);
    // Behind a proxy that names its clients, all connections come from the proxy.
    let is_direct = settings.customers.address_header.is_none();
    let per_address = *settings.server.unfinished_per_address;
    let per_address = (is_direct && per_address > 0).then(|| per_address.div_ceil(threads));
    let limits = Limits {
        per_address,
        // A client may open many connections and use them at once, but never all of them.
        burst: per_address
            .map_or(most, |per_address| per_address * BURST)
            .min(most.div_ceil(4)),
        in_all: most / 2,
        body: *settings.server.body_timeout,
        head: KEEP_ALIVE + FIRST_HEAD,
    };
    (limits, most)
}

/// A route for `GET` and `HEAD`.
pub(crate) fn read() -> Route {
    web::route().guard(Any(Get()).or(Head()))
}

fn routes(config: &mut web::ServiceConfig) {
    // One resource for each path, the usual ones first: a resource of several paths is matched by regular expressions, which
    // cost a webhook 3 % of its time.
    for path in ["/webhooks/stripe", "/webhooks/stripe/"] {
        config.service(
            web::resource(path)
                .route(web::post().to(intake::receive))
                .default_service(web::to(unknown::only_post)),
        );
    }
    for path in ["/webhooks/stripe/{tenant}", "/webhooks/stripe/{tenant}/"] {
        config.service(
            web::resource(path)
                .route(web::post().to(intake::receive_for_tenant))
                .default_service(web::to(unknown::only_post)),
        );
    }
    config.route("/", read().to(index::show));
    health::routes(config);
    page::routes(config);
}
