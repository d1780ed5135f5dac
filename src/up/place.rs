//! Where the parts of the system are, and what each of them is told.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::demo::Shop;
use super::{DEMO_KEY, Options, RedisServer, UpError, running};
use crate::config::Settings;

/// What the parts of the system are told.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) redis_url: SecretString,
    pub(super) database_url: SecretString,
    pub(super) webhook_secret: SecretString,
    pub(super) prefix: String,
    pub(super) address: SocketAddr,
    /// Where the demo's Stripe sandbox is.
    pub(super) sandbox: Option<SocketAddr>,
    /// Where the demo's shop is: `http://…`
    pub(super) shop: Option<String>,
    /// What the demo's shop signs tokens with.
    pub(super) jwt_secret: Option<SecretString>,
}

pub(super) fn place(
    settings: &Settings,
    folder: &Path,
    own_redis: Option<&RedisServer>,
    shop: Option<&Shop>,
    options: Options,
) -> Result<Place, UpError> {
    let folder = folder
        .canonicalize()
        .map_err(|error| UpError::Io(folder.display().to_string(), error))?;
    let generated = || secret(&folder.join("webhook-secret"));
    // The demo's purchases must not reach a shop's own records, nor its workers.
    let demo_prefix = || match own_redis {
        Some(_) => settings.queue.prefix.clone(),
        None => format!("{}-demo", settings.queue.prefix),
    };
    let (database_url, webhook_secret, prefix) = if options.demo {
        let database = format!("sqlite://{}", folder.join(running::DATABASE).display());
        (database.into(), generated()?, demo_prefix())
    } else {
        let configured: Vec<&str> = settings
            .stripe
            .webhook_secrets
            .iter()
            .map(ExposeSecret::expose_secret)
            .collect();
        let secrets = if configured.is_empty() {
            generated()?
        } else {
            configured.join(",").into()
        };
        (
            (settings.database.url.clone()).unwrap_or_else(|| running::own_store(&folder)),
            secrets,
            settings.queue.prefix.clone(),
        )
    };
    Ok(Place {
        redis_url: own_redis.map_or_else(|| settings.redis.url_or_default(), RedisServer::url),
        database_url,
        webhook_secret,
        prefix,
        address: free_address(settings.server.bind, options)?,
        sandbox: options
            .demo
            .then(|| free_address(beside(settings, SANDBOX), options))
            .transpose()?,
        shop: shop.map(Shop::origin),
        jwt_secret: shop.map(Shop::jwt_secret),
        folder,
    })
}

impl Place {
    /// What the other commands need to find this system, as a shell reads it.
    pub(super) fn commands_file(&self) -> PathBuf {
        self.folder.join(running::ENVIRONMENT)
    }

    /// Where the demo's Stripe is.
    pub(super) fn stripe(&self) -> String {
        let address = self.sandbox.unwrap_or(SANDBOX);
        format!("http://{address}")
    }
}

/// Writes down where the commands find Redis and the store. Only what is our own: what was configured may hold passwords,
/// and is set for them already.
pub(super) fn tell_commands(place: &Place, settings: &Settings, options: Options) -> Result<(), UpError> {
    let mut lines = Vec::new();
    let mut tell = |name: &str, value: &str| {
        lines.push(format!("export {name}='{}'\n", value.replace('\'', "'\\''")));
    };
    if settings.redis.url.is_none() {
        tell("REDIS_URL", place.redis_url.expose_secret());
    }
    if options.demo || settings.database.url.is_none() {
        tell("DATABASE_URL", place.database_url.expose_secret());
    }
    if options.demo {
        tell("STRIPE_API_BASE", &place.stripe());
        tell("STRIPE_SECRET_KEY", DEMO_KEY);
        tell("SUREPASS_LIVEMODE", "false");
        tell("SUREPASS_DATA_DIR", &place.folder.display().to_string());
        // As private as the webhook secret below, which could make passes: the folder is ours alone, and each demo has others.
        if let Some(secret) = &place.jwt_secret {
            tell("SUREPASS_JWT_SECRET", secret.expose_secret());
        }
    }
    if options.demo || settings.stripe.webhook_secrets.is_empty() {
        tell("STRIPE_WEBHOOK_SECRET", place.webhook_secret.expose_secret());
    }
    if place.prefix != settings.queue.prefix {
        tell("SUREPASS_QUEUE_PREFIX", &place.prefix);
    }
    let file = place.commands_file();
    std::fs::write(&file, lines.concat()).map_err(|error| UpError::Io(file.display().to_string(), error))
}

pub(super) fn environment(
    place: &Place,
    settings: &Settings,
    options: Options,
) -> Vec<(&'static str, SecretString)> {
    let (of_server, of_worker) = if options.demo {
        // Programs that run beside the demo keep their own.
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        (any, any)
    } else {
        (settings.server.metrics_bind, settings.worker.metrics_bind)
    };
    let mut variables = vec![
        ("REDIS_URL", place.redis_url.clone()),
        ("DATABASE_URL", place.database_url.clone()),
        ("STRIPE_WEBHOOK_SECRET", place.webhook_secret.clone()),
        ("SUREPASS_BIND", place.address.to_string().into()),
        ("SUREPASS_SERVER_METRICS_BIND", of_server.to_string().into()),
        ("SUREPASS_METRICS_BIND", of_worker.to_string().into()),
        ("SUREPASS_QUEUE_PREFIX", place.prefix.clone().into()),
    ];
    if options.demo {
        variables.push((
            "RUST_LOG",
            std::env::var("RUST_LOG")
                .unwrap_or_else(|_| "info".to_owned())
                .into(),
        ));
        // The demo has a Stripe of its own, whatever key is set.
        variables.push(("STRIPE_SECRET_KEY", DEMO_KEY.into()));
        variables.push(("SUREPASS_LIVEMODE", "false".into()));
        variables.push(("STRIPE_API_BASE", place.stripe().into()));
    }
    variables
}

/// The webhook secret in `file`, made there at the first start.
fn secret(file: &Path) -> Result<SecretString, UpError> {
    let io = |error| UpError::Io(file.display().to_string(), error);
    match std::fs::read_to_string(file) {
        Ok(secret) if secret.starts_with("whsec_") => return Ok(secret.trim().into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let secret = format!("whsec_{}", hex::encode(rand::random::<[u8; 24]>()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(file)
        .and_then(|mut file| file.write_all(secret.as_bytes()))
        .map_err(io)?;
    Ok(secret.into())
}

/// Where the demo's Stripe is, if nobody else listens there.
const SANDBOX: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_111);

/// Where a part of the demo is wanted: on any port, if that is what the server is set to. So demos that run at the same time, as
/// tests do, keep apart.
pub(super) fn beside(settings: &Settings, wanted: SocketAddr) -> SocketAddr {
    match settings.server.bind.port() {
        0 => SocketAddr::new(wanted.ip(), 0),
        _ => wanted,
    }
}

/// The configured address, if nobody listens there; the demo takes any other rather than fail.
fn free_address(wanted: SocketAddr, options: Options) -> Result<SocketAddr, UpError> {
    let bound = |address| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    match bound(wanted) {
        Ok(address) => Ok(address),
        Err(_) if options.demo => {
            let any = SocketAddr::new(wanted.ip(), 0);
            bound(any).map_err(|_| UpError::AddressTaken(wanted))
        }
        Err(_) => Err(UpError::AddressTaken(wanted)),
    }
}
