//! The shop's own records.

use std::path::Path;

use secrecy::ExposeSecret;
use surepass::credentials::check_webhook_secrets;
use surepass::store::{self, KnownTenant, Store, Tenant, sqlite_file};
use surepass::tls::next_step;

use super::redis::size;
use super::report::Report;
use super::{Patient, place};

/// With less, a busy day may fill the disk: a million purchases take some 2 GB.
const LEAST_ROOM: u64 = 512 << 20;

pub(super) async fn check(patient: &mut Patient, report: &mut Report) {
    let url = patient.settings.database.url_or_default();
    let file = sqlite_file(&url);
    let place = match &file {
        Some(file) => file.display().to_string(),
        None => place(url.expose_secret()).to_owned(),
    };
    // To open a file that is not there would make it.
    if file.as_ref().is_some_and(|file| !file.exists()) {
        report.wrong(
            "connection",
            format!("there is no SQLite file {place} yet"),
            "`surepass migrate` makes it, and so does any program's start; or correct DATABASE_URL",
        );
        return;
    }
    let store = match store::open(&url, &patient.settings.store_options()).await {
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
                format!("{place}: {error}"),
                next_step(
                    &error.to_string(),
                    "start the database, or correct DATABASE_URL; meanwhile jobs wait in Redis",
                ),
            );
            return;
        }
    };
    report.good("connection", place);
    let newest = schema.newest;
    let mut usable = false;
    match schema.applied {
        _ if schema.broken.is_some() => report.wrong(
            "tables",
            format!("version {} broke off half-way", schema.broken.unwrap_or_default()),
            "run `surepass migrate` and see what it says",
        ),
        None => report.wrong("tables", "there are none yet", "run `surepass migrate`"),
        Some(applied) if schema.is_newer() => {
            usable = true;
            report.warn(
                "tables",
                format!("version {applied}, and this program knows {newest}: a newer one has been here"),
                "bring all machines to the newer version",
            );
        }
        Some(applied) if schema.missing > 0 => {
            report.wrong(
                "tables",
                format!(
                    "version {applied}, {} behind this program's {newest}",
                    schema.missing
                ),
                "run `surepass migrate`; until then `serve` and `surepass-worker` do not start (but for `database.migrate_on_start`)",
            );
        }
        Some(applied) => {
            usable = true;
            report.good("tables", format!("up to date (version {applied})"));
        }
    }
    if let Some(file) = &file {
        room(folder_of(file), report);
    }
    if usable {
        match store.try_write().await {
            Ok(()) => report.good("writes", "it takes writes, and has room to grow"),
            Err(error) => {
                let mend = match &file {
                    Some(file) => format!(
                        "`df -h {0}`: free space there; the file and its folder must be writable for this user",
                        folder_of(file).display()
                    ),
                    None => "see the database's log: usually its disk is full, or it is a replica".to_owned(),
                };
                let message = format!("the store takes no writes: {error}");
                report.wrong("writes", message.as_str(), mend.as_str());
                patient.store_refuses = Some((message, mend));
            }
        }
        match store.tenants().await {
            Ok(tenants) => {
                catalogue(&tenants, report);
                patient.tenants = tenants.iter().map(KnownTenant::of).collect();
                secrets(&*store, &patient.tenants, report).await;
            }
            Err(error) => report.wrong("tenants", error.to_string(), "import the catalogue again"),
        }
        patient.store = Some(store);
    }
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Of the disk that a SQLite file lies on.
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
            "free space there: without any, no pass can be written",
        );
    } else {
        report.good("disk", message);
    }
}

/// Whether webhooks at the tenants' own endpoints can be verified. Nothing is said of those that can.
async fn secrets(store: &dyn Store, tenants: &[KnownTenant], report: &mut Report) {
    let secrets = match store.webhook_secrets(None).await {
        Ok(secrets) => secrets,
        Err(error) => {
            return report.wrong("webhookSecrets", error.to_string(), "import the catalogue again");
        }
    };
    for tenant in tenants {
        let own = secrets.get(&tenant.id).map_or(&[][..], Vec::as_slice);
        if let Err(misfit) = check_webhook_secrets(own) {
            report.wrong(
                "webhookSecrets",
                format!(
                    "webhooks of {} are answered with 503: a stored webhook secret {misfit}",
                    tenant.slug
                ),
                "correct `webhookSecrets` in the catalogue file and import it again",
            );
        }
    }
}

fn catalogue(tenants: &[Tenant], report: &mut Report) {
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
            "catalogue",
            format!("{message}: no purchase can be told"),
            "`surepass catalog import FILE`; config/catalog.example.toml shows how",
        );
        return;
    }
    match tenants.iter().find(|tenant| tenant.passes.is_empty()) {
        Some(empty) => report.warn(
            "catalogue",
            format!("{message}; {} sells none", empty.slug),
            "import its passes",
        ),
        None => report.good("catalogue", message),
    }
}
