//! The whole system on one machine, with nothing to configure: its own Redis, SQLite, the server and a worker as child
//! processes that are started again when they die.

mod demo;
mod folder;
mod place;
mod redis;
mod running;
pub mod sample;
mod supervisor;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::{Mode, umask};

use crate::config::Settings;
use crate::lookback::LookbackError;
use crate::lookback::reconciliation::ReconcileError;
use crate::shutdown::Shutdown;
use crate::store;
use crate::stripe::api::StripeError;

use demo::Shop;
pub use folder::FolderError;
use place::{Place, beside, environment, place, tell_commands};
pub use redis::{RedisServer, RedisServerError, RedisServerOptions};
pub use running::fill_in;
use supervisor::{Program, Supervisor};

/// What `surepass up` is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub demo: bool,
    pub exit_when_done: bool,
}

/// Why the system did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("{0}: {1}")]
    Io(String, io::Error),
    #[error("another `surepass up` is running in {0}: stop it, or set SUREPASS_DATA_DIR to another folder")]
    Locked(String),
    #[error("{0} is in use: stop the program that listens there, or set SUREPASS_BIND to a free address")]
    AddressTaken(SocketAddr),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Redis(#[from] RedisServerError),
    #[error("DATABASE_URL: {0}")]
    Store(#[from] store::StoreError),
    #[error("the server was not ready within 30 s: {0}")]
    NotReady(String),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Queue(#[from] crate::queue::QueueError),
    #[error(transparent)]
    Case(#[from] crate::unmatched::CaseError),
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Lookback(#[from] LookbackError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    #[error("the address of the Stripe sandbox: {0}")]
    Address(#[from] url::ParseError),
    #[error(transparent)]
    Catalog(#[from] store::catalog::CatalogError),
}

/// The sandbox takes any key that looks like one.
const DEMO_KEY: &str = "sk_test_demo";

/// Brings the system up and keeps it up until Ctrl-C or SIGTERM, or until the demo is over. Answers whether every
/// outcome of the demo was the right one.
///
/// # Errors
/// [`UpError`].
pub async fn run(settings: Settings, options: Options) -> Result<bool, UpError> {
    // Of us and of all that we start: the data are buyers' names and emails.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let shutdown = Shutdown::listen().map_err(|error| UpError::Io("signals".to_owned(), error))?;
    let folder = if options.demo {
        settings.data_dir.join(running::DEMO)
    } else {
        settings.data_dir.clone()
    };
    let _lock = lock(&folder)?;
    let own_redis = if settings.redis.url.is_none() {
        let options = RedisServerOptions {
            folder: folder.clone(),
            append_fsync: Some("always"),
            debug: false,
        };
        Some(RedisServer::start(options).await?)
    } else {
        None
    };
    let shop = options.demo.then(|| Shop::bind(&settings)).transpose()?;
    let place = place(&settings, &folder, own_redis.as_ref(), shop.as_ref(), options)?;
    tell_commands(&place, &settings, options)?;

    let store = store::open(&place.database_url, &settings.store_options()).await?;
    store.migrate().await?;
    if options.demo {
        demo::import_catalog(store.as_ref()).await?;
    }

    let mut supervisor = Supervisor::new(own_redis);
    if let Some(sandbox) = sandbox(&place)? {
        supervisor.keep("sandbox", sandbox, Some(folder.join("sandbox.log")));
    }
    let mut of_server = environment(&place, &settings, options);
    of_server.extend(shop.iter().flat_map(Shop::settings));
    let server = Program::sibling("surepass", &["serve"], of_server);
    let worker = Program::sibling("surepass-worker", &[], environment(&place, &settings, options));
    for (program, name) in [(server, "server"), (worker, "worker")] {
        let program = program.map_err(|error| UpError::Io(name.to_owned(), error))?;
        let log = options.demo.then(|| folder.join(format!("{name}.log")));
        supervisor.keep(name, program, log);
    }
    let shop = shop.map(|shop| shop.open(&place, &settings)).transpose()?;

    let outcome = tokio::select! {
        outcome = present(&place, &store, &settings, options) => match outcome {
            Ok(right) if options.exit_when_done => Ok(right),
            Ok(right) => {
                shutdown.asked().await;
                Ok(right)
            }
            Err(error) => Err(error),
        },
        // A demo that was cut off has shown nothing.
        () = shutdown.asked() => Ok(!options.exit_when_done),
    };
    if !options.exit_when_done {
        println!("Stopping…");
    }
    if let Some(shop) = shop {
        shop.stop(false).await;
    }
    store.close().await;
    supervisor
        .stop(*settings.worker.grace + Duration::from_secs(5))
        .await;
    outcome
}

/// How this program was called, for commands to copy.
fn this_program() -> String {
    let called = std::env::args_os().next();
    called.map_or_else(
        || "surepass".to_owned(),
        |name| PathBuf::from(name).display().to_string(),
    )
}

/// Waits until the system is ready, says where it is, and plays the demo.
async fn present(
    place: &Place,
    store: &Arc<store::Store>,
    settings: &Settings,
    options: Options,
) -> Result<bool, UpError> {
    let client = crate::http_client::http()
        .timeout(Duration::from_secs(10))
        .build()?;
    ready(&client, &format!("http://{}/readyz", place.address)).await?;
    let address = place.address;
    println!("Surepass is up. Webhooks: http://{address}/webhooks/stripe   Status: http://{address}/");
    println!("Data: {}   Stop: Ctrl-C", place.folder.display());
    let file = store::sqlite_file(&place.database_url);
    if let Some(file) =
        file.filter(|file| settings.database.url.is_none() && !file.starts_with(&place.folder))
    {
        println!("Store: {}", file.display());
    }
    let program = this_program();
    let commands = place.commands_file();
    if !options.demo {
        println!(
            "Next: . {}; then {program} jobs list, {program} subscriptions list",
            commands.display()
        );
        if settings.stripe.webhook_secrets.is_empty() {
            let file = place.folder.join("webhook-secret");
            println!(
                "STRIPE_WEBHOOK_SECRET is not set: events must be signed with the secret in {}.",
                file.display()
            );
        }
        return Ok(true);
    }
    ready(&client, &format!("{}/_sandbox/clock", place.stripe())).await?;
    let played = demo::play(&client, place, store, settings).await?;
    println!(
        "List the subscriptions:\n  . {}; {program} subscriptions list",
        commands.display()
    );
    if !options.exit_when_done {
        println!(
            "Buy a pass as a customer, in the demo's own shop:\n  {}/",
            place.shop.as_deref().unwrap_or_default()
        );
        println!("Pay for a pass on the sandbox's hosted page:\n  {}", played.page);
        println!(
            "Check that everybody who paid has a pass:\n  . {}; {program} doctor",
            commands.display()
        );
    }
    Ok(played.right)
}

async fn ready(client: &reqwest::Client, url: &str) -> Result<(), UpError> {
    let mut last = String::new();
    for _ in 0..600 {
        match client.get(url).send().await {
            Ok(response) if response.status().is_success() => return Ok(()),
            Ok(response) => last = response.text().await.unwrap_or_default(),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(UpError::NotReady(last))
}

/// The demo's Stripe, which sends its webhooks to the server. Ids follow from the seed, and those of an earlier demo are in the
/// store already.
fn sandbox(place: &Place) -> Result<Option<Program>, UpError> {
    let Some(address) = place.sandbox else {
        return Ok(None);
    };
    let webhook = format!("http://{}/webhooks/stripe", place.address);
    let (bind, seed) = (address.to_string(), rand::random::<u32>().to_string());
    let arguments = ["--bind", &bind, "--seed", &seed, "--webhook", &webhook];
    let environment = vec![("SUREPASS_SANDBOX_WEBHOOK_SECRET", place.webhook_secret.clone())];
    let program = Program::sibling("surepass-sandbox", &arguments, environment);
    program
        .map(Some)
        .map_err(|error| UpError::Io("sandbox".to_owned(), error))
}

/// One `up` for each folder.
fn lock(folder: &Path) -> Result<File, UpError> {
    let io = |error| UpError::Io(folder.display().to_string(), error);
    folder::keep_private(folder)?;
    let file = File::create(folder.join(folder::LOCK)).map_err(io)?;
    // A command that looks whether an `up` runs holds it for a moment.
    for _ in 0..20 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(std::fs::TryLockError::Error(error)) => return Err(io(error)),
        }
    }
    Err(UpError::Locked(folder.display().to_string()))
}
