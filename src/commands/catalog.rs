//! `surepass catalog`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use surepass::config::Settings;
use surepass::store::catalog::CatalogError;
use surepass::store::{Expiry, Pass, Tenant, catalog};

use super::terminal::print_json;
use super::{block_on, open_for_reading, open_or_create_store, table};
use crate::Failure;

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Create or update tenants and passes from a TOML or JSON file (`surepass catalog example` prints one).
    /// What the file does not name is kept; importing twice changes nothing
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
    },
    /// Print an example of a catalogue file, in TOML
    Example,
    /// Show the tenants and their passes
    List {
        /// One JSON document, with the file's keys
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(settings: &Settings, command: Command) -> Result<ExitCode, Failure> {
    block_on(async {
        match command {
            Command::Import { file } => {
                // Read before the store is opened: a bad file changes nothing.
                let mut catalog = catalog::Catalog::read(&file).map_err(|error| refused(&file, error))?;
                let store = open_or_create_store(settings).await?;
                catalog.warn_of_lost_secrets(&store.webhook_secrets(None).await?);
                for warning in &catalog.warnings {
                    eprintln!("warning: {warning}");
                }
                let imported = store.import(&catalog.tenants, &catalog.secrets).await?;
                println!(
                    "tenants: {} new, {} updated; passes: {} new, {} updated; unchanged: {}",
                    imported.tenants_created,
                    imported.tenants_updated,
                    imported.passes_created,
                    imported.passes_updated,
                    imported.unchanged
                );
            }
            Command::Example => print!("{}", include_str!("../../config/catalog.example.toml")),
            Command::List { json } => {
                let store = open_for_reading(settings).await?;
                let tenants = store.tenants().await?;
                if json {
                    print_json(&catalog::to_json(&tenants, &store.webhook_secrets(None).await?))?;
                } else if tenants.is_empty() {
                    println!(
                        "No tenants yet. `surepass catalog example > catalog.toml` writes an example, and `surepass catalog import \
                         catalog.toml` imports it."
                    );
                } else {
                    let rows = tenants.iter().flat_map(|tenant| {
                        let bare = tenant.passes.is_empty().then(|| without_passes(tenant));
                        bare.into_iter()
                            .chain(tenant.passes.iter().map(|pass| row(tenant, pass)))
                    });
                    println!(
                        "{}",
                        table(
                            [
                                "TENANT", "PASS", "NAME", "TYPE", "CLASSES", "PRICE", "VALID", "SOLD"
                            ],
                            rows
                        )
                    );
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Says which file, and all that is wrong in it.
fn refused(file: &Path, error: CatalogError) -> Failure {
    let file = file.display();
    match error {
        CatalogError::Refused(errors) => {
            let lines: Vec<_> = errors.iter().map(|error| format!("\n  {error}")).collect();
            let count = errors.len();
            let errors = if count == 1 {
                "1 error"
            } else {
                &format!("{count} errors")
            };
            format!("{file}: {errors}, nothing was imported{}", lines.concat()).into()
        }
        CatalogError::Malformed { .. } => format!("{file}: {error}; nothing was imported").into(),
        error => error.to_string().into(),
    }
}

fn row(tenant: &Tenant, pass: &Pass) -> [String; 8] {
    [
        tenant.slug.clone(),
        pass.id.clone(),
        pass.name.clone(),
        pass.kind.clone(),
        pass.classes_limit
            .map_or_else(|| "–".to_owned(), |limit| limit.to_string()),
        pass.price.to_string(),
        validity(pass),
        if pass.is_active { "yes" } else { "no" }.to_owned(),
    ]
}

fn without_passes(tenant: &Tenant) -> [String; 8] {
    let mut row = std::array::from_fn(|_| "–".to_owned());
    row[0].clone_from(&tenant.slug);
    "none yet".clone_into(&mut row[1]);
    row
}

fn validity(pass: &Pass) -> String {
    match (&pass.validity.expiry, pass.validity.days) {
        (Some(Expiry::Date(day)), _) => format!("until {day}"),
        (Some(Expiry::Instant(instant)), _) => format!("until {}", instant.format("%Y-%m-%d %H:%MZ")),
        (None, Some(days)) => format!("{days} days"),
        (None, None) => "not told".to_owned(),
    }
}
