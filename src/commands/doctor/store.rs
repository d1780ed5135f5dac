//! The store: its connection, tables, space and catalog.

use std::path::Path;

use secrecy::ExposeSecret;
use surepass::credentials::check_webhook_secrets;
use surepass::store::{self, KnownTenant, Store, Tenant, sqlite_file};
use surepass::tls::next_step;

use super::redis::size;
use super::report::Report;
use super::{Context, location};

/// A busy day could fill less: a million purchases take about 2 GB.
const LEAST_ROOM: u64 = 512 << 20;

pub(super) async fn check(context: &mut Context, report: &mut Report) {
    let url = context.settings.database.url_or_default();
    let file = sqlite_file(&url);
    let location = match &file {
        Some(file) => file.display().to_string(),
        None => location(url.expose_secret()).to_owned(),
    };
    // Opening a missing file would create it.
    if file.as_ref().is_some_and(|file| !file.exists()) {
        report.wrong(
            "connection",
            format!("there is no SQLite file {location} yet"),
            "run `surepass migrate`, or correct DATABASE_URL",
        );
        return;
    }
    let store = match store::open(&url, &context.settings.store_options()).await {
        Ok(store) => store,
        Err(error) => {
            report.wrong("connection", error.to_string(), "correct DATABASE_URL");
            return;
        }
    };
    let schema = match store.schema().await {
        Ok(schema) => schema,
        Err(error) => {
            report.wrong(
                "connection",
                format!("{location}: {error}"),
                next_step(
                    &error.to_string(),
                    "start the database, or correct DATABASE_URL; meanwhile jobs wait in Redis",
                ),
            );
            return;
        }
    };
    report.good("connection", location);
    let usable = tables(&schema, report);
    if let Some(file) = &file {
        room(folder_of(file), report);
    }
    if usable {
        match store.try_write().await {
            Ok(()) => report.good("writes", "accepted, with room to grow"),
            Err(error) => {
                let fix = match &file {
                    Some(file) => format!(
                        "free space (`df -h {0}`), and make the file and its folder writable for this user",
                        folder_of(file).display()
                    ),
                    None => "see the database's log: usually its disk is full, or it is a replica".to_owned(),
                };
                let message = format!("the store refuses writes: {error}");
                report.wrong("writes", message.as_str(), fix.as_str());
                context.store_refuses = Some((message, fix));
            }
        }
        match store.catalog().all().await {
            Ok(tenants) => {
                catalog(&tenants, report);
                context.tenants = tenants.iter().map(KnownTenant::of).collect();
                secrets(&store, &context.tenants, report).await;
            }
            Err(error) => report.wrong("tenants", error.to_string(), "import the catalog again"),
        }
        context.store = Some(store);
    }
}

/// Whether this program can work on the tables.
fn tables(schema: &store::Schema, report: &mut Report) -> bool {
    let newest = schema.newest;
    let mut usable = false;
    match schema.applied {
        _ if schema.broken.is_some() => report.wrong(
            "tables",
            format!("migration {} failed half-way", schema.broken.unwrap_or_default()),
            "run `surepass migrate` to see the error",
        ),
        None => report.wrong("tables", "not created yet", "run `surepass migrate`"),
        Some(applied) if schema.is_newer() => {
            usable = true;
            report.warn(
                "tables",
                format!(
                    "version {applied}, but this program knows {newest}: a newer program has migrated them"
                ),
                "upgrade the programs on all machines",
            );
        }
        Some(applied) if schema.missing > 0 => {
            report.wrong(
                "tables",
                format!(
                    "version {applied}, {} behind this program's {newest}",
                    schema.missing
                ),
                "run `surepass migrate`; until then `serve` and `surepass-worker` do not start (unless `database.migrate_on_start` is set)",
            );
        }
        Some(applied) => {
            usable = true;
            report.good("tables", format!("up to date (version {applied})"));
        }
    }
    usable
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Free space on the disk of a SQLite file.
fn room(folder: &Path, report: &mut Report) {
    let Ok(disk) = nix::sys::statvfs::statvfs(folder) else {
        return;
    };
    #[expect(clippy::useless_conversion, reason = "smaller types on other systems")]
    let free = u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size()));
    let message = format!("{} free on the disk of {}", size(free), folder.display());
    if free < LEAST_ROOM {
        report.warn(
            "disk",
            message,
            "free space there: on a full disk no pass can be stored",
        );
    } else {
        report.good("disk", message);
    }
}

/// Reports tenants whose webhooks cannot be verified.
async fn secrets(store: &Store, tenants: &[KnownTenant], report: &mut Report) {
    let secrets = match store.catalog().webhook_secrets(None).await {
        Ok(secrets) => secrets,
        Err(error) => {
            return report.wrong("webhookSecrets", error.to_string(), "import the catalog again");
        }
    };
    for tenant in tenants {
        let own = secrets.get(&tenant.id).map_or(&[][..], Vec::as_slice);
        if let Err(misfit) = check_webhook_secrets(own) {
            report.wrong(
                "webhookSecrets",
                format!(
                    "webhooks of {} get 503: a stored webhook secret {misfit}",
                    tenant.slug
                ),
                "correct `webhookSecrets` in the catalog file, and import it again",
            );
        }
    }
}

fn catalog(tenants: &[Tenant], report: &mut Report) {
    let passes: usize = tenants.iter().map(|tenant| tenant.passes.len()).sum();
    let many =
        |count: usize, one: &str, more: &str| format!("{count} {}", if count == 1 { one } else { more });
    let message = format!(
        "{}, {}",
        many(tenants.len(), "tenant", "tenants"),
        many(passes, "pass", "passes")
    );
    if passes == 0 {
        report.warn(
            "catalog",
            format!("{message}: no purchase can be fulfilled"),
            "run `surepass catalog import FILE` (`surepass catalog example` prints one)",
        );
        return;
    }
    match tenants.iter().find(|tenant| tenant.passes.is_empty()) {
        Some(empty) => report.warn(
            "catalog",
            format!("{message}; {} has none", empty.slug),
            "import its passes",
        ),
        None => report.good("catalog", message),
    }
}
