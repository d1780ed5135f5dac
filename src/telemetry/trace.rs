//! W3C trace context: which trace a piece of work belongs to, from the webhook's request to the job that it became.

use std::fmt;
use std::str::FromStr;

use tracing::Span;

/// A `traceparent`: the trace, the span in it that work is done for, and whether the trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) flags: u8,
}

/// A header that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent")]
pub struct NoTraceParent;

/// Its only flag that we know: the trace is recorded.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// A new trace. Each call of `random` gives 64 random bits.
    #[must_use]
    pub fn fresh(random: impl Fn() -> u64) -> Self {
        // All zeros is the one value that names nothing.
        let trace = u128::from(random()) << 64 | u128::from(random()).max(1);
        Self {
            trace,
            span: random().max(1),
            flags: SAMPLED,
        }
    }

    /// Puts `span` into the trace that `header` names, or into a fresh one, and answers what to give to those who go on
    /// with the work. The span must not have been entered yet; a field `trace` of it tells the trace's id.
    #[must_use]
    pub fn begin(span: &Span, header: Option<&[u8]>, random: impl Fn() -> u64) -> Self {
        let from_outside = header
            .and_then(|header| std::str::from_utf8(header).ok())
            .and_then(|header| header.parse::<Self>().ok());
        let own = from_outside.unwrap_or_else(|| Self::fresh(random));
        // A fresh one has no parent span that anybody could look up: the collector is to see a root.
        let next = exported(span, from_outside).unwrap_or(own);
        span.record("trace", tracing::field::display(next.trace_id()));
        next
    }

    /// Puts `span`, which must not have been entered yet, into this trace.
    pub fn follow(self, span: &Span) {
        let _ = exported(span, Some(self));
    }

    /// The trace's id: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> impl fmt::Display {
        fmt::from_fn(move |f| write!(f, "{:032x}", self.trace))
    }
}

#[cfg(feature = "otlp")]
use super::otlp::exported;

/// Nothing is exported by this build.
#[cfg(not(feature = "otlp"))]
fn exported(_: &Span, _: Option<TraceParent>) -> Option<TraceParent> {
    None
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Once for each webhook, where `write!` with padded numbers took 2,200 instructions.
        let mut trace = hex::Buffer::<16>::new();
        let mut span = hex::Buffer::<8>::new();
        let mut flags = hex::Buffer::<1>::new();
        let fields = [
            "00",
            trace.format(&self.trace.to_be_bytes()),
            span.format(&self.span.to_be_bytes()),
            flags.format(&[self.flags]),
        ];
        f.write_str(&fields.join("-"))
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Reads a header as <https://www.w3.org/TR/trace-context/#traceparent-header> asks: later versions are read by
    /// their first four fields.
    fn from_str(header: &str) -> Result<Self, NoTraceParent> {
        let mut fields = header.split('-');
        let mut number = |digits: usize| {
            let field = fields.next().filter(|field| field.len() == digits)?;
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            field
                .bytes()
                .all(is_hex)
                .then(|| u128::from_str_radix(field, 16).ok())
                .flatten()
        };
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (number(2), number(32), number(16), number(2))
        else {
            return Err(NoTraceParent);
        };
        if version == 0xff || trace == 0 || span == 0 || (version == 0 && fields.next().is_some()) {
            return Err(NoTraceParent);
        }
        Ok(Self {
            trace,
            span: u64::try_from(span).map_err(|_| NoTraceParent)?,
            flags: u8::try_from(flags).map_err(|_| NoTraceParent)? & SAMPLED,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        assert_eq!(HEADER.parse::<TraceParent>().unwrap().to_string(), HEADER);
    }

    #[test]
    fn what_the_w3c_calls_invalid_is_refused() {
        for header in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319c-+7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(header.parse::<TraceParent>(), Err(NoTraceParent), "{header}");
        }
    }

    #[test]
    fn a_later_version_is_read_by_its_first_four_fields() {
        let later = format!("01{}-what-comes-later", &HEADER[2..]);
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), HEADER);
    }

    #[test]
    fn a_header_that_is_valid_is_taken_and_any_other_makes_a_fresh_trace_of_the_given_randomness() {
        let begin = |header| TraceParent::begin(&Span::none(), header, || 0xabc).to_string();
        let fresh = "00-0000000000000abc0000000000000abc-0000000000000abc-01";
        assert_eq!(begin(Some(HEADER.as_bytes())), HEADER);
        assert_eq!(begin(Some(b"00-\xff")), fresh);
        assert_eq!(begin(None), fresh);
        let never_zero = TraceParent::fresh(|| 0).to_string();
        assert!(never_zero.parse::<TraceParent>().is_ok(), "{never_zero}");
    }
}
