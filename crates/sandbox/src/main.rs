//! `surepass-sandbox`: a stand-in for Stripe, for the demo and for tests. It serves what Checkout's payments need of Stripe's
//! API, the hosted page and signed webhooks; all in memory. Nothing of the product depends on it.
//!
//! Stripe's own calls are in `api/`. Besides, there is `/_sandbox` (`control/`), as JSON:
//!
//! | call | what it does |
//! | --- | --- |
//! | `GET`, `POST /_sandbox/clock` | reads or sets the time: `{"now": …, "advance": seconds, "stopped": bool}`; responds when everything due by then has happened |
//! | `GET`, `PUT`, `DELETE /_sandbox/faults` | the faults to inject: `faults.rs` |
//! | `GET`, `DELETE /_sandbox/requests?path=&limit=` | the API calls so far, and how many of each kind |
//! | `GET /_sandbox/deliveries?wait=&limit=` | the attempts to deliver webhooks; waits up to `wait` seconds until none is left |
//! | `POST /_sandbox/purchases` | many purchases at once: `control/purchases.rs` |
//! | `POST /_sandbox/sessions/{id}/pay`, `/settle` | what the hosted page and the bank do |
//! | `POST /_sandbox/charges/{id}/dispute`, `/_sandbox/disputes/{id}/close` | what the buyer's bank does |
//! | `POST /_sandbox/events/{id}/resend` | what the dashboard's button does |
//! | `POST /_sandbox/accounts` | connects an account: `{"id": "acct_…"}` |
//! | `POST /_sandbox/webhook_endpoints`, `/{id}/roll` | an endpoint with a known secret; a new secret |
//! | `PUT /_sandbox/keys` | what certain keys may not do: `{"rk_test_…": {"refuse": ["/v1/events"], "expired": false}}` |

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
mod shop;
mod signature;
mod table;
mod world;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
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

/// A stand-in for Stripe, for the demo and for tests. No money moves: it accepts any key that looks like Stripe's, and forgets
/// everything when it stops.
///
/// It serves Stripe's API for Checkout payments under /v1, the hosted payment page under /pay, and controls for tests under
/// /_sandbox. Point a client at it with STRIPE_API_BASE=http://127.0.0.1:12111, or the Stripe CLI with
/// `stripe get /v1/events --api-base http://127.0.0.1:12111 --api-key sk_test_any`.
#[derive(Parser, Debug)]
#[expect(clippy::doc_markdown, reason = "this text is what --help prints")]
#[command(name = "surepass-sandbox", version)]
struct Arguments {
    /// Address to listen on; port 0 takes a free port. The first line of the output is the address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
    bind: SocketAddr,
    /// Seed for ids and faults: the same seed gives the same ids and the same faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Webhook endpoint for events of the platform's own account (may be repeated)
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// Webhook endpoint for events of connected accounts (may be repeated)
    #[arg(long, value_name = "URL")]
    webhook_connect: Vec<String>,
    /// Signing secret of these endpoints [default: one for each, which is printed]
    #[arg(
        long,
        value_name = "whsec_…",
        env = "SUREPASS_SANDBOX_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    webhook_secret: Option<SecretString>,
    /// Connected account (may be repeated)
    #[arg(long, value_name = "acct_…")]
    account: Vec<String>,
    /// Timeout of a webhook delivery
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = humantime::parse_duration)]
    delivery_timeout: Duration,
    /// Factor for the delays between webhook retries: 0.001 makes 30 minutes 1.8 s
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    retry_scale: f64,
    /// Time that a bank transfer takes to settle
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    settle_after: Duration,
    /// Faults to inject, as JSON, such as '{"deliveries":{"drop":15},"api":{"error":5}}'
    #[arg(long, value_name = "JSON", value_parser = |text: &str| serde_json::from_str::<FaultOrder>(text))]
    faults: Option<FaultOrder>,
    /// Start time, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME")]
    now: Option<DateTime<Utc>>,
    #[command(flatten)]
    shop: shop::Options,
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

async fn run(mut arguments: Arguments) -> Result<(), String> {
    let shutdown = Shutdown::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let bind = arguments.bind;
    let refused = |error| format!("cannot listen on {bind}: {error}");
    let listener = TcpListener::bind(bind).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let base_url = format!("http://{}", reachable(address));
    let prints_secrets = arguments.webhook_secret.is_none();
    let shop = std::mem::take(&mut arguments.shop);
    let (sandbox, endpoints) = build(arguments, base_url.clone())?;
    let sandbox = Arc::new(sandbox);

    println!("listening on {base_url}");
    for endpoint in endpoints.iter().filter(|_| prints_secrets) {
        println!(
            "webhook {} signed with {}",
            endpoint.url,
            endpoint.secret.expose_secret()
        );
    }
    let shop = shop.open(&base_url, sandbox.clone());
    let shop = shop.map_err(|error| format!("cannot open the shop: {error}"))?;
    let mut servers = vec![server(listener, sandbox.clone()).map_err(refused)?];
    servers.extend(shop);
    tokio::spawn(sandbox.keep_time());

    let handles: Vec<_> = servers.iter().map(Server::handle).collect();
    let stopping = async {
        shutdown.asked().await;
        // Not gracefully: calls that hang, as a fault does, would hold it up.
        futures::future::join_all(handles.iter().map(|handle| handle.stop(false))).await;
    };
    let (ended, ()) = tokio::join!(futures::future::try_join_all(servers), stopping);
    ended.map_err(|error| format!("the server ended: {error}"))?;
    Ok(())
}

/// Stripe's API, its hosted page and the control calls.
fn server(listener: TcpListener, sandbox: Arc<Sandbox>) -> io::Result<Server> {
    let shared = web::Data::from(sandbox);
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
        .keep_alive(Duration::from_mins(1));
    Ok(server.listen(listener)?.run())
}

fn build(arguments: Arguments, base_url: String) -> Result<(Sandbox, Vec<Arc<Endpoint>>), String> {
    if !(arguments.retry_scale.is_finite() && arguments.retry_scale >= 0.0) {
        return Err("--retry-scale must be 0 or greater".to_owned());
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

/// An HTTP client that follows no redirect and gives up after `patience`.
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
