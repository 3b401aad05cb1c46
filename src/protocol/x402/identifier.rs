//! The extension `payment-identifier`: a name that a client gives its payment, so that it may ask again what became of it.
//!
//! Source: x402 v2, extension `payment-identifier`.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::Malformed;

/// What a challenge says of the extension: that an identifier is welcome.
pub static ADVERTISED: LazyLock<Value> = LazyLock::new(|| {
    json!({
        NAME: {
            "info": { "required": false },
            "schema": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "properties": {
                    "required": { "type": "boolean" },
                    "id": { "type": "string", "minLength": SHORTEST, "maxLength": LONGEST },
                },
                "required": ["required"],
            },
        },
    })
});

/// [`ADVERTISED`] as JSON text.
pub(super) static ADVERTISED_JSON: LazyLock<String> = LazyLock::new(|| ADVERTISED.to_string());

/// The identifier in the JSON of a payment, if the client gave one: 16 to 128 letters, digits, `_` and `-`.
///
/// # Errors
/// [`Malformed`] if there is one of another form.
pub fn of(payload: &Value) -> Result<Option<&str>, Malformed> {
    let id = payload
        .get("extensions")
        .and_then(|extensions| extensions.get(NAME)?.get("info")?.get("id"));
    let Some(id) = id.filter(|id| !id.is_null()) else { return Ok(None) };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    id.as_str()
        .filter(|id| (SHORTEST..=LONGEST).contains(&id.len()) && id.bytes().all(is_plain))
        .map(Some)
        .ok_or(Malformed::Shape("extensions.payment-identifier.info.id"))
}

const NAME: &str = "payment-identifier";
const SHORTEST: usize = 16;
const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_read_where_clients_put_it() {
        let with = |id: Value| json!({ "extensions": { NAME: { "info": { "required": false, "id": id } } } });
        let long = "a".repeat(LONGEST);
        for good in ["pay_0123456789abcdef", "0123456789-_ABCz", &long] {
            assert_eq!(of(&with(good.into())).unwrap(), Some(good));
        }
        for none in
            [json!({}), json!({ "extensions": null }), ADVERTISED.clone(), with(Value::Null)]
        {
            assert_eq!(of(&none).unwrap(), None, "{none}");
        }
        let echoed = json!({ "extensions": *ADVERTISED });
        assert_eq!(of(&echoed).unwrap(), None);
        let too_long = "a".repeat(LONGEST + 1);
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdé", &too_long] {
            assert!(of(&with(bad.into())).is_err(), "{bad}");
        }
        assert!(of(&with(7.into())).is_err());
    }
}
