//! Servers on threads of this process: ours, and the bare ones that it is compared with.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use redis::Script;
use redis::aio::MultiplexedConnection;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use surepass::clock::Clock;
use surepass::config::Settings;
use surepass::http::Application;
use surepass::queue::{Redis, RedisOptions};
use surepass::store;
use surepass::stripe::signature::Verifier;
use tokio::sync::oneshot;

use crate::requests::SECRET;
use crate::{Outcome, system};

/// Where the bare server puts events for the bare consumer.
pub(crate) const BARE_LIST: &str = "bare:wait";

/// A server that runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Outcome<()>>,
}

impl Running {
    fn start<F, Serving>(serve: F) -> Outcome<Self>
    where
        F: FnOnce(mpsc::Sender<SocketAddr>, oneshot::Receiver<()>) -> Serving + Send + 'static,
        Serving: Future<Output = Outcome<()>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (listening, address) = mpsc::channel();
        let thread =
            std::thread::spawn(move || actix_web::rt::System::new().block_on(serve(listening, stopped)));
        match address.recv() {
            Ok(address) => Ok(Self {
                address,
                stop,
                thread,
            }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err("the server did not start".into()),
            },
        }
    }

    pub(crate) fn stop(self) -> Outcome<()> {
        let _ = self.stop.send(());
        self.thread.join().map_err(|_| "the server panicked")?
    }
}

/// Surepass' own server, as `surepass serve` runs it.
pub(crate) fn ours(redis_url: &SecretString, database_url: String) -> Outcome<Running> {
    let redis_url = redis_url.clone();
    Running::start(async move |listening, stopped| {
        let settings = Settings::load_from(|name| match name {
            "STRIPE_WEBHOOK_SECRET" => Some(SECRET.to_owned()),
            "SUREPASS_BIND" => Some("127.0.0.1:0".to_owned()),
            "REDIS_URL" => Some(redis_url.expose_secret().to_owned()),
            "DATABASE_URL" => Some(database_url.clone()),
            _ => None,
        })?;
        let options = RedisOptions {
            response_timeout: *settings.server.redis_timeout,
            ..RedisOptions::default()
        };
        let redis = Redis::open(&redis_url, options)?;
        let store = store::open(&settings.database.url_or_default(), &settings.store_options()).await?;
        store.migrate().await?;
        let application = Application::build(&settings, &redis, store, Clock::system())?;
        listening.send(application.address())?;
        application
            .run_until(async {
                let _ = stopped.await;
            })
            .await?;
        Ok(())
    })
}

/// The limit (a): verifies, and answers.
pub(crate) fn verifying() -> Outcome<Running> {
    bare(|config| {
        config.route("/webhooks/stripe", web::post().to(verify));
    })
}

/// The limit (b): verifies, and puts the event into a list unless its id has been seen.
pub(crate) fn enqueueing(redis_url: &SecretString) -> Outcome<Running> {
    let client = redis::Client::open(redis_url.expose_secret())?;
    let script = Script::new(
        "if redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) then \
           redis.call('LPUSH', KEYS[2], ARGV[2]) return 1 \
         end return 0",
    );
    bare(move |config| {
        config
            .app_data(web::Data::new((client.clone(), script.clone())))
            .app_data(web::Data::new(
                tokio::sync::OnceCell::<MultiplexedConnection>::new(),
            ))
            .route("/webhooks/stripe", web::post().to(enqueue));
    })
}

fn bare(routes: impl Fn(&mut web::ServiceConfig) + Clone + Send + 'static) -> Outcome<Running> {
    let verifier = Verifier::new(&[SECRET.into()])?;
    Running::start(async move |listening, stopped| {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::PayloadConfig::new(1_048_576))
                .app_data(web::Data::new((verifier.clone(), Clock::system())))
                .configure(routes.clone())
        })
        .disable_signals()
        .keep_alive(Duration::from_secs(75))
        .bind("127.0.0.1:0")?;
        let address = *server.addrs().first().ok_or("no address")?;
        let server = server.run();
        let handle = server.handle();
        listening.send(address)?;
        actix_web::rt::spawn(async move {
            let _ = stopped.await;
            handle.stop(true).await;
        });
        server.await?;
        Ok(())
    })
}

type Verifying = web::Data<(Verifier, Clock)>;

fn is_genuine(verifying: &Verifying, request: &HttpRequest, body: &[u8]) -> bool {
    let header = request
        .headers()
        .get("stripe-signature")
        .map(actix_web::http::header::HeaderValue::as_bytes);
    let (verifier, clock) = &***verifying;
    verifier.verify(header, body, clock.now()).is_ok()
}

fn accepted() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(r#"{"received":true,"duplicate":false}"#)
}

async fn verify(verifying: Verifying, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    if is_genuine(&verifying, &request, &body) {
        accepted()
    } else {
        HttpResponse::BadRequest().finish()
    }
}

#[derive(Deserialize)]
struct Id<'a> {
    id: &'a str,
}

async fn enqueue(
    verifying: Verifying,
    redis: web::Data<(redis::Client, Script)>,
    connection: web::Data<tokio::sync::OnceCell<MultiplexedConnection>>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    if !is_genuine(&verifying, &request, &body) {
        return HttpResponse::BadRequest().finish();
    }
    let (client, script) = &**redis;
    let Ok(Id { id }) = serde_json::from_slice(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    let connected = connection
        .get_or_try_init(async || {
            client
                .get_multiplexed_async_connection_with_config(&system::patient())
                .await
        })
        .await;
    let Ok(connection) = connected else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    let new: Result<bool, _> = script
        .key(format!("bare:event:{id}"))
        .key(BARE_LIST)
        .arg(35 * 86_400_000_u64)
        .arg(&*body)
        .invoke_async(&mut connection.clone())
        .await;
    match new {
        Ok(true) => accepted(),
        Ok(false) => HttpResponse::Ok().body(r#"{"received":true,"duplicate":true}"#),
        Err(_) => HttpResponse::ServiceUnavailable().finish(),
    }
}
