//! The parameters of a call: form-encoded and nested, `line_items[0][price]=price_…`. What is asked of them is taken
//! out, and what remains nobody knows.

use serde_json::{Map, Value};

use super::error::ApiError;
use crate::objects::Metadata;

/// Stripe's own deepest is `line_items[0][price_data][product_data][metadata][key]`.
const DEEPEST: usize = 6;

/// Parameters, or those of one that is an object.
#[derive(Debug, Default)]
pub(crate) struct Params {
    /// What these stand in; empty for those of the call itself.
    within: String,
    fields: Map<String, Value>,
}

impl Params {
    /// Reads a query or a form.
    ///
    /// # Errors
    /// Text that is not form-encoded, or nested too deeply.
    pub(crate) fn parse(encoded: &str) -> Result<Self, ApiError> {
        if encoded.is_empty() {
            return Ok(Self::default());
        }
        let config = serde_qs::Config::new().max_depth(DEEPEST).use_form_encoding(true);
        let fields = config
            .deserialize_str(encoded)
            .map_err(|error| ApiError::invalid(format!("Invalid parameters: {error}")))?;
        Ok(Self {
            within: String::new(),
            fields,
        })
    }

    /// The whole name of one of these, as in `line_items[0][price]`.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.within.is_empty() {
            name.to_owned()
        } else {
            format!("{}[{name}]", self.within)
        }
    }

    /// Text. Empty text is there, too: it unsets what it is given for.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(String::new())),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::invalid("Invalid string").param(self.name(name))),
        }
    }

    /// Text that must be there.
    pub(crate) fn required(&mut self, name: &str) -> Result<String, ApiError> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            let name = self.name(name);
            ApiError::invalid(format!("Missing required param: {name}."))
                .code("parameter_missing")
                .param(name)
        })
    }

    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            ApiError::invalid(format!("Invalid integer: {text}"))
                .code("parameter_invalid_integer")
                .param(self.name(name))
        })
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(ApiError::invalid(format!("Invalid boolean: {other}")).param(self.name(name))),
        }
    }

    /// A parameter that is an object, such as `created[gte]`.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>, ApiError> {
        let within = self.name(name);
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { within, fields })),
            Some(_) => Err(ApiError::invalid("Invalid object").param(within)),
        }
    }

    /// Whether a parameter is an object rather than text.
    pub(crate) fn is_object(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(Value::is_object)
    }

    /// A list of objects, `name[0][…]`.
    pub(crate) fn objects(&mut self, name: &str) -> Result<Vec<Self>, ApiError> {
        let within = self.name(name);
        let elements = self.elements(name)?;
        let objects = elements.into_iter().enumerate().map(|(nth, element)| {
            let within = format!("{within}[{nth}]");
            match element {
                Value::Object(fields) => Ok(Self { within, fields }),
                _ => Err(ApiError::invalid("Invalid object").param(within)),
            }
        });
        objects.collect()
    }

    /// A list of texts, `name[]=a&name[]=b` or `name[0]=a`.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, ApiError> {
        let elements = self.elements(name)?;
        let texts = elements.into_iter().map(|element| match element {
            Value::String(text) => Ok(text),
            _ => Err(ApiError::invalid("Invalid string").param(self.name(name))),
        });
        texts.collect()
    }

    fn elements(&mut self, name: &str) -> Result<Vec<Value>, ApiError> {
        let invalid = |within| ApiError::invalid("Invalid array").param(within);
        match self.fields.remove(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(elements)) => Ok(elements),
            Some(Value::Object(fields)) => {
                let numbered = fields
                    .into_iter()
                    .map(|(nth, value)| Some((nth.parse::<u32>().ok()?, value)));
                let mut numbered: Vec<_> = numbered
                    .collect::<Option<_>>()
                    .ok_or_else(|| invalid(self.name(name)))?;
                numbered.sort_by_key(|(nth, _)| *nth);
                Ok(numbered.into_iter().map(|(_, value)| value).collect())
            }
            Some(_) => Err(invalid(self.name(name))),
        }
    }

    /// What the seller attaches: 50 keys of 40 characters, values of 500. `None`: not mentioned.
    pub(crate) fn metadata(&mut self, name: &str) -> Result<Option<Metadata>, ApiError> {
        let whole = self.name(name);
        let Some(given) = self.fields.remove(name) else {
            return Ok(None);
        };
        let fields = match given {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            // Keys that are numbers look like a list.
            Value::Array(elements) => elements
                .into_iter()
                .enumerate()
                .map(|(nth, value)| (nth.to_string(), value))
                .collect(),
            _ => return Err(ApiError::invalid("Invalid hash").param(whole)),
        };
        if fields.len() > 50 {
            let message = "Metadata cannot have more than 50 keys.";
            return Err(ApiError::invalid(message).param(whole));
        }
        let entry = |(key, value): (String, Value)| {
            let value = match value {
                Value::Null => String::new(),
                Value::String(value) => value,
                _ => return Err(ApiError::invalid("Invalid string").param(format!("{whole}[{key}]"))),
            };
            if key.chars().count() > 40 || value.chars().count() > 500 {
                let message = "Metadata keys can have up to 40 characters, values up to 500.";
                return Err(ApiError::invalid(message).param(whole.clone()));
            }
            Ok((key, value))
        };
        fields.into_iter().map(entry).collect::<Result<_, _>>().map(Some)
    }

    /// Leaves these out of what nobody knows: they change nothing that the sandbox does.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.fields.remove(*name);
        }
    }

    /// Refuses what nobody has asked for.
    pub(crate) fn finish(&mut self) -> Result<(), ApiError> {
        let Some(unknown) = self.fields.keys().next() else {
            return Ok(());
        };
        let name = self.name(unknown);
        let message = format!("Received unknown parameter: {name} (or one that this sandbox does not know)");
        Err(ApiError::invalid(message).code("parameter_unknown").param(name))
    }
}

