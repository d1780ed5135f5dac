//! Lays the sources of settings over each other, and says which of them is wrong.

use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat, Map, Source, Value, ValueKind};

use super::Settings;
use crate::credentials::{Misfit, is_quoted};
use crate::tls::{self, TrustError};

/// The environment variables that are settings, with their keys.
pub const VARIABLES: [(&str, &str); 26] = [
    ("REDIS_URL", "redis.url"),
    ("DATABASE_URL", "database.url"),
    ("SUREPASS_MIGRATE_ON_START", "database.migrate_on_start"),
    ("STRIPE_SECRET_KEY", "stripe.secret_key"),
    ("SUREPASS_LIVEMODE", "stripe.livemode"),
    ("STRIPE_WEBHOOK_SECRET", "stripe.webhook_secrets"),
    ("STRIPE_API_BASE", "stripe.api_base"),
    ("SUREPASS_STRIPE_RATE", "stripe.rate_per_second"),
    ("SANITY_API_TOKEN", "sanity.token"),
    ("SANITY_API_BASE", "sanity.base"),
    ("SANITY_API_VERSION", "sanity.version"),
    ("SUREPASS_BIND", "server.bind"),
    ("SUREPASS_PUBLIC_URL", "server.public_url"),
    ("SUREPASS_ADMIN_TOKEN", "admin.token"),
    ("SUREPASS_JWT_SECRET", "customers.jwt_secret"),
    ("SUREPASS_JWKS_URL", "customers.jwks_url"),
    ("SUREPASS_ALLOWED_ORIGINS", "customers.allowed_origins"),
    ("SUREPASS_SIGN_IN_URL", "customers.sign_in_url"),
    ("SUREPASS_ADDRESS_HEADER", "customers.address_header"),
    ("SUREPASS_DATA_DIR", "data_dir"),
    ("SUREPASS_SERVER_METRICS_BIND", "server.metrics_bind"),
    ("SUREPASS_METRICS_BIND", "worker.metrics_bind"),
    ("SUREPASS_QUEUE_PREFIX", "queue.prefix"),
    ("SUREPASS_QUEUE_INBOX", "queue.inbox"),
    ("RUST_LOG", "log.filter"),
    ("SUREPASS_LOG_FORMAT", "log.format"),
];

const FOLDER: &str = "SUREPASS_CONFIG";
const DEFAULT_FOLDER: &str = "config";
const ENVIRONMENT: &str = "SUREPASS_ENV";
const DEFAULTS: &str = include_str!("../../config/default.toml");

/// What is wrong with the settings, where, and what to do. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `SUREPASS_CONFIG` or `SUREPASS_ENV` names what is not there.
    #[error(
        "{variable} asks for {path}, which is not there: create it, correct {variable}, or leave it unset"
    )]
    Absent {
        /// The variable that asks for it.
        variable: &'static str,
        /// The folder or file.
        path: PathBuf,
    },
    /// `SUREPASS_ENV` is not the name of a file.
    #[error("SUREPASS_ENV is `{0}`: use letters, digits, `-` and `_`, as in `production`")]
    Environment(String),
    /// A file cannot be read or is not TOML.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the reader says, with line and column where there is one.
        reason: String,
    },
    /// A file has a key that is no setting, usually a slip of the pen that would otherwise go unseen.
    #[error("{path}: there is no setting `{key}`; here it could be one of: {known}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key with its section.
        key: String,
        /// The keys that this place has, with commas between them.
        known: String,
    },
    /// Stripe's API or the customers' keys are at an https address, and what to trust there is not known.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A value cannot be used.
    #[error("{place} {problem}")]
    Value {
        /// The variable, or the key and the file, that set it.
        place: String,
        /// What it must be.
        problem: String,
    },
}

/// A source of settings: where it comes from, its text, and its keys.
struct Layer {
    path: PathBuf,
    text: String,
    keys: Map<String, Value>,
}

