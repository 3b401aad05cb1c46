//! x402 version 2 as it stands on the wire: headers, requirements, payloads, and the facilitator's answers.
//!
//! Knows the shapes only; what a payment must be worth is [`super::transfer`]'s and [`super::quote`]'s to say.
//! Source: x402 v2 core § 5, HTTP transport v2, scheme `exact` on Stellar.

pub mod identifier;
mod wire;

use base64::{Engine as _, engine::general_purpose};
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    json,
    money::Amount,
    stellar::{Address, ContractId, Network},
};

/// Response header of a 402: base64 of a [`PaymentRequired`].
pub const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// Request header: base64 of a [`Payload`].
pub const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
/// Response header after a settlement, good or bad: base64 of a [`Settlement`].
pub const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// Request header of version 1, which Stellar never had.
pub const X_PAYMENT: HeaderName = HeaderName::from_static("x-payment");

/// What the server asks for one way to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirements {
    /// The network to pay on.
    pub network: Network,
    /// Base units, never zero.
    pub amount: Amount,
    /// The SEP-41 contract to transfer in.
    pub asset: ContractId,
    /// Who is paid.
    pub pay_to: Address,
    /// How long, in seconds, a signed authorization may live.
    pub max_timeout_seconds: u32,
    /// The quote that binds a payment to route and price; see [`super::quote`].
    pub quote: Option<String>,
}

impl Requirements {
    /// The requirements as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self.wire()).expect("texts and a number have a form")
    }

    fn wire(&self) -> wire::Requirements<'_> {
        wire::Requirements {
            amount: self.amount,
            asset: self.asset,
            extra: wire::Extra { are_fees_sponsored: true, quote: self.quote.as_deref() },
            max_timeout_seconds: self.max_timeout_seconds,
            network: self.network.name(),
            pay_to: self.pay_to,
            scheme: SCHEME,
        }
    }

    /// Reads requirements strictly: exactly the keys of [`Requirements::to_json`] with their types, but `extra` may hold more.
    ///
    /// # Errors
    /// [`Mismatch`] names the first member that is not as it must be.
    pub fn from_json(value: &Value) -> Result<Self, Mismatch> {
        let object = value.as_object().ok_or(Mismatch("accepted"))?;
        if object.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(Mismatch("accepted"));
        }
        let text = |key: &'static str| object.get(key).and_then(Value::as_str).ok_or(Mismatch(key));
        if text("scheme")? != SCHEME {
            return Err(Mismatch("scheme"));
        }
        let extra = object.get("extra").and_then(Value::as_object).ok_or(Mismatch("extra"))?;
        if extra.get("areFeesSponsored") != Some(&Value::Bool(true)) {
            return Err(Mismatch("extra.areFeesSponsored"));
        }
        let quote = match extra.get("quote") {
            None => None,
            Some(Value::String(quote)) => Some(quote.clone()),
            Some(_) => return Err(Mismatch("extra.quote")),
        };
        let amount = Amount::parse_units(text("amount")?).map_err(|_| Mismatch("amount"))?;
        if amount.is_zero() {
            return Err(Mismatch("amount"));
        }
        Ok(Self {
            network: text("network")?.parse().map_err(|_| Mismatch("network"))?,
            amount,
            asset: text("asset")?.parse().map_err(|_| Mismatch("asset"))?,
            pay_to: text("payTo")?.parse().map_err(|_| Mismatch("payTo"))?,
            max_timeout_seconds: object
                .get("maxTimeoutSeconds")
                .and_then(Value::as_u64)
                .and_then(|seconds| u32::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .ok_or(Mismatch("maxTimeoutSeconds"))?,
            quote,
        })
    }
}

/// What all challenges for the same requirements say alike, written once.
#[derive(Clone, Debug)]
pub struct Template {
    before_quote: Box<str>,
    after_quote: Box<str>,
}

impl Template {
    /// The template of `requirements`, whose own quote is not looked at.
    #[must_use]
    pub fn new(requirements: &Requirements) -> Self {
        let quoted = Requirements { quote: Some(HOLE.to_owned()), ..requirements.clone() };
        let json = serde_json::to_string(&quoted.wire()).expect("texts and a number have a form");
        let (before, after) = json.split_once(HOLE).expect("the quote is in the JSON");
        Self { before_quote: before.into(), after_quote: after.into() }
    }

