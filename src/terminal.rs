//! What a terminal would obey or hide, and how it is shown instead. Names, emails and errors come from outside: none of them may
//! move the cursor, clear the screen, turn the direction of a line or hide letters.

use std::fmt::Write as _;
use std::io;

/// Whether a terminal obeys this character, or hides it: control characters (C0 and C1), marks of direction, and characters
/// without width.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}' | '\u{feff}'
        )
}

/// The text with each such character as `\u{…}`; one line stays one line.
#[must_use]
pub fn safe(text: &str) -> String {
    escaped(text, |_| false, |safe, c| safe.extend(c.escape_default()))
}

/// The same for what has lines.
#[must_use]
pub fn safe_lines(text: &str) -> String {
    escaped(
        text,
        |c| matches!(c, '\n' | '\t'),
        |safe, c| safe.extend(c.escape_default()),
    )
}

/// A JSON document with each such character as `\uXXXX`, but for its line breaks.
#[must_use]
pub fn safe_json(document: &str) -> String {
    // All of them have no more than 16 bits. Writing to a `String` cannot fail.
    let json = |safe: &mut String, c| {
        let _ = write!(safe, "\\u{:04x}", u32::from(c));
    };
    escaped(document, |c| c == '\n', json)
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) && !is_kept(c) {
            escape(&mut safe, c);
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Standard error for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogOutput {
    pub(crate) json: bool,
}

impl LogOutput {
    /// The log escapes control characters below 128 in what it is given, and uses them itself for colours.
    fn shown(self, line: &str) -> Option<String> {
        let is_kept = |c: char| c.is_ascii();
        line.chars().any(|c| is_obeyed(c) && !is_kept(c)).then(|| {
            if self.json {
                escaped(line, is_kept, |safe, c| {
                    let _ = write!(safe, "\\u{:04x}", u32::from(c));
                })
            } else {
                escaped(line, is_kept, |safe, c| safe.extend(c.escape_default()))
            }
        })
    }
}

impl io::Write for LogOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = std::str::from_utf8(bytes)
            .ok()
            .filter(|line| !line.is_ascii())
            .and_then(|line| self.shown(line));
        let bytes_shown = shown.as_ref().map_or(bytes, |shown| shown.as_bytes());
        io::stderr().write_all(bytes_shown)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind.
    const OBEYED: &str =
        "\u{1b}\u{7f}\u{9b}\u{85}\u{202a}\u{202e}\u{2066}\u{2069}\u{61c}\u{ad}\u{200b}\u{200f}\u{feff}";

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_shown_and_not_sent() {
        assert_eq!(
            safe("a\u{1b}[31mb\r\n\u{9b}2J\u{202e}é ☃"),
            "a\\u{1b}[31mb\\r\\n\\u{9b}2J\\u{202e}é ☃"
        );
        for c in OBEYED.chars() {
            assert!(is_obeyed(c), "{c:?}");
        }
        assert_eq!(safe_lines("a\tb\n\rc"), "a\tb\n\\rc");
    }

    #[test]
    fn json_stays_json_of_the_same_text() {
        let document = serde_json::to_string_pretty(&serde_json::json!({ "name": OBEYED })).unwrap();
        let safe = safe_json(&document);
        assert!(!safe.chars().any(|c| is_obeyed(c) && c != '\n'), "{safe:?}");
        let read: serde_json::Value = serde_json::from_str(&safe).unwrap();
        assert_eq!(read["name"], OBEYED);
    }

    #[test]
    fn a_line_of_the_log_keeps_its_colours_and_nothing_from_outside() {
        let (pretty, json) = (LogOutput { json: false }, LogOutput { json: true });
        assert_eq!(
            pretty.shown("\u{1b}[31mé\u{202e}\u{9b}").unwrap(),
            "\u{1b}[31mé\\u{202e}\\u{9b}"
        );
        assert_eq!(
            json.shown("{\"a\":\"é\u{feff}\"}\n").unwrap(),
            "{\"a\":\"é\\ufeff\"}\n"
        );
        assert_eq!(pretty.shown("é ☃"), None);
    }
}