/// Sets what has a value, and takes out what has none.
pub(crate) fn merge(metadata: &mut Metadata, changes: Metadata) {
    for (key, value) in changes {
        if value.is_empty() {
            metadata.remove(&key);
        } else {
            metadata.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_parameters_are_read_as_each_official_client_writes_them() {
        for encoded in [
            "expand[]=a&expand[]=b.c&created[gte]=5&line_items[0][price]=p&metadata[x%20y]=%C3%B8+1",
            "expand[0]=a&expand[1]=b.c&created[gte]=5&line_items[0][price]=p&metadata[x y]=%C3%B8%201",
            "expand%5B0%5D=a&expand%5B1%5D=b.c&created%5Bgte%5D=5&line_items%5B0%5D%5Bprice%5D=p&metadata%5Bx+y%5D=%C3%B8+1",
        ] {
            let mut params = Params::parse(encoded).unwrap();
            assert_eq!(params.texts("expand").unwrap(), ["a", "b.c"], "{encoded}");
            let mut created = params.object("created").unwrap().unwrap();
            assert_eq!(created.integer("gte").unwrap(), Some(5));
            let mut items = params.objects("line_items").unwrap();
            assert_eq!(items[0].required("price").unwrap(), "p");
            let metadata = params.metadata("metadata").unwrap().unwrap();
            assert_eq!(metadata["x y"], "ø 1", "{encoded}");
            params.finish().unwrap();
        }
    }

    #[test]
    fn ten_and_more_elements_keep_their_order() {
        let encoded: Vec<_> = (0..12).map(|nth| format!("types[{nth}]=t{nth}")).collect();
        let mut params = Params::parse(&encoded.join("&")).unwrap();
        let expected: Vec<_> = (0..12).map(|nth| format!("t{nth}")).collect();
        assert_eq!(params.texts("types").unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_whole_name() {
        let mut params = Params::parse("line_items[0][quantity]=x&colour=red&customer=").unwrap();
        let mut items = params.objects("line_items").unwrap();
        let error = items[0].integer("quantity").unwrap_err().json();
        assert_eq!(error["error"]["param"], "line_items[0][quantity]");
        let error = items[0].required("price").unwrap_err().json();
        assert_eq!(
            error["error"]["message"],
            "Missing required param: line_items[0][price]."
        );
        assert_eq!(params.text("customer").unwrap().as_deref(), Some(""));
        let error = params.finish().unwrap_err().json();
        assert_eq!(error["error"]["code"], "parameter_unknown");
        assert_eq!(error["error"]["param"], "colour");
    }

    #[test]
    fn what_is_nested_too_deeply_is_no_parameter() {
        let deep = format!("a{}=1", "[b]".repeat(5_000));
        let unread = Params::parse(&deep).and_then(|mut params| params.finish());
        assert!(unread.is_err());
    }
}
