//! `make bench`: how fast Surepass is on this machine, and how near to the limit: bare code that does the same work
//! without us, and is part of the benchmark. Each figure is the median of three interleaved rounds.
//!
//! `cargo bench --bench surepass -- intake post` runs only the named sections.

mod bare_consumer;
mod bare_server;
mod beside;
mod conditions;
mod cost;
#[path = "../../workers/fulfil.rs"]
mod fulfil;
mod intake;
mod load;
mod post;
#[path = "../../workers/purchase_log.rs"]
mod purchase_log;
mod queue;
mod report;
mod requests;
mod scale;
mod stock;
mod streams;
mod system;
mod whole;

use report::Table;

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rounds, each with every variant once: what else the machine does meets all of them alike.
pub(crate) const ROUNDS: usize = 3;

type Section = (&'static str, fn(&tokio::runtime::Runtime) -> Outcome<Table>);

const SECTIONS: [Section; 8] = [
    ("intake", intake::measure),
    ("queue", queue::measure),
    ("whole", whole::measure),
    ("post", post::measure),
    ("cost", cost::measure),
    ("scale", scale::measure),
    ("beside", beside::measure),
    ("streams", streams::measure),
];

fn main() -> Outcome<()> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        // Cargo adds `--bench`.
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|name| !SECTIONS.iter().any(|section| section.0 == **name))
    {
        return Err(format!(
            "no section `{unknown}`: there are {}",
            SECTIONS.map(|one| one.0).join(", ")
        )
        .into());
    }
    // As in production: a span that nobody records costs less than one that is there for the next warning.
    let settings = surepass::config::Settings::load_from(|name| {
        (name == "RUST_LOG").then(|| "info,apalis_core=warn".to_owned())
    })?;
    let _telemetry = surepass::telemetry::init("surepass-bench", &settings.log.filter, settings.log.format)?;
    // One thread, as `surepass-worker` has.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    println!("{}", conditions::told());
    for (name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            println!("{}", measure(&runtime)?);
        }
    }
    println!("{}", conditions::load());
    Ok(())
}