    /// Writes the value of a [`PAYMENT_REQUIRED`] header for one way to pay: what [`PaymentRequired`] says, with the
    /// extensions that we know. `error` says why there was no 200; `quote` is base64url, as [`super::quote`] makes it.
    #[must_use]
    pub fn challenge(&self, error: &str, resource: &Resource, quote: &str) -> HeaderValue {
        let mut json = Vec::with_capacity(CHALLENGE_ROOM);
        for part in ["{\"accepts\":[", &self.before_quote, quote, &self.after_quote, "],\"error\":"]
        {
            json.extend_from_slice(part.as_bytes());
        }
        write_json(&mut json, error);
        json.extend_from_slice(b",\"extensions\":");
        json.extend_from_slice(identifier::ADVERTISED_JSON.as_bytes());
        json.extend_from_slice(b",\"resource\":");
        write_json(&mut json, &resource.wire());
        json.extend_from_slice(b",\"x402Version\":");
        write_json(&mut json, &VERSION);
        json.push(b'}');
        encode_bytes(&json)
    }
}

/// The member that keeps a JSON value from being [`Requirements`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not what was offered")]
pub struct Mismatch(pub &'static str);

/// The challenge of a 402.
#[derive(Clone, Debug, PartialEq)]
pub struct PaymentRequired {
    /// Why there was no 200, for people.
    pub error: String,
    /// What is for sale.
    pub resource: Resource,
    /// The ways to pay, most preferred first, each the JSON of a [`Requirements`] or one that we do not know.
    pub accepts: Vec<Value>,
    /// Extensions by name, echoed by the client.
    pub extensions: Option<Value>,
}

/// What a 402 is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its URL, from the configured public address, never from the Host header.
    pub url: String,
    /// What it is, for people; may be empty.
    pub description: String,
    /// Its media type; may be empty.
    pub mime_type: String,
}

impl Resource {
    fn required<'a, A>(
        &'a self,
        error: &'a str,
        accepts: A,
        extensions: Option<&'a Value>,
    ) -> wire::PaymentRequired<'a, A> {
        wire::PaymentRequired {
            accepts,
            error,
            extensions,
            resource: self.wire(),
            version: VERSION,
        }
    }

    fn wire(&self) -> wire::Resource<'_> {
        let Self { url, description, mime_type } = self;
        wire::Resource { description, mime_type, url }
    }
}

impl PaymentRequired {
    /// The challenge as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let wire =
            self.resource.required(&self.error, self.accepts.as_slice(), self.extensions.as_ref());
        serde_json::to_value(wire).expect("texts and values have a form")
    }

    /// Reads the value of a [`PAYMENT_REQUIRED`] header.
    ///
    /// # Errors
    /// [`Malformed`] if it is no version 2 challenge.
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        let value = decode(header)?;
        version(&value)?;
        let text =
            |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self {
            error: text("/error"),
            resource: Resource {
                url: text("/resource/url"),
                description: text("/resource/description"),
                mime_type: text("/resource/mimeType"),
            },
            accepts: value
                .get("accepts")
                .and_then(Value::as_array)
                .cloned()
                .ok_or(Malformed::Shape("accepts"))?,
            extensions: value.get("extensions").filter(|value| !value.is_null()).cloned(),
        })
    }
}

/// What a client sends as payment.
#[derive(Clone, Debug, PartialEq)]
pub struct Payload {
    /// The requirements it says it pays; to be checked, never trusted.
    pub accepted: Value,
    /// Base64 of the `TransactionEnvelope` XDR.
    pub transaction: String,
    /// The whole payload as it came, for a facilitator.
    pub json: Value,
}

impl Payload {
    /// Reads the value of a [`PAYMENT_SIGNATURE`] header.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        Self::from_json(decode(header)?)
    }

    /// Reads a payload from its JSON, as facilitators get it.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn from_json(json: Value) -> Result<Self, Malformed> {
        if !json.is_object() {
            return Err(Malformed::Shape("the payment"));
        }
        version(&json)?;
        let accepted = json
            .get("accepted")
            .filter(|value| value.is_object())
            .ok_or(Malformed::Shape("accepted"))?
            .clone();
        let transaction = json
            .pointer("/payload/transaction")
            .and_then(Value::as_str)
            .ok_or(Malformed::Shape("payload.transaction"))?
            .to_owned();
        Ok(Self { accepted, transaction, json })
    }
}

/// How a settlement ended, as the client and the facilitator's callers read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Whether the money moved.
    pub success: bool,
    /// A reason code when it did not.
    pub error_reason: Option<String>,
    /// The transaction hash, or empty.
    pub transaction: String,
    /// The network's name, or empty.
    pub network: String,
    /// Who paid, where known.
    pub payer: Option<String>,
    /// Base units moved, where told.
    pub amount: Option<String>,
}

