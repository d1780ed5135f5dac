//! Finds what `surepass up` keeps on this machine, for programs whose settings name no store and no Redis.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::folder::LOCK;
use crate::config::Settings;

/// The file in which a running `up` writes down where its parts are, as a shell reads it.
pub(super) const ENVIRONMENT: &str = "environment";
pub(super) const DATABASE: &str = "surepass.db";
/// Where in the data folder the demo keeps its own.
pub(super) const DEMO: &str = "demo";

/// Fills in what nobody has set, from the `up` that runs on the data folder, else from its demo, else from the store that an
/// earlier one left there.
/// Returns what to tell the user; `None`: nothing was filled in.
pub fn fill_in(settings: &mut Settings) -> Option<String> {
    let (no_redis, no_store) = (settings.redis.url.is_none(), settings.database.url.is_none());
    if !no_redis && !no_store {
        return None;
    }
    let folder = settings.data_dir.clone();
    let running = [folder.clone(), folder.join(DEMO)];
    if let Some(folder) = running.into_iter().find(|folder| is_running(folder)) {
        let mut filled = Vec::new();
        for (name, value) in told(&folder) {
            match name.as_str() {
                "REDIS_URL" if no_redis => {
                    settings.redis.url = Some(value);
                    filled.push(name);
                }
                "DATABASE_URL" if no_store => {
                    settings.database.url = Some(value);
                    filled.push(name);
                }
                _ => {}
            }
        }
        return (!filled.is_empty()).then(|| {
            format!(
                "using the `surepass up` that runs on {} ({} not set)",
                folder.display(),
                filled.join(" and ")
            )
        });
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

/// Whether an `up` holds its lock.
fn is_running(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn told(folder: &Path) -> Vec<(String, SecretString)> {
    let text = std::fs::read_to_string(folder.join(ENVIRONMENT)).unwrap_or_default();
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
        Some((name.to_owned(), value.replace("'\\''", "'").into()))
    };
    text.lines().filter_map(line).collect()
}
