//! Reads a few fields of a JSON object and ignores the rest.
//!
//! Serde's derived readers reject a whole body for one invalid or doubled field. This reader walks the object
//! once and keeps the wanted fields as slices, each of which is parsed by itself. An unreadable field affects
//! no other. If a name occurs twice the last one counts, as in every common JSON reader. Unwanted values are
//! skipped without recursion, so deep nesting cannot overflow the stack.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use chrono::{DateTime, Datelike, Utc};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The wanted fields of one kind of object.
pub(super) trait Fields<'de>: Default {
    /// Takes the value of the field `name` from `map`. Returns false without taking it if it is not wanted.
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// Defines the wanted fields of one kind of object: `fields! { Name { field = "its name" } }`. Each is a slice of the body; one
/// with a type (`field: Type = "its name"`) is read on the way if it is an object of that type.
macro_rules! fields {
    ($(#[$note:meta])* $object:ident { $($field:ident $(: $inner:ident)? = $name:literal),* $(,)? }) => {
        $(#[$note])*
        #[derive(Default)]
        pub(in crate::stripe) struct $object<'a> {
            $(pub(in crate::stripe) $field: $crate::stripe::json::fields!(@type 'a $($inner)?)),*
        }

        impl<'de> $crate::stripe::json::Fields<'de> for $object<'de> {
            fn take<A: serde::de::MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
                match name {
                    $($name => self.$field = $crate::stripe::json::fields!(@read map $($inner)?),)*
                    _ => return Ok(false),
                }
                Ok(true)
            }
        }
    };
    (@type $life:lifetime) => { Option<&$life serde_json::value::RawValue> };
    (@type $life:lifetime $inner:ident) => { Option<$inner<$life>> };
    (@read $map:ident) => { Some($map.next_value()?) };
    (@read $map:ident $inner:ident) => {{
        let $crate::stripe::json::MaybeObject(object) = $map.next_value()?;
        object
    }};
}
pub(super) use fields;

/// A JSON object, read for the fields of `T`.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Fields<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Likewise, but any value is allowed: `None` if it is not an object.
pub(super) struct MaybeObject<T>(pub(super) Option<T>);

impl<'de, T: Fields<'de>> Deserialize<'de> for MaybeObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MaybeVisitor(PhantomData))
    }
}

