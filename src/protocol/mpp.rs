//! The `Payment` HTTP authentication scheme as it stands on the wire: challenges, credentials, receipts.
//!
//! Knows the shapes, and which challenges were issued here; what a payment must be worth is [`super::transfer`]'s to say,
//! and whether a challenge is past or was used is the guard's. Time and randomness come in as arguments.
//! Source: draft-httpauth-payment-00, as `mppx` 0.6 to 0.11 speak it. The method `stellar` is in [`charge`] and
//! [`channel`].

mod challenge;
mod credential;
mod field;
mod secrets;

mod accept;
mod opaque;
mod receipt;

pub mod channel;
pub mod charge;
pub mod digest;
pub mod timestamp;

use base64::{
    Engine as _,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD},
    },
};
use http::HeaderName;
use serde::Serialize;
use serde_json::{Map, Value};

pub use self::accept::AcceptPayment;
pub use self::challenge::{Challenge, ChallengeId, NotOurs, Parts, harmless};
pub use self::credential::{Credential, FindError, find, strip};
pub use self::field::parse_challenges;
pub use self::opaque::Opaque;
pub use self::receipt::Receipt;
pub use self::secrets::{Secrets, WeakSecret, Which};
use super::{json, money::Amount};

/// Response header of a paid answer: base64url of a [`Receipt`].
pub const PAYMENT_RECEIPT: HeaderName = HeaderName::from_static("payment-receipt");
/// Request header: the methods that the client can pay by; see [`AcceptPayment`].
pub const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");
/// Request header for a credential where the upstream uses `Authorization` itself.
pub const PAYMENT_AUTHORIZATION: HeaderName = HeaderName::from_static("payment-authorization");

/// The header that a challenge asks its credential in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CredentialHeader {
    /// `Authorization`, which every client knows.
    #[default]
    Authorization,
    /// `Payment-Authorization`, known to `mppx` since 0.9: leaves `Authorization` to the upstream.
    PaymentAuthorization,
}

impl CredentialHeader {
    /// The header's name.
    #[must_use]
    pub const fn name(self) -> HeaderName {
        match self {
            Self::Authorization => http::header::AUTHORIZATION,
            Self::PaymentAuthorization => PAYMENT_AUTHORIZATION,
        }
    }

    /// What a challenge writes of it, and binds; nothing for the default.
    const fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Authorization => None,
            Self::PaymentAuthorization => Some("Payment-Authorization"),
        }
    }

    fn from_parameter(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("authorization") {
            Some(Self::Authorization)
        } else if text.eq_ignore_ascii_case("payment-authorization") {
            Some(Self::PaymentAuthorization)
        } else {
            None
        }
    }
}

/// Why a text is no message of the scheme. Never repeats the text: it may hold a credential.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Longer than any honest one.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not a list of `name="value"` behind the scheme's name.
    #[error("not a list of `name=\"value\"`")]
    Syntax,
    /// One parameter stands twice.
    #[error("a parameter stands twice")]
    Repeated,
    /// Not base64url.
    #[error("not base64url")]
    Base64,
    /// Not one strict JSON value.
    #[error("not valid JSON: {0}")]
    Json(json::Error),
    /// A member is missing or of the wrong kind.
    #[error("`{0}` is missing or not as it must be")]
    Member(&'static str),
    /// Readable, but not as it would be written here.
    #[error("not in canonical form")]
    NotCanonical,
}

/// As [`encode_canonical`], of a value without numbers whose members stand in the order of their names: its plain form is
/// its canonical one.
fn encode_ordered(value: &impl Serialize) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).expect("texts have a form"))
}

/// Writes `value` as base64url, without padding, of its canonical JSON (RFC 8785).
#[must_use]
pub fn encode_canonical(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(canonical(value))
}

/// The canonical form differs from the plain one in numbers and in the order of members: where there is nothing to differ
/// in, the plain one costs a tenth.
fn canonical(value: &Value) -> Vec<u8> {
    let text =
        if is_canonical(value) { serde_json::to_vec(value) } else { serde_jcs::to_vec(value) };
    text.expect("a JSON value holds no number without a form")
}

/// Whether the value has no number, and its members stand in order, by names whose order nobody disputes.
fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(_) => false,
        Value::Array(items) => items.iter().all(is_canonical),
        Value::Object(members) => {
            members.keys().is_sorted()
                && members.iter().all(|(key, value)| key.is_ascii() && is_canonical(value))
        }
    }
}

/// Reads base64 of strict JSON; takes both alphabets, padded or not, as `mppx` does.
fn decode_json(text: &[u8]) -> Result<Value, Malformed> {
    let bytes = if text.contains(&b'+') || text.contains(&b'/') {
        let url_safe = text.iter().map(|byte| match byte {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        });
        LENIENT.decode(url_safe.collect::<Vec<u8>>())
    } else {
        LENIENT.decode(text)
    };
    let bytes = bytes.map_err(|_| Malformed::Base64)?;
    json::parse(&bytes).map_err(Malformed::Json)
}

/// The text under `key`, if there is any.
fn optional_text(value: &Value, key: &'static str) -> Result<Option<String>, Malformed> {
    match value.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Malformed::Member(key)),
    }
}

/// As [`optional_text`], taken out of its object.
fn take_optional_text(
    members: &mut Map<String, Value>,
    key: &'static str,
) -> Result<Option<String>, Malformed> {
    match members.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Malformed::Member(key)),
    }
}

fn take_text(members: &mut Map<String, Value>, key: &'static str) -> Result<String, Malformed> {
    take_optional_text(members, key)?.ok_or(Malformed::Member(key))
}

fn text(value: &Value, key: &'static str) -> Result<String, Malformed> {
    optional_text(value, key)?.ok_or(Malformed::Member(key))
}

/// The amount in base units under `key`.
fn units(value: &Value, key: &'static str) -> Result<Amount, Malformed> {
    Amount::parse_units(&text(value, key)?).map_err(|_| Malformed::Member(key))
}

fn parsed<T: std::str::FromStr>(value: &Value, key: &'static str) -> Result<T, Malformed> {
    text(value, key)?.parse().map_err(|_| Malformed::Member(key))
}

/// Checks that `value`, which stands under `name`, is an object of no other members than `keys`.
fn only(value: &Value, keys: &[&str], name: &'static str) -> Result<(), Malformed> {
    let members = value.as_object().ok_or(Malformed::Member(name))?;
    if members.keys().all(|key| keys.contains(&key.as_str())) {
        Ok(())
    } else {
        Err(Malformed::Member(name))
    }
}

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests;
