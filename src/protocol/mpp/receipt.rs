//! Receipts: what a paid answer says of its payment.

use http::HeaderValue;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Malformed, decode_json, optional_text, text, timestamp};

/// The value of a [`super::PAYMENT_RECEIPT`] header. There is none for a payment that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The payment method.
    pub method: String,
    /// What the payment is known by in its method: for a charge, the transaction's hash.
    pub reference: String,
    /// When it was settled, in Unix milliseconds.
    pub timestamp_ms: u64,
    /// The merchant's own id, if the request named one.
    pub external_id: Option<String>,
    /// What else is told; a name that the members above have is left out.
    pub extra: Map<String, Value>,
}

impl Receipt {
    /// Writes base64url of the JSON, the members that every client knows first.
    #[must_use]
    pub fn encode(&self) -> HeaderValue {
        let json = serde_json::to_vec(&Wire(self)).expect("texts and values are JSON");
        HeaderValue::try_from(URL_SAFE_NO_PAD.encode(json)).expect("base64url is visible ASCII")
    }

    /// Reads the value of the header.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn decode(header: &[u8]) -> Result<Self, Malformed> {
        if header.len() > MAX_BYTES {
            return Err(Malformed::TooLong(MAX_BYTES));
        }
        let value = decode_json(header.trim_ascii())?;
        if text(&value, "status")? != SUCCESS {
            return Err(Malformed::Member("status"));
        }
        let timestamp_ms = timestamp::read(&text(&value, "timestamp")?)
            .map_err(|_| Malformed::Member("timestamp"))?;
        let method = text(&value, "method")?;
        let reference = text(&value, "reference")?;
        let external_id = optional_text(&value, "externalId")?;
        let mut extra = match value {
            Value::Object(members) => members,
            _ => Map::new(),
        };
        extra.retain(|key, _| !KNOWN.contains(&key.as_str()));
        Ok(Self { method, reference, timestamp_ms, external_id, extra })
    }
}

/// The members in their order.
struct Wire<'a>(&'a Receipt);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(receipt) = self;
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("method", &receipt.method)?;
        members.serialize_entry("reference", &receipt.reference)?;
        if let Some(id) = &receipt.external_id {
            members.serialize_entry("externalId", id)?;
        }
        members.serialize_entry("status", SUCCESS)?;
        members.serialize_entry("timestamp", &timestamp::write(receipt.timestamp_ms))?;
        for (key, value) in &receipt.extra {
            if !KNOWN.contains(&key.as_str()) {
                members.serialize_entry(key, value)?;
            }
        }
        members.end()
    }
}

const SUCCESS: &str = "success";
const KNOWN: [&str; 5] = ["method", "reference", "externalId", "status", "timestamp"];
const MAX_BYTES: usize = 16 * 1024;
