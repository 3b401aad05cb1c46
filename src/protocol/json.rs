//! JSON from outside, read strictly: no duplicate key, no deep nesting, nothing after the value.
//!
//! Two readers of one text must never see two values; a key that stands twice is how they would.

use std::fmt;

use serde::{
    Serializer,
    de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Reads one JSON value that fills `bytes`.
///
/// # Errors
/// If it is no JSON, repeats a key within one object, or nests deeper than 32 levels.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth_left: MAX_DEPTH }.deserialize(&mut reader).map_err(Error)?;
    reader.end().map_err(Error)?;
    Ok(value)
}

/// Reads one JSON value strictly and then as a `T`.
///
/// # Errors
/// As [`parse`], and if the value does not have the shape of `T`.
pub fn from_slice<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_value(parse(bytes)?).map_err(Error)
}

/// Writes a value as the text that it displays: amounts and addresses are strings on every wire.
pub(super) fn as_text<S: Serializer>(
    value: &impl fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// The text is not strict JSON. Shows where and why, never the text itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(serde_json::Error);

struct Strict {
    depth_left: u8,
}

impl Strict {
    fn inner<E: serde::de::Error>(&self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom("nested too deeply")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inner()?)?;
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
        }
        Ok(Value::Object(map))
    }
}

const MAX_DEPTH: u8 = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_json_reads_as_itself() {
        let text = br#" {"a":[1,-2,3.5,null,true,"\u00e9"],"b":{"a":{}}} "#;
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": [1, -2, 3.5, null, true, "é"], "b": {"a": {}}})
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for text in [
            r#"{"success":false,"success":true}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            "{} {}",
            "{}x",
            "\u{feff}{}",
            "",
            "{'a':1}",
            "NaN",
            "1e309",
            deep.as_str(),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:.40}");
        }
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        let allowed = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse(allowed.as_bytes()).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
