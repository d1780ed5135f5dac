//! The whole system on one machine, with nothing to configure: its own Redis, SQLite, the server and a worker as child
//! processes that are started again when they die.

mod demo;
mod folder;
mod layout;
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
use crate::shutdown::Shutdown;
use crate::store;

pub use folder::FolderError;
use layout::{DemoLayout, Layout};
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
    /// What a scene of the demo could not do.
    #[error(transparent)]
    Demo(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts the system and keeps it running until Ctrl-C or SIGTERM, or until the demo is over. Returns whether every
/// outcome of the demo was the right one.
///
/// # Errors
/// [`UpError`].
pub async fn run(mut settings: Settings, options: Options) -> Result<bool, UpError> {
    // Of us and of all that we start: the data are buyers' names and emails.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let shutdown = Shutdown::listen().map_err(|error| UpError::Io("signals".to_owned(), error))?;
    let mut folder = settings.data_dir.clone();
    // A shell that has sourced the demo's environment has the demo's folder for its own.
    if options.demo && !folder.ends_with(running::DEMO) {
        folder.push(running::DEMO);
    }
    let _lock = lock(&folder)?;
    if running::is_own_redis(&settings, &folder) {
        settings.redis.url = None;
    }
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
    let layout = Layout::new(&settings, &folder, own_redis.as_ref(), options.demo)?;
    layout.write_environment_file(&settings)?;

    let store = store::open(&layout.database_url, &settings.store_options()).await?;
    store.migrate().await?;
    if options.demo {
        demo::import_catalog(store.as_ref())
            .await
            .map_err(UpError::Demo)?;
    }
    let supervisor = start(&layout, &settings, own_redis)?;

    let outcome = tokio::select! {
        outcome = present(&layout, &store, &settings, options) => match outcome {
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
    store.close().await;
    supervisor
        .stop(*settings.worker.grace + Duration::from_secs(5))
        .await;
    outcome
}

/// Starts the programs. The demo's write logs into its folder: it prints its own lines.
fn start(
    layout: &Layout,
    settings: &Settings,
    own_redis: Option<RedisServer>,
) -> Result<Supervisor, UpError> {
    let mut programs = Vec::new();
    if let Some(demo) = &layout.demo {
        programs.push(("sandbox", sandbox(layout, demo, settings)));
    }
    let environment = layout.environment(settings);
    let server = Program::sibling("surepass", &["serve"], environment.clone());
    programs.push(("server", server));
    programs.push(("worker", Program::sibling("surepass-worker", &[], environment)));
    let mut supervisor = Supervisor::new(own_redis);
    for (name, program) in programs {
        let program = program.map_err(|error| UpError::Io(name.to_owned(), error))?;
        let log = layout.folder.join(format!("{name}.log"));
        supervisor.keep(name, program, layout.demo.is_some().then_some(log));
    }
    Ok(supervisor)
}

/// The demo's Stripe, which sends its webhooks to the server, with the demo's shop. Ids follow from the seed, and those of an
/// earlier demo are in the store already.
fn sandbox(layout: &Layout, demo: &DemoLayout, settings: &Settings) -> io::Result<Program> {
    let surepass = format!("http://{}", layout.address);
    let webhook = format!("{surepass}/webhooks/stripe");
    let seed = rand::random::<u32>().to_string();
    let (stripe, shop) = (demo.stripe(), demo.shop());
    let address = |url: &str| url.trim_start_matches("http://").to_owned();
    let (stripe, shop) = (address(&stripe), address(&shop));
    let mut arguments = vec!["--bind", &stripe, "--seed", &seed, "--webhook", &webhook];
    arguments.extend(["--shop", &shop, "--surepass", &surepass]);
    // Surepass may be set to require these of every token.
    let (issuer, audience) = (&settings.customers.issuer, &settings.customers.audience);
    for (option, value) in [("--jwt-issuer", issuer), ("--jwt-audience", audience)] {
        arguments.extend(value.iter().flat_map(|value| [option, value]));
    }
    let environment = vec![
        ("SUREPASS_SANDBOX_WEBHOOK_SECRET", layout.webhook_secret.clone()),
        ("SUREPASS_JWT_SECRET", demo.jwt_secret.clone()),
    ];
    Program::sibling("surepass-sandbox", &arguments, environment)
}

/// How this program was called, for commands to copy.
fn this_program() -> String {
    let called = std::env::args_os().next();
    called.map_or_else(
        || "surepass".to_owned(),
        |name| PathBuf::from(name).display().to_string(),
    )
}

/// Waits until the system is ready, prints where it is, and plays the demo.
async fn present(
    layout: &Layout,
    store: &Arc<store::Store>,
    settings: &Settings,
    options: Options,
) -> Result<bool, UpError> {
    let client = crate::http_client::http()
        .timeout(Duration::from_secs(10))
        .build()?;
    ready(&client, &format!("http://{}/readyz", layout.address)).await?;
    let address = layout.address;
    println!("Surepass is up. Webhooks: http://{address}/webhooks/stripe   Status: http://{address}/");
    println!("Data: {}   Stop: Ctrl-C", layout.folder.display());
    let file = store::sqlite_file(&layout.database_url);
    if let Some(file) =
        file.filter(|file| settings.database.url.is_none() && !file.starts_with(&layout.folder))
    {
        println!("Store: {}", file.display());
    }
    let program = this_program();
    let environment = layout.environment_file();
    let environment = environment.display();
    let Some(demo) = &layout.demo else {
        println!("Next: . {environment}; then {program} jobs list, {program} subscriptions list");
        if settings.stripe.webhook_secrets.is_empty() {
            let file = layout.folder.join("webhook-secret");
            println!(
                "STRIPE_WEBHOOK_SECRET is not set: events must be signed with the secret in {}.",
                file.display()
            );
        }
        return Ok(true);
    };
    ready(&client, &format!("{}/_sandbox/clock", demo.stripe())).await?;
    let played = Box::pin(demo::play(&client, layout, demo, store, settings)).await;
    let played = played.map_err(UpError::Demo)?;
    println!("List the subscriptions:\n  . {environment}; {program} subscriptions list");
    if !options.exit_when_done {
        println!(
            "Buy a pass as a customer, in the demo's own shop:\n  {}/",
            demo.shop()
        );
        println!("Pay for a pass on the sandbox's hosted page:\n  {}", played.page);
        println!("Check that everybody who paid has a pass:\n  . {environment}; {program} doctor");
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