impl Settlement {
    /// The settlement as JSON: `transaction` and `network` are always strings, absent members are left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("success".to_owned(), self.success.into());
        let optional =
            [("errorReason", &self.error_reason), ("payer", &self.payer), ("amount", &self.amount)];
        for (key, value) in optional {
            if let Some(value) = value {
                object.insert(key.to_owned(), value.as_str().into());
            }
        }
        object.insert("transaction".to_owned(), self.transaction.as_str().into());
        object.insert("network".to_owned(), self.network.as_str().into());
        Value::Object(object)
    }

    /// Reads a settlement leniently: only `success` must be there.
    ///
    /// # Errors
    /// [`Malformed::Shape`] if `success` is no boolean, or another member is of the wrong type.
    pub fn from_json(value: &Value) -> Result<Self, Malformed> {
        Ok(Self {
            success: value
                .get("success")
                .and_then(Value::as_bool)
                .ok_or(Malformed::Shape("success"))?,
            error_reason: optional_text(value, "errorReason")?,
            transaction: optional_text(value, "transaction")?.unwrap_or_default(),
            network: optional_text(value, "network")?.unwrap_or_default(),
            payer: optional_text(value, "payer")?,
            amount: optional_text(value, "amount")?,
        })
    }

    /// Reads the value of a [`PAYMENT_RESPONSE`] header.
    ///
    /// # Errors
    /// As [`Settlement::from_json`].
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        Self::from_json(&decode(header)?)
    }
}

/// What a facilitator says of a payment before settling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Whether it would settle.
    pub is_valid: bool,
    /// A reason code when it would not.
    pub invalid_reason: Option<String>,
    /// Who would pay, where known.
    pub payer: Option<String>,
}

impl Verification {
    /// The verification as JSON, absent members left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("isValid".to_owned(), self.is_valid.into());
        for (key, value) in [("invalidReason", &self.invalid_reason), ("payer", &self.payer)] {
            if let Some(value) = value {
                object.insert(key.to_owned(), value.as_str().into());
            }
        }
        Value::Object(object)
    }

    /// Reads a verification leniently: only `isValid` must be there.
    ///
    /// # Errors
    /// [`Malformed::Shape`] if `isValid` is no boolean, or another member is of the wrong type.
    pub fn from_json(value: &Value) -> Result<Self, Malformed> {
        Ok(Self {
            is_valid: value
                .get("isValid")
                .and_then(Value::as_bool)
                .ok_or(Malformed::Shape("isValid"))?,
            invalid_reason: optional_text(value, "invalidReason")?,
            payer: optional_text(value, "payer")?,
        })
    }
}

/// Why bytes are no x402 message.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Longer than any payment.
    #[error("longer than {MAX_HEADER_BYTES} bytes")]
    TooLong,
    /// Not standard base64 (alphabet `A-Za-z0-9+/`, padded or not).
    #[error("not standard base64")]
    Base64,
    /// Not one strict JSON value.
    #[error("not valid JSON: {0}")]
    Json(json::Error),
    /// Of another version.
    #[error("`x402Version` must be the number 2")]
    Version,
    /// A member is missing or of the wrong type.
    #[error("`{0}` is missing or of the wrong type")]
    Shape(&'static str),
}

/// Reads the value of a [`PAYMENT_REQUIRED`] header with every member as it came, for a client to echo.
///
/// # Errors
/// [`Malformed`] if it is no version 2 message.
pub fn decode_challenge(header: &[u8]) -> Result<Value, Malformed> {
    let value = decode(header)?;
    version(&value)?;
    Ok(value)
}

/// Writes a message as a header value: base64 (standard, padded) of its JSON.
#[must_use]
pub fn encode(message: &Value) -> HeaderValue {
    let mut json = Vec::new();
    write_json(&mut json, message);
    encode_bytes(&json)
}

fn write_json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("texts and numbers have a form");
}

fn encode_bytes(json: &[u8]) -> HeaderValue {
    let text = general_purpose::STANDARD.encode(json);
    HeaderValue::try_from(text).expect("base64 is visible ASCII")
}

fn decode(header: &[u8]) -> Result<Value, Malformed> {
    if header.len() > MAX_HEADER_BYTES {
        return Err(Malformed::TooLong);
    }
    let bytes = LENIENT.decode(header.trim_ascii()).map_err(|_| Malformed::Base64)?;
    json::parse(&bytes).map_err(Malformed::Json)
}

fn version(value: &Value) -> Result<(), Malformed> {
    match value.get("x402Version").and_then(Value::as_u64) {
        Some(VERSION) => Ok(()),
        _ => Err(Malformed::Version),
    }
}

fn optional_text(value: &Value, key: &'static str) -> Result<Option<String>, Malformed> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Malformed::Shape(key)),
    }
}

/// Clients pad or do not; both are told apart from nothing else.
const LENIENT: general_purpose::GeneralPurpose = general_purpose::GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    general_purpose::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
);

const VERSION: u64 = 2;
const SCHEME: &str = "exact";
/// The members of [`Requirements`].
pub const KEYS: [&str; 7] =
    ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds", "extra"];
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Where the quote goes: in nothing else that requirements say.
const HOLE: &str = "?";
/// What most challenges take as JSON, in bytes.
const CHALLENGE_ROOM: usize = 1_024;

#[cfg(test)]
mod tests;
