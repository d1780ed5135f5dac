//! `surepass catalog`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use surepass::config::Settings;
use surepass::store::catalog::CatalogError;
use surepass::store::{Expiry, Pass, Tenant, catalog};

use super::terminal::{columns, print_json, safe};
use super::{block_on, open_for_reading, open_or_create_store, table};
use crate::Failure;

/// Shown where there is no value.
const NONE: &str = "–";

#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Create or update tenants and passes from a TOML or JSON file
    ///
    /// `surepass catalog example` prints an example. Tenants and passes that the file does not name are kept. Importing the
    /// same file twice changes nothing.
    Import {
        /// The file, or `-` for standard input
        file: PathBuf,
    },
    /// Print an example of a catalog file, in TOML
    Example,
    /// List tenants and their passes
    List {
        /// Print one JSON document with the same keys as the file
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
                catalog.warn_of_lost_secrets(&store.catalog().webhook_secrets(None).await?);
                for warning in &catalog.warnings {
                    eprintln!("warning: {warning}");
                }
                let imported = store.catalog().import(&catalog.tenants, &catalog.secrets).await?;
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
                let tenants = store.catalog().all().await?;
                if json {
                    print_json(&catalog::to_json(
                        &tenants,
                        &store.catalog().webhook_secrets(None).await?,
                    ))?;
                } else if tenants.is_empty() {
                    println!(
                        "No tenants yet. Next:\n  surepass catalog example > catalog.toml\n  surepass catalog import catalog.toml"
                    );
                } else {
                    print(&tenants);
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Names the file and everything that is wrong in it.
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

/// As a table where the terminal is wide enough, else each pass in two lines.
fn print(tenants: &[Tenant]) {
    let rows = tenants.iter().flat_map(|tenant| {
        let bare = tenant.passes.is_empty().then(|| without_passes(tenant));
        bare.into_iter()
            .chain(tenant.passes.iter().map(|pass| row(tenant, pass)))
    });
    let rows: Vec<_> = rows.collect();
    let head = [
        "TENANT", "PASS", "NAME", "TYPE", "CLASSES", "PRICE", "VALID", "SOLD",
    ];
    let table = table(head, rows.iter().cloned()).to_string();
    let width = table.lines().map(|line| line.trim_end().chars().count()).max();
    if columns().is_none_or(|columns| width <= Some(columns)) {
        println!("{table}");
        return;
    }
    for [tenant, pass, name, kind, classes, price, valid, sold] in rows {
        println!("{}  {}  {}", safe(&tenant), safe(&pass), safe(&name));
        if name != NONE {
            let sold = if sold == "yes" { "sold" } else { "no longer sold" };
            let classes = match classes.as_str() {
                NONE => String::new(),
                "1" => ", 1 class".to_owned(),
                classes => format!(", {classes} classes"),
            };
            println!(
                "  {}{classes}, {}, {}, {sold}",
                safe(&kind),
                safe(&price),
                safe(&valid)
            );
        }
    }
}

fn row(tenant: &Tenant, pass: &Pass) -> [String; 8] {
    [
        tenant.slug.clone(),
        pass.id.clone(),
        pass.name.clone(),
        pass.kind.clone(),
        pass.classes_limit
            .map_or_else(|| NONE.to_owned(), |limit| limit.to_string()),
        pass.price.to_string(),
        validity(pass),
        if pass.is_active { "yes" } else { "no" }.to_owned(),
    ]
}

fn without_passes(tenant: &Tenant) -> [String; 8] {
    let mut row = std::array::from_fn(|_| NONE.to_owned());
    row[0].clone_from(&tenant.slug);
    "none yet".clone_into(&mut row[1]);
    row
}

fn validity(pass: &Pass) -> String {
    match (&pass.validity.expiry, pass.validity.days) {
        (Some(Expiry::Date(day)), _) => format!("until {day}"),
        (Some(Expiry::Instant(instant)), _) => format!("until {}", instant.format("%Y-%m-%d %H:%MZ")),
        (None, Some(days)) => format!("{days} days"),
        (None, None) => "not set".to_owned(),
    }
}
