//! Takes the fields of a JSON object one by one, and says which one is wrong, where.

use std::fmt::Write;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// What is left of an object. A value that is `null` counts as absent.
pub(super) struct Fields {
    place: String,
    object: Map<String, Value>,
}

impl Fields {
    /// `place` names the object in errors.
    pub(super) fn new(place: String, value: Value) -> Result<Self, String> {
        match value {
            Value::Object(object) => Ok(Self { place, object }),
            other => Err(format!(
                "{place}: expected a table of fields, found {}",
                kind(&other)
            )),
        }
    }

    pub(super) fn name(&mut self, place: String) {
        self.place = place;
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// An error about one field. `what` quotes no secret.
    pub(super) fn refusal(&self, field: &str, what: &str) -> String {
        format!("{}: `{field}`: {what}", self.place)
    }

    fn mismatch(&self, field: &str, expected: &str, found: &Value) -> String {
        self.refusal(field, &format!("expected {expected}, found {}", kind(found)))
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.object.get(field).is_some_and(|value| !value.is_null())
    }

    fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    /// Trimmed; empty is refused.
    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, String> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => Err(self.refusal(field, "it is empty")),
            Some(Value::String(text)) => Ok(Some(text.trim().to_owned())),
            Some(other) => Err(self.mismatch(field, "a text", &other)),
        }
    }

    pub(super) fn required_text(&mut self, field: &str) -> Result<String, String> {
        self.text(field)?
            .ok_or_else(|| self.refusal(field, "it is missing"))
    }

    pub(super) fn integer(&mut self, field: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, String> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        let Some(integer) = value.as_i64() else {
            return Err(self.mismatch(field, "a whole number", &value));
        };
        if range.contains(&integer) {
            return Ok(Some(integer));
        }
        let mut what = format!("{integer} is too ");
        // Writing to a `String` cannot fail.
        let _ = if integer < *range.start() {
            write!(what, "little: at least {}", range.start())
        } else {
            write!(what, "much: at most {}", range.end())
        };
        Err(self.refusal(field, &what))
    }

    pub(super) fn flag(&mut self, field: &str) -> Result<Option<bool>, String> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.mismatch(field, "true or false", &other)),
        }
    }

    /// Absent: empty.
    pub(super) fn list(&mut self, field: &str) -> Result<Vec<Value>, String> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(self.mismatch(field, "a list", &other)),
        }
    }

    pub(super) fn required_list(&mut self, field: &str) -> Result<Vec<Value>, String> {
        if self.object.get(field).is_none_or(Value::is_null) {
            return Err(self.refusal(field, "it is missing"));
        }
        self.list(field)
    }

    /// Each trimmed; an empty one is refused.
    pub(super) fn texts(&mut self, field: &str) -> Result<Vec<String>, String> {
        self.list(field)?
            .into_iter()
            .map(|value| match value {
                Value::String(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
                Value::String(_) => Err(self.refusal(field, "one of its texts is empty")),
                other => Err(self.mismatch(field, "a list of texts", &other)),
            })
            .collect()
    }

    /// Warns of the fields that nobody took.
    pub(super) fn finish(self, warnings: &mut Vec<String>) {
        for field in self.object.keys() {
            warnings.push(format!(
                "{}: the field `{field}` is not known and was left out",
                self.place
            ));
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table of fields",
    }
}
