//! `surepass-sandbox`: a Stripe of our own for the demo and for tests. It takes what Checkout's payments need of Stripe's
//! API, shows the hosted page, and sends signed webhooks; all in memory. Nothing of the product depends on it.
//!
//! Besides Stripe's own calls there is `/_sandbox` (src: `control/`), as JSON:
//!
//! | call | what it does |
//! | --- | --- |
//! | `GET`, `POST /_sandbox/clock` | tells or moves the time: `{"now": …, "advance": seconds, "stopped": bool}`; answers when all that is due then has happened |
//! | `GET`, `PUT`, `DELETE /_sandbox/faults` | the faults to play: `faults.rs` |
//! | `GET`, `DELETE /_sandbox/requests?path=&limit=` | the calls of the API so far, and how many there were of each kind |
//! | `GET /_sandbox/deliveries?wait=&limit=` | the tries of webhooks; `wait` seconds at most until none is left |
//! | `POST /_sandbox/purchases` | many purchases in one go: `control/purchases.rs` |
//! | `POST /_sandbox/sessions/{id}/pay`, `/settle` | what the hosted page and the bank do |
//! | `POST /_sandbox/charges/{id}/dispute`, `/_sandbox/disputes/{id}/close` | what the buyer's bank does |
//! | `POST /_sandbox/events/{id}/resend` | what the Dashboard's button does |
//! | `POST /_sandbox/accounts` | connects an account: `{"id": "acct_…"}` |
//! | `POST /_sandbox/webhook_endpoints`, `/{id}/roll` | an endpoint with a known secret; a new secret |
//! | `PUT /_sandbox/keys` | what certain keys may not: `{"rk_test_…": {"refuse": ["/v1/events"], "expired": false}}` |

// Stripe's objects have many fields, and `json!` takes a step for each.
#![recursion_limit = "256"]

mod api;
mod checkout;
mod clock;
mod control;
mod delivery;
mod faults;
mod ids;
mod objects;
mod page;
mod request_log;
mod sandbox;
mod table;
mod world;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::middleware::Compress;
use actix_web::{App, HttpServer, web};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Parser;
use secrecy::{ExposeSecret, SecretString};
use surepass_base::shutdown::Shutdown;
use surepass_base::tls;

use crate::clock::SandboxClock;
use crate::control::NewEndpoint;
use crate::faults::FaultOrder;
use crate::objects::Endpoint;
use crate::sandbox::Sandbox;
use crate::world::{World, WorldSettings};

