//! Where the parts of the system are, and the settings that each of them gets.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::{RedisServer, UpError, running};
use crate::config::Settings;

/// Where the demo's Stripe and shop listen, if these ports are free.
const STRIPE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_111);
const SHOP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12_112);
/// The sandbox takes any key that looks like one.
pub(super) const DEMO_KEY: &str = "sk_test_demo";

/// Where the parts of the system are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) folder: PathBuf,
    pub(super) redis_url: SecretString,
    pub(super) database_url: SecretString,
    pub(super) webhook_secret: SecretString,
    pub(super) prefix: String,
    pub(super) address: SocketAddr,
    pub(super) demo: Option<DemoLayout>,
}

/// The same of what only the demo has.
#[derive(Debug, Clone)]
pub(super) struct DemoLayout {
    stripe: SocketAddr,
    shop: SocketAddr,
    /// The shop signs its customers' tokens with it.
    pub(super) jwt_secret: SecretString,
}

impl Layout {
    /// Chooses addresses and secrets; `own_redis`: the Redis that this `up` has started.
    pub(super) fn new(
        settings: &Settings,
        folder: &Path,
        own_redis: Option<&RedisServer>,
        demo: bool,
    ) -> Result<Self, UpError> {
        let folder = folder
            .canonicalize()
            .map_err(|error| UpError::Io(folder.display().to_string(), error))?;
        let demo = demo.then(|| DemoLayout::new(settings)).transpose()?;
        let configured: Vec<&str> = settings
            .stripe
            .webhook_secrets
            .iter()
            .map(ExposeSecret::expose_secret)
            .collect();
        let webhook_secret = if demo.is_some() || configured.is_empty() {
            webhook_secret(&folder.join("webhook-secret"))?
        } else {
            configured.join(",").into()
        };
        let database_url = match &settings.database.url {
            _ if demo.is_some() => format!("sqlite://{}", folder.join(running::DATABASE).display()).into(),
            Some(url) => url.clone(),
            None => running::own_store(&folder),
        };
        // The demo's purchases must not reach a shop's own records, nor its workers.
        let prefix = match own_redis {
            None if demo.is_some() => format!("{}-demo", settings.queue.prefix),
            _ => settings.queue.prefix.clone(),
        };
        Ok(Self {
            redis_url: own_redis.map_or_else(|| settings.redis.url_or_default(), RedisServer::url),
            database_url,
            webhook_secret,
            prefix,
            address: free_address(settings.server.bind, demo.is_some())?,
            demo,
            folder,
        })
    }

    /// What the other commands need to find this system, as a shell reads it.
    pub(super) fn environment_file(&self) -> PathBuf {
        self.folder.join(running::ENVIRONMENT)
    }

    /// Writes down where the commands find Redis and the store. Only what is our own: what was configured may hold passwords,
    /// and is set for them already.
    pub(super) fn write_environment_file(&self, settings: &Settings) -> Result<(), UpError> {
        let is_demo = self.demo.is_some();
        let mut variables = self.connections();
        variables.retain(|(name, _)| match *name {
            "REDIS_URL" => settings.redis.url.is_none(),
            "DATABASE_URL" => is_demo || settings.database.url.is_none(),
            "STRIPE_WEBHOOK_SECRET" => is_demo || settings.stripe.webhook_secrets.is_empty(),
            "SUREPASS_QUEUE_PREFIX" => self.prefix != settings.queue.prefix,
            _ => true,
        });
        if is_demo {
            variables.push(("SUREPASS_DATA_DIR", self.folder.display().to_string().into()));
        }
        let lines = variables.iter().map(|(name, value)| {
            let value = value.expose_secret().replace('\'', "'\\''");
            format!("export {name}='{value}'\n")
        });
        let file = self.environment_file();
        std::fs::write(&file, lines.collect::<String>())
            .map_err(|error| UpError::Io(file.display().to_string(), error))
    }

    /// The settings of the server and the worker.
    pub(super) fn environment(&self, settings: &Settings) -> Vec<(&'static str, SecretString)> {
        let mut variables = self.connections();
        let (mut server_metrics, mut worker_metrics) =
            (settings.server.metrics_bind, settings.worker.metrics_bind);
        if let Some(demo) = &self.demo {
            // Programs that run beside the demo keep their own.
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            (server_metrics, worker_metrics) = (any, any);
            let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
            let shop = demo.shop();
            variables.extend([
                ("RUST_LOG", filter.into()),
                (
                    "SUREPASS_SIGN_IN_URL",
                    format!("{shop}/sign-in?return={{return}}").into(),
                ),
                ("SUREPASS_ALLOWED_ORIGINS", shop.into()),
            ]);
        }
        variables.extend([
            ("SUREPASS_BIND", self.address.to_string().into()),
            ("SUREPASS_SERVER_METRICS_BIND", server_metrics.to_string().into()),
            ("SUREPASS_METRICS_BIND", worker_metrics.to_string().into()),
        ]);
        variables
    }

    fn connections(&self) -> Vec<(&'static str, SecretString)> {
        let mut variables = vec![
            ("REDIS_URL", self.redis_url.clone()),
            ("DATABASE_URL", self.database_url.clone()),
            ("STRIPE_WEBHOOK_SECRET", self.webhook_secret.clone()),
            ("SUREPASS_QUEUE_PREFIX", self.prefix.clone().into()),
        ];
        if let Some(demo) = &self.demo {
            variables.extend([
                // The demo has a Stripe of its own, whatever key is set.
                ("STRIPE_API_BASE", demo.stripe().into()),
                ("STRIPE_SECRET_KEY", DEMO_KEY.into()),
                ("SUREPASS_LIVEMODE", "false".into()),
                ("SUREPASS_JWT_SECRET", demo.jwt_secret.clone()),
            ]);
        }
        variables
    }
}

impl DemoLayout {
    fn new(settings: &Settings) -> Result<Self, UpError> {
        // On any port if the server is set to any: so demos that run at the same time, as tests do, keep apart.
        let wanted = |address: SocketAddr| match settings.server.bind.port() {
            0 => SocketAddr::new(address.ip(), 0),
            _ => address,
        };
        Ok(Self {
            stripe: free_address(wanted(STRIPE), true)?,
            shop: free_address(wanted(SHOP), true)?,
            jwt_secret: hex::encode(rand::random::<[u8; 32]>()).into(),
        })
    }

    /// `http://…`
    pub(super) fn stripe(&self) -> String {
        format!("http://{}", self.stripe)
    }

    /// `http://…`
    pub(super) fn shop(&self) -> String {
        format!("http://{}", self.shop)
    }
}

/// The webhook secret in `file`, generated at the first start.
fn webhook_secret(file: &Path) -> Result<SecretString, UpError> {
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

/// The address, if nobody listens there; the demo takes another port rather than fail.
fn free_address(wanted: SocketAddr, is_demo: bool) -> Result<SocketAddr, UpError> {
    let is_free = |address: &SocketAddr| TcpListener::bind(address).is_ok();
    if wanted.port() != 0 {
        if is_free(&wanted) {
            return Ok(wanted);
        }
        if !is_demo {
            return Err(UpError::AddressTaken(wanted));
        }
    }
    // Below the ports that the kernel gives to connections: none takes it before the program does.
    let mut others =
        (0..1_000).map(|_| SocketAddr::new(wanted.ip(), 10_000 + rand::random::<u16>() % 20_000));
    others.find(is_free).ok_or(UpError::AddressTaken(wanted))
}
