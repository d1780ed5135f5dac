//! What the programs tell of themselves. A log on stderr, so that stdout stays for what a command prints; and spans for a
//! collector, where there is one.

#[cfg(feature = "otlp")]
mod otlp;
mod trace;

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::terminal::LogOutput;

pub use trace::TraceParent;

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
    /// There is an endpoint for spans, and it cannot be used.
    #[cfg(feature = "otlp")]
    #[error(
        "OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}; give it an address such as http://127.0.0.1:4318, or unset it"
    )]
    Collector(#[from] otlp::CollectorError),
}

/// Marks the work of a span as failed, for the collector. `code` is a stable word: never an error's own text.
pub fn failed(span: &tracing::Span, code: &str) {
    #[cfg(feature = "otlp")]
    otlp::failed(span, code);
    #[cfg(not(feature = "otlp"))]
    let _ = (span, code);
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line, for machines.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pretty" => Ok(Self::Pretty),
            "json" => Ok(Self::Json),
            _ => Err("`pretty` or `json`"),
        }
    }
}

/// Telemetry that is on. When it is dropped, spans that wait are sent: at most 3 s, whatever the collector does.
#[derive(Debug)]
#[must_use = "spans are sent until it is dropped"]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    _spans: Option<otlp::Spans>,
}

/// Starts the log for the whole process; and, where `OTEL_EXPORTER_OTLP_ENDPOINT` is set, the export of spans under the
/// name of `program`. JSON lines carry their spans' fields as `spans`, the outermost first.
/// Must be called before there is a runtime.
///
/// # Errors
///
/// [`TelemetryError`] if the filter cannot be read, the endpoint cannot be used, or the process logs already.
#[cfg_attr(
    not(feature = "otlp"),
    expect(unused_variables, reason = "only spans are sent under a name")
)]
pub fn init(
    program: &'static str,
    filter: &str,
    format: Option<LogFormat>,
) -> Result<Telemetry, TelemetryError> {
    // Its threads announce their start and end; nobody asked, unless they name it.
    let quiet = if filter.contains("actix_server") {
        ""
    } else {
        ",actix_server=warn"
    };
    let directives =
        EnvFilter::try_new(format!("{filter}{quiet}")).map_err(|source| TelemetryError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    });

    let output = LogOutput {
        json: format == LogFormat::Json,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(move || output);
    let lines = match format {
        LogFormat::Pretty => {
            let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            lines.compact().with_target(false).with_ansi(colours).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };

    #[cfg(feature = "otlp")]
    if let Some((spans, layer)) = otlp::start(program)? {
        // Spans go to the collector whatever the log's filter leaves out.
        let lines = lines.with_filter(directives).boxed();
        tracing_subscriber::registry()
            .with(vec![lines, layer])
            .try_init()?;
        return Ok(Telemetry { _spans: Some(spans) });
    }
    tracing_subscriber::registry()
        .with(lines)
        .with(directives)
        .try_init()?;
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        _spans: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_with_an_example() {
        let message = init("surepass", "surepass=loud", None).unwrap_err().to_string();
        assert!(
            message.starts_with("RUST_LOG (`log.filter`) is `surepass=loud`: "),
            "{message}"
        );
    }
}