struct MaybeVisitor<T>(PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for MaybeVisitor<T> {
    type Value = MaybeObject<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let Object(fields) = ObjectVisitor(PhantomData).visit_map(map)?;
        Ok(MaybeObject(Some(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(MaybeObject(None))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(MaybeObject(None))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = T::default();
        while let Some(Name(name)) = map.next_key()? {
            if !fields.take(&name, &mut map)? {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(Object(fields))
    }
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A field exists but is not what Stripe documents.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// A parsed field: `None` if it is missing or null.
pub(super) type Reading<T> = Result<Option<T>, Unreadable>;

/// The value's JSON text, unless it is missing or null.
fn given(raw: Option<&RawValue>) -> Option<&str> {
    raw.map(RawValue::get).filter(|json| *json != "null")
}

fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Reading<T> {
    given(raw)
        .map(|json| serde_json::from_str(json).map_err(|_| Unreadable))
        .transpose()
}

/// The longest text that is read, in bytes of JSON. Stripe allows 500 characters in a metadata value and less
/// elsewhere. A job must stay small whatever was signed.
const LONGEST_TEXT: usize = 4_096;

/// A string.
pub(super) fn text(raw: Option<&RawValue>) -> Reading<String> {
    Ok(borrowed(raw)?.map(Cow::into_owned))
}

/// Stripe's ids are much shorter. They become keys, and a session may have many prices.
const LONGEST_ID: usize = 255;

/// A string that identifies something.
pub(super) fn identifier(raw: Option<&RawValue>) -> Reading<String> {
    match text(raw)? {
        Some(id) if id.len() > LONGEST_ID => Err(Unreadable),
        id => Ok(id),
    }
}

/// A string, number or boolean, as text. Numbers have the limit of texts.
pub(super) fn scalar(raw: Option<&RawValue>) -> Reading<String> {
    match given(raw).and_then(|json| json.as_bytes().first()) {
        Some(b'"') | None => text(raw),
        Some(b'{' | b'[') => Err(Unreadable),
        Some(_) => given(raw)
            .filter(|json| json.len() <= LONGEST_TEXT)
            .map(|json| Some(json.to_owned()))
            .ok_or(Unreadable),
    }
}

/// A string that is one of a few.
pub(super) fn word<T: for<'a> From<&'a str>>(raw: Option<&RawValue>) -> Reading<T> {
    Ok(borrowed(raw)?.map(|word| T::from(&word)))
}

/// A string, copied only if it contains escapes.
fn borrowed(raw: Option<&RawValue>) -> Reading<Cow<'_, str>> {
    if given(raw).is_some_and(|json| json.len() > LONGEST_TEXT) {
        return Err(Unreadable);
    }
    let plain = given(raw)
        .filter(|json| !json.contains('\\'))
        .and_then(|json| json.strip_prefix('"')?.strip_suffix('"'));
    match plain {
        // Without escapes the text is used as it is; the walk has checked that it is a string.
        Some(text) => Ok(Some(text.into())),
        None => Ok(read::<String>(raw)?.map(Cow::from)),
    }
}

/// An object's id, which every object of Stripe has. `None` if it is missing, empty or not a text.
pub(super) fn id(raw: Option<&RawValue>) -> Option<String> {
    text(raw).ok()?.filter(|id| !id.is_empty())
}

/// True or false.
pub(super) fn boolean(raw: Option<&RawValue>) -> Reading<bool> {
    given(raw)
        .map(|json| json.parse().map_err(|_| Unreadable))
        .transpose()
}

/// A whole number. A number that does not fit is unreadable, never rounded.
pub(super) fn integer(raw: Option<&RawValue>) -> Reading<i64> {
    given(raw)
        .map(|json| json.parse().map_err(|_| Unreadable))
        .transpose()
}

/// Seconds since 1970, up to the year 9999.
pub(super) fn timestamp(raw: Option<&RawValue>) -> Reading<DateTime<Utc>> {
    let Some(seconds) = integer(raw)? else {
        return Ok(None);
    };
    DateTime::from_timestamp(seconds, 0)
        .filter(|instant| seconds >= 0 && instant.year() <= 9999)
        .map(Some)
        .ok_or(Unreadable)
}

/// A reference to another object: its id, or the expanded object.
pub(super) fn reference(raw: Option<&RawValue>) -> Reading<String> {
    match given(raw) {
        Some(json) if json.starts_with('{') => {
            let Object(expanded) =
                serde_json::from_str::<Object<Expanded<'_>>>(json).map_err(|_| Unreadable)?;
            identifier(expanded.id)?.map(Some).ok_or(Unreadable)
        }
        _ => identifier(raw),
    }
}

fields! { Expanded { id = "id" } }

/// An object read for the fields of `T`; `None` where it is absent or null.
pub(super) fn object<'a, T: Fields<'a>>(raw: Option<&'a RawValue>) -> Reading<T> {
    Ok(read::<Object<T>>(raw)?.map(|Object(fields)| fields))
}

/// Whether the value is an array.
pub(super) fn is_array(raw: Option<&RawValue>) -> bool {
    given(raw).is_some_and(|json| json.starts_with('['))
}

/// Whether the value is an object.
pub(super) fn is_object(raw: Option<&RawValue>) -> bool {
    given(raw).is_some_and(|json| json.starts_with('{'))
}

/// An array's elements.
pub(super) fn array(raw: Option<&RawValue>) -> Reading<Vec<&RawValue>> {
    read(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn absent_and_null_are_nothing_and_the_wrong_kind_is_unreadable() {
        assert_eq!(text(None), Ok(None));
        assert_eq!(text(Some(raw("null"))), Ok(None));
        assert_eq!(text(Some(raw(r#""a\u00f8""#))), Ok(Some("aø".to_owned())));
        for odd in ["1", "1e999", "[]", "{}", "true", r#""\ud800""#] {
            assert_eq!(text(Some(raw(odd))), Err(Unreadable), "{odd}");
        }
    }

    #[test]
    fn a_text_longer_than_any_of_stripes_is_unreadable() {
        assert!(
            text(Some(raw(&format!("\"{}\"", "é".repeat(500)))))
                .unwrap()
                .is_some()
        );
        assert_eq!(
            text(Some(raw(&format!("\"{}\"", "a".repeat(1 << 20))))),
            Err(Unreadable)
        );
    }

    #[test]
    fn a_number_or_an_id_longer_than_any_of_stripes_is_unreadable() {
        let digits = |count| "7".repeat(count);
        assert_eq!(scalar(Some(raw("10"))), Ok(Some("10".to_owned())));
        assert_eq!(scalar(Some(raw("true"))), Ok(Some("true".to_owned())));
        assert_eq!(scalar(Some(raw(&digits(900_000)))), Err(Unreadable));
        assert_eq!(scalar(Some(raw("[1]"))), Err(Unreadable));
        for id in [
            format!("\"{}\"", digits(256)),
            format!("{{\"id\":\"{}\"}}", digits(256)),
        ] {
            assert_eq!(reference(Some(raw(&id))), Err(Unreadable));
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_unreadable_and_never_rounded() {
        assert_eq!(integer(Some(raw("150000"))), Ok(Some(150_000)));
        for odd in ["1e999", "1.5", "150000.0", "99999999999999999999", "\"1\"", "-"] {
            if let Ok(value) = serde_json::from_str::<&RawValue>(odd) {
                assert_eq!(integer(Some(value)), Err(Unreadable), "{odd}");
            }
        }
    }

    #[test]
    fn timestamps_reach_from_1970_to_9999() {
        assert!(timestamp(Some(raw("1761831277"))).unwrap().is_some());
        for odd in ["-1", "253402300800", "9223372036854775807", "\"2025-01-01\""] {
            assert_eq!(timestamp(Some(raw(odd))), Err(Unreadable), "{odd}");
        }
    }

    #[test]
    fn a_reference_is_an_id_or_the_expanded_object() {
        assert_eq!(reference(Some(raw(r#""pi_1""#))), Ok(Some("pi_1".to_owned())));
        assert_eq!(
            reference(Some(raw(r#"{"object":"payment_intent","id":"pi_1"}"#))),
            Ok(Some("pi_1".to_owned()))
        );
        assert_eq!(reference(Some(raw("{}"))), Err(Unreadable));
        assert_eq!(reference(Some(raw("7"))), Err(Unreadable));
        assert_eq!(reference(None), Ok(None));
    }
}
