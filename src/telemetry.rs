//! What the programs log, and in which form: to stderr, so that stdout stays for what a command prints.

mod histogram;

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

pub use histogram::Histogram;

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not in the syntax of `tracing`.
    #[error(
        "RUST_LOG (`log.filter`) is `{filter}`: {source}; write for example `info` or `warn,surepass=debug`"
    )]
    Filter {
        /// What was set.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// This process logs already.
    #[error("logging was set up twice: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process. JSON lines carry their span's fields, and those of the spans around it, as
/// `span` and `spans`.
///
/// # Errors
///
/// [`TelemetryError`] if the filter cannot be read, or if the process logs already.
pub fn init(settings: &LogSettings) -> Result<(), TelemetryError> {
    // Its threads announce their start and end; nobody asked, unless they name it.
    let quiet = if settings.filter.contains("actix_server") {
        ""
    } else {
        ",actix_server=warn"
    };
    let filter = EnvFilter::try_new(format!("{}{quiet}", settings.filter)).map_err(|source| {
        TelemetryError::Filter {
            filter: settings.filter.clone(),
            source,
        }
    })?;
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    });

    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match format {
        LogFormat::Pretty => {
            let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            subscriber
                .compact()
                .with_target(false)
                .with_ansi(colours)
                .finish()
                .try_init()?;
        }
        LogFormat::Json => subscriber.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_with_an_example() {
        let settings = LogSettings {
            filter: "surepass=loud".to_owned(),
            format: None,
        };
        let message = init(&settings).unwrap_err().to_string();
        assert!(
            message.starts_with("RUST_LOG (`log.filter`) is `surepass=loud`: "),
            "{message}"
        );
    }
}