impl Settings {
    /// The settings of this process, out of its environment and the files that it names.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the first thing that is wrong.
    pub fn load() -> Result<Self, ConfigError> {
        let settings =
            Self::load_from(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))?;
        // Redis and the store see to it where they are opened.
        let stripe = settings
            .stripe
            .secret_key
            .is_some()
            .then_some(&settings.stripe.api_base);
        stripe
            .into_iter()
            .chain(&settings.customers.jwks_url)
            .try_for_each(tls::check_for)?;
        Ok(settings)
    }

    /// The same with `variable` in the place of the environment. An empty variable counts as unset, since that is what
    /// `${NAME:-}` in a compose file makes of an unset one.
    ///
    /// # Errors
    ///
    /// As [`Settings::load`].
    pub fn load_from(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let folder = variable(FOLDER);
        let in_folder = PathBuf::from(folder.as_deref().unwrap_or(DEFAULT_FOLDER));
        let names = VARIABLES.iter().map(|(name, _)| *name);
        for name in names.chain([FOLDER, ENVIRONMENT]) {
            if variable(name).is_some_and(|value| is_quoted(value.trim())) {
                return Err(ConfigError::Value {
                    place: name.to_owned(),
                    problem: Misfit::Quoted.to_string(),
                });
            }
        }
        let layers = layers(folder, variable(ENVIRONMENT))?;

        let wrong = |error| {
            let (key, problem) = explain(&error);
            ConfigError::Value {
                place: place(&key, &layers, variable),
                problem,
            }
        };

        let mut builder = Config::builder();
        for layer in &layers {
            builder = builder.add_source(File::from_str(&layer.text, FileFormat::Toml));
        }
        for (name, key) in VARIABLES {
            builder = builder.set_override_option(key, variable(name)).map_err(wrong)?;
        }
        let mut settings: Self = builder.build().and_then(Config::try_deserialize).map_err(wrong)?;
        if *settings.queue.backoff_base > *settings.queue.backoff_cap {
            return Err(ConfigError::Value {
                place: place("queue.backoff_base_ms", &layers, variable),
                problem: "must not be longer than `queue.backoff_cap_seconds`".to_owned(),
            });
        }
        if let Some(problem) = contradiction(&settings) {
            return Err(ConfigError::Value {
                place: place("stripe.livemode", &layers, variable),
                problem,
            });
        }
        settings.folder = in_folder;
        Ok(settings)
    }
}

/// How `stripe.livemode` contradicts the key.
fn contradiction(settings: &Settings) -> Option<String> {
    let set = settings.stripe.livemode?;
    let live = settings.stripe.livemode_of_key()?;
    let key = if live {
        "a live key (…_live_…)"
    } else {
        "a test key (…_test_…)"
    };
    (set != live).then(|| {
        format!(
            "is {set}, but STRIPE_SECRET_KEY is {key}: probably one of the two is another environment's; correct it, or leave \
             `stripe.livemode` unset, as the key says it already"
        )
    })
}

/// The layers that are there, from the weakest to the strongest, their keys checked.
fn layers(folder: Option<String>, environment: Option<String>) -> Result<Vec<Layer>, ConfigError> {
    let defaults = Layer::parse(PathBuf::from("default.toml (compiled in)"), DEFAULTS.to_owned())?;

    let asked_for_folder = folder.is_some();
    let folder = PathBuf::from(folder.unwrap_or_else(|| DEFAULT_FOLDER.to_owned()));
    if asked_for_folder && !folder.is_dir() {
        return Err(ConfigError::Absent {
            variable: FOLDER,
            path: folder,
        });
    }
    let asked_for_environment = environment.is_some();
    let environment = environment.unwrap_or_else(|| "development".to_owned());
    if !environment
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    {
        return Err(ConfigError::Environment(environment));
    }

    let of_environment = Layer::read(folder.join(format!("{environment}.toml")))?;
    if asked_for_environment && of_environment.is_none() {
        let path = folder.join(format!("{environment}.toml"));
        return Err(ConfigError::Absent {
            variable: ENVIRONMENT,
            path,
        });
    }
    let mut layers = vec![defaults];
    for layer in [Layer::read(folder.join("default.toml"))?, of_environment]
        .into_iter()
        .flatten()
    {
        check_keys(&layer.path, "", &layer.keys, &layers[0].keys)?;
        layers.push(layer);
    }
    Ok(layers)
}

