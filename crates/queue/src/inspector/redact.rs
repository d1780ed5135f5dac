//! Masks personal data in jobs.

use serde_json::Value;

/// A shorter text may be part of any word.
const SHORTEST: usize = 3;

/// Masks all fields but the plain ones, and leaves enough to recognise one's own. Returns what was masked, for [`text`].
pub(super) fn mask(payload: &mut Value, plain: &[&str]) -> Vec<String> {
    let mut hidden = Vec::new();
    // A payload that is no object has no fields to judge by.
    mask_value(payload, true, plain, &mut hidden);
    // A longer one may hold a shorter one.
    hidden.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
    hidden
}

fn mask_value(value: &mut Value, is_plain: bool, plain: &[&str], hidden: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                mask_value(value, plain.contains(&name.as_str()), plain, hidden);
            }
        }
        Value::Array(values) => {
            for value in values {
                mask_value(value, is_plain, plain, hidden);
            }
        }
        Value::String(text) if is_plain => *text = emails(text),
        Value::String(text) => {
            let masked = initial(text);
            hidden.push(std::mem::replace(text, masked));
        }
        Value::Number(number) if !is_plain => {
            hidden.push(number.to_string());
            *value = "…".into();
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Masks in a text what was hidden in its job's payload, and each email.
pub(super) fn text(text: &str, hidden: &[String]) -> String {
    let hidden = hidden.iter().filter(|one| one.chars().count() >= SHORTEST);
    let masked = hidden.fold(text.to_owned(), |text, one| text.replace(one, &initial(one)));
    emails(&masked)
}

/// Masks each email in a text: `a@b`, `"a b"@c`, `a%40b`.
pub(super) fn emails(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some((at, sign)) = ["@", "%40"]
        .into_iter()
        .filter_map(|sign| Some((rest.find(sign)?, sign)))
        .min()
    {
        let (before, behind) = (&rest[..at], &rest[at + sign.len()..]);
        let start = match before.strip_suffix('"') {
            Some(quoted) => quoted.rfind('"').unwrap_or(0),
            None => before.rfind(ends_an_email).map_or(0, |last| {
                last + before[last..].chars().next().map_or(0, char::len_utf8)
            }),
        };
        masked.push_str(&before[..start]);
        masked.push_str(&initial(&rest[start..=at]));
        rest = &behind[behind.find(ends_an_email).unwrap_or(behind.len())..];
    }
    masked.push_str(rest);
    masked
}

fn ends_an_email(c: char) -> bool {
    c.is_whitespace() || "<>()[]\"'`,;:=?&/".contains(c)
}

/// The first letter or digit; of an email also that it is one.
fn initial(text: &str) -> String {
    let first = text.chars().find(|c| c.is_alphanumeric());
    let email = if text.contains(['@', '%']) { "@…" } else { "" };
    first.into_iter().chain(['…']).chain(email.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_be_harmless_is_masked_whatever_it_looks_like() {
        let mut payload = serde_json::json!({
            "cs": "cs_1", "name": "Kari Nordmann", "email": "\"kari nordmann\"@example.com", "passName": "10 classes",
            "user": "+47 900 00 000", "ref": "ola%40example.com", "deep": [{"note": "call me", "number": 90_000_000}],
            "amount": 5, "live": true, "customer": {"user": {"id": "Kari Nordmann", "verified_email": "k@x.no"}},
        });
        let hidden = mask(&mut payload, &["cs", "passName", "amount", "live"]);
        assert_eq!(
            payload,
            serde_json::json!({
                "cs": "cs_1", "name": "K…", "email": "k…@…", "passName": "10 classes",
                "user": "4…", "ref": "o…@…", "deep": [{"note": "c…", "number": "…"}],
                "amount": 5, "live": true, "customer": {"user": {"id": "K…", "verified_email": "k…@…"}},
            })
        );
        assert_eq!(
            text("no user Kari Nordmann (+47 900 00 000) at cs_1", &hidden),
            "no user K… (4…) at cs_1"
        );
    }

    #[test]
    fn emails_are_masked_in_any_form_and_nothing_beside_them() {
        for (told, masked) in [
            ("write to <ola@example.com>, soon", "write to <o…@…>, soon"),
            ("no user \"kari nordmann\"@example.com.", "no user k…@…"),
            (
                "/v1/customers?email=kari%40example.com&limit=1",
                "/v1/customers?email=k…@…&limit=1",
            ),
            ("a@b, å@c: d", "a…@…, å…@…: d"),
            ("nobody", "nobody"),
        ] {
            assert_eq!(emails(told), masked);
        }
    }
}
