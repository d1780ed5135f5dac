//! Hides what a payload tells of a person.

use serde_json::Value;

/// Names of fields that hold a person's name; the names of things (`passName`) are told.
const NAMES: [&str; 5] = ["name", "customer_name", "customerName", "fullName", "full_name"];

/// Replaces names and emails by what is enough to recognise one's own.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if NAMES.contains(&name.as_str()) => *text = first_letter(text),
                    _ => mask(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::String(text) if text.contains('@') => *text = emails(text),
        _ => {}
    }
}

/// Masks each word with an `@` in it, wherever it stands.
pub(super) fn emails(text: &str) -> String {
    text.split_inclusive(|c: char| c.is_whitespace() || "<>()[]\"'`,;:".contains(c))
        .map(|word| {
            let end = word.trim_end_matches(|c: char| c.is_whitespace() || "<>()[]\"'`,;:".contains(c));
            match end.split_once('@') {
                Some((user, _)) => format!("{}@…{}", first_letter(user), &word[end.len()..]),
                None => word.to_owned(),
            }
        })
        .collect()
}

fn first_letter(text: &str) -> String {
    text.chars().take(1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_emails_are_masked_wherever_they_stand_and_nothing_else() {
        let mut payload = serde_json::json!({
            "cs": "cs_1", "name": "Kari Nordmann", "email": "kari@example.com", "passName": "10 classes",
            "deep": [{"customerName": "Ola", "note": "write to <ola@example.com>, soon"}], "amount": 5,
        });
        mask(&mut payload);
        assert_eq!(
            payload,
            serde_json::json!({
                "cs": "cs_1", "name": "K…", "email": "k…@…", "passName": "10 classes",
                "deep": [{"customerName": "O…", "note": "write to <o…@…>, soon"}], "amount": 5,
            })
        );
    }
}