/// A stand-in for Stripe, for the demo and for tests. It is a sandbox and nothing else: no money moves, anyone may call
/// it with any key that looks like one, and all is forgotten when it ends.
///
/// It serves what Checkout's payments need of Stripe's API under /v1, the hosted page under /pay, and what tests need
/// under /_sandbox. Point a client at it with STRIPE_API_BASE=http://127.0.0.1:12111, or Stripe's own command line with
/// `stripe get /v1/events --api-base http://127.0.0.1:12111 --api-key sk_test_any`.
#[derive(Parser, Debug)]
#[expect(clippy::doc_markdown, reason = "this text is what --help prints")]
#[command(name = "surepass-sandbox", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one. The first line that is printed tells the address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
    bind: SocketAddr,
    /// What ids and faults follow from: the same seed gives the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Send the events of the account itself there (may be given several times)
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// Send the events of connected accounts there (may be given several times)
    #[arg(long, value_name = "URL")]
    webhook_connect: Vec<String>,
    /// The signing secret of these endpoints; without one each gets its own, and it is printed
    #[arg(
        long,
        value_name = "whsec_…",
        env = "SUREPASS_SANDBOX_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    webhook_secret: Option<SecretString>,
    /// A connected account (may be given several times)
    #[arg(long, value_name = "acct_…")]
    account: Vec<String>,
    /// How long a webhook may take to be answered
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
    /// What the delays before a webhook is sent again are multiplied by: 0.001 makes 30 minutes 1.8 s
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    retry_scale: f64,
    /// How long a bank transfer takes to settle
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    settle_after: Duration,
    /// Faults to play, as JSON, such as '{"deliveries":{"drop":15},"api":{"error":5}}'
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<FaultOrder>(text))]
    faults: Option<FaultOrder>,
    /// The time to begin at, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<DateTime<Utc>>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("surepass-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let shutdown = Shutdown::listen().map_err(|error| format!("signals cannot be heard: {error}"))?;
    let bind = arguments.bind;
    let refused = |error| format!("cannot listen on {bind}: {error}");
    let listener = TcpListener::bind(bind).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let base_url = format!("http://{}", reachable(address));
    let tells_secrets = arguments.webhook_secret.is_none();
    let (sandbox, endpoints) = build(arguments, base_url.clone())?;
    let sandbox = Arc::new(sandbox);

    let shared = web::Data::from(sandbox.clone());
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .app_data(web::PayloadConfig::new(1 << 20))
            .service(web::scope("/_sandbox").configure(control::routes))
            .route("/pay/{session}", web::get().to(page::show))
            .route("/pay/{session}", web::post().to(page::pay))
            .service(
                web::scope("/v1")
                    .wrap(Compress::default())
                    .default_service(web::to(api::serve)),
            )
            .default_service(web::to(api::serve))
    });
    let server = server
        .workers(2)
        .disable_signals()
        .shutdown_timeout(1)
        .keep_alive(Duration::from_mins(1))
        .listen(listener)
        .map_err(refused)?
        .run();
    println!("listening on {base_url}");
    for endpoint in endpoints.iter().filter(|_| tells_secrets) {
        println!(
            "webhook {} signed with {}",
            endpoint.url,
            endpoint.secret.expose_secret()
        );
    }
    tokio::spawn(sandbox.keep_time());

    let handle = server.handle();
    let stop = async {
        shutdown.asked().await;
        // What hangs by order hangs no longer.
        handle.stop(false).await;
    };
    let (ended, ()) = tokio::join!(server, stop);
    ended.map_err(|error| format!("the server ended: {error}"))
}

fn build(arguments: Arguments, base_url: String) -> Result<(Sandbox, Vec<Arc<Endpoint>>), String> {
    if !(arguments.retry_scale.is_finite() && arguments.retry_scale >= 0.0) {
        return Err("--retry-scale is a number from 0".to_owned());
    }
    let clock = SandboxClock::default();
    if let Some(now) = arguments.now {
        clock.set(now, false);
    }
    let settings = WorldSettings {
        seed: arguments.seed,
        base_url,
        settle_after: TimeDelta::from_std(arguments.settle_after)
            .map_err(|_| "--settle-after is too long".to_owned())?,
        retry_scale: arguments.retry_scale,
    };
    let now = clock.now();
    let mut world = World::new(settings, now);
    for account in arguments.account {
        world.connect(account, now.timestamp(), None);
    }
    if let Some(order) = arguments.faults {
        world
            .faults
            .replace(order)
            .map_err(|error| format!("--faults: {error}"))?;
    }
    let http = http_client(arguments.delivery_timeout).map_err(|error| format!("no HTTP client: {error}"))?;
    let sandbox = Sandbox::new(world, clock, http);
    let own = arguments.webhook.into_iter().map(|url| (url, false));
    let connected = arguments.webhook_connect.into_iter().map(|url| (url, true));
    let endpoints = own.chain(connected).map(|(url, connect)| {
        let endpoint = NewEndpoint {
            url,
            secret: arguments.webhook_secret.clone(),
            connect,
            account: None,
            livemode: false,
            enabled_events: None,
            api_version: None,
        };
        endpoint.add(&sandbox)
    });
    let endpoints = endpoints.collect();
    Ok((sandbox, endpoints))
}

/// For webhooks: follows no redirect, and gives up.
#[expect(clippy::disallowed_methods, reason = "the one place that makes HTTP clients")]
fn http_client(patience: Duration) -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls::https())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(patience)
        .no_proxy()
        .build()
}

/// Where an address that stands for all of this machine's is reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_help_of_every_command_is_as_it_was_reviewed() {
        support::help::check(super::Arguments::command());
    }
}