impl Layer {
    /// `None` where there is no such file.
    fn read(path: PathBuf) -> Result<Option<Self>, ConfigError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(path, text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ConfigError::File {
                path,
                reason: error.to_string(),
            }),
        }
    }

    fn parse(path: PathBuf, text: String) -> Result<Self, ConfigError> {
        match File::from_str(&text, FileFormat::Toml).collect() {
            Ok(keys) => Ok(Self { path, text, keys }),
            Err(error) => Err(ConfigError::File {
                path,
                reason: without_excerpt(&error),
            }),
        }
    }

    fn has(&self, key: &str) -> bool {
        let mut keys = &self.keys;
        let mut words = key.split('.').peekable();
        while let Some(word) = words.next() {
            match keys.get(word).map(|value| &value.kind) {
                Some(_) if words.peek().is_none() => return true,
                Some(ValueKind::Table(inner)) => keys = inner,
                _ => return false,
            }
        }
        false
    }
}

/// Every key of a file is one of the reference's, at any depth.
fn check_keys(
    path: &Path,
    section: &str,
    keys: &Map<String, Value>,
    reference: &Map<String, Value>,
) -> Result<(), ConfigError> {
    for (name, value) in keys {
        let key = if section.is_empty() {
            name.clone()
        } else {
            format!("{section}.{name}")
        };
        let Some(known) = reference.get(name) else {
            let mut known: Vec<_> = reference.keys().map(String::as_str).collect();
            known.sort_unstable();
            return Err(ConfigError::UnknownKey {
                path: path.to_owned(),
                key,
                known: known.join(", "),
            });
        };
        if let (ValueKind::Table(keys), ValueKind::Table(reference)) = (&value.kind, &known.kind) {
            check_keys(path, &key, keys, reference)?;
        }
    }
    Ok(())
}

/// What set `key`: its variable, else the strongest layer that has it.
fn place(key: &str, layers: &[Layer], variable: impl Fn(&str) -> Option<String>) -> String {
    let name = VARIABLES
        .iter()
        .find(|(_, its_key)| *its_key == key)
        .map(|(name, _)| *name);
    if let Some(name) = name.filter(|name| variable(name).is_some()) {
        return name.to_owned();
    }
    let layer = layers.iter().rev().find(|layer| layer.has(key));
    layer.map_or_else(
        || format!("`{key}`"),
        |layer| format!("{}: `{key}`", layer.path.display()),
    )
}

/// The key at fault, and the words that follow it.
fn explain(error: &config::ConfigError) -> (String, String) {
    match error {
        config::ConfigError::At { error, key, .. } => {
            let (inner, problem) = explain(error);
            (key.clone().unwrap_or(inner), problem)
        }
        config::ConfigError::Type { expected, key, .. } => {
            (key.clone().unwrap_or_default(), format!("must be {expected}"))
        }
        config::ConfigError::NotFound(key) => (key.clone(), "is missing".to_owned()),
        other => (String::new(), other.to_string()),
    }
}

/// TOML's errors quote the line at fault, in which there may be a secret: the place and the reason are enough.
fn without_excerpt(error: &config::ConfigError) -> String {
    let text = error.to_string();
    let quoted = |line: &&str| {
        !line
            .trim_start()
            .starts_with(|first: char| first.is_ascii_digit() || first == '|')
    };
    text.lines().filter(quoted).collect::<Vec<_>>().join(": ")
}
