//! Finds what `surepass up` keeps on this machine, for programs whose settings name no store and no Redis.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::folder::LOCK;
use crate::config::Settings;

/// The file in which a running `up` writes down where its parts are, as a shell reads it.
pub(super) const ENVIRONMENT: &str = "environment";
pub(super) const DATABASE: &str = "surepass.db";
/// Where in the data folder the demo keeps its own.
pub(super) const DEMO: &str = "demo";

/// Fills in what nobody has set: from the `up` that is running in the data folder, else from its demo, else from the store that
/// an earlier one left there. Returns a message for the user; `None`: nothing was filled in.
pub fn fill_in(settings: &mut Settings) -> Option<String> {
    let (no_redis, no_store) = (settings.redis.url.is_none(), settings.database.url.is_none());
    if !no_redis && !no_store {
        return None;
    }
    let folder = settings.data_dir.clone();
    let running = [folder.clone(), folder.join(DEMO)];
    if let Some(folder) = running.into_iter().find(|folder| is_running(folder)) {
        let written = read_environment(&folder);
        let no_key = settings.stripe.secret_key.is_none();
        let filled: Vec<String> = written
            .into_iter()
            .filter_map(|(name, value)| take_over(settings, no_key, &name, value).then_some(name))
            .collect();
        let (last, others) = filled.split_last()?;
        let names = match others {
            [] => last.clone(),
            others => format!("{} and {last}", others.join(", ")),
        };
        return Some(format!(
            "using the `surepass up` that is running in {} ({names} not set)",
            folder.display()
        ));
    }
    if no_store && let Some(file) = left_store(&folder) {
        settings.database.url = Some(url(&file));
        return Some(format!(
            "using {}, the store of `surepass up` (DATABASE_URL not set)",
            file.display()
        ));
    }
    None
}

/// Sets what nobody has set. Only what belongs to the system that runs: its addresses, its queue, its secrets and its Stripe.
fn take_over(settings: &mut Settings, no_key: bool, name: &str, value: SecretString) -> bool {
    let text = value.expose_secret();
    match name {
        "REDIS_URL" if settings.redis.url.is_none() => settings.redis.url = Some(value),
        "DATABASE_URL" if settings.database.url.is_none() => settings.database.url = Some(value),
        "STRIPE_WEBHOOK_SECRET" if settings.stripe.webhook_secrets.is_empty() => {
            settings.stripe.webhook_secrets = vec![value];
        }
        "SUREPASS_JWT_SECRET"
            if settings.customers.jwt_secret.is_none() && settings.customers.jwks_url.is_none() =>
        {
            settings.customers.jwt_secret = Some(value);
        }
        // The demo's jobs are under a prefix of their own where its Redis is not.
        "SUREPASS_QUEUE_PREFIX" => text.clone_into(&mut settings.queue.prefix),
        // The demo's Stripe: all of it, or nothing.
        "STRIPE_SECRET_KEY" if no_key => settings.stripe.secret_key = Some(value),
        "STRIPE_API_BASE" if no_key => match text.parse() {
            Ok(base) => settings.stripe.api_base = base,
            Err(_) => return false,
        },
        "SUREPASS_LIVEMODE" if no_key && settings.stripe.livemode.is_none() => {
            settings.stripe.livemode = text.parse().ok();
        }
        _ => return false,
    }
    true
}

/// The store in a data folder, if an `up` has made one there.
fn left_store(folder: &Path) -> Option<PathBuf> {
    let file = folder.join(DATABASE);
    file.is_file().then_some(file)
}

/// Where `up` keeps its store: in its data folder, unless the only store here is the one that commands make where nothing is set.
pub(super) fn own_store(folder: &Path) -> SecretString {
    let imported = Path::new(DATABASE);
    if left_store(folder).is_none() && imported.is_file() {
        return url(&std::path::absolute(imported).unwrap_or_else(|_| imported.to_owned()));
    }
    url(&folder.join(DATABASE))
}

fn url(file: &Path) -> SecretString {
    format!("sqlite://{}", file.display()).into()
}

/// Whether the Redis that is set is the one that `up` starts for this folder, as where its `environment` file was sourced.
pub(super) fn is_own_redis(settings: &Settings, folder: &Path) -> bool {
    let written = read_environment(folder);
    settings.redis.url.as_ref().is_some_and(|set| {
        let mut urls = written.iter().filter(|(name, _)| name == "REDIS_URL");
        urls.any(|(_, url)| url.expose_secret() == set.expose_secret())
    })
}

/// Whether an `up` holds its lock.
fn is_running(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn read_environment(folder: &Path) -> Vec<(String, SecretString)> {
    let text = std::fs::read_to_string(folder.join(ENVIRONMENT)).unwrap_or_default();
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.to_owned(), value.replace("'\\''", "'").into()))
    };
    text.lines().filter_map(line).collect()
}
