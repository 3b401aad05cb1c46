//! What a challenge of ours carries for us: the route it is for, when it was issued, and random bits.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{Malformed, decode_json, encode_ordered, text};
use crate::protocol::json::as_text;

/// The `opaque` parameter of our challenges: a flat map of texts, bound by the challenge's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The route and method that it pays for, in words of the caller (`_mppx_scope`).
    pub scope: String,
    /// Random bits, so that no two challenges have one id (`n`).
    pub nonce: [u8; 16],
    /// When it was issued, in Unix seconds (`iat`): an older transfer cannot have been made for it.
    pub issued_at: u64,
}

impl Opaque {
    /// Base64url of the canonical JSON.
    #[must_use]
    pub fn encode(&self) -> String {
        encode_ordered(&Wire {
            scope: &self.scope,
            issued_at: self.issued_at,
            nonce: URL_SAFE_NO_PAD.encode(self.nonce),
        })
    }

    /// Reads what [`Opaque::encode`] writes, and only that.
    ///
    /// # Errors
    /// [`Malformed`] if it is of another form, or holds more.
    pub fn decode(opaque: &str) -> Result<Self, Malformed> {
        let value = decode_json(opaque.as_bytes())?;
        let nonce = URL_SAFE_NO_PAD
            .decode(text(&value, "n")?)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(Malformed::Member("n"))?;
        let issued_at = text(&value, "iat")?.parse().map_err(|_| Malformed::Member("iat"))?;
        let read = Self { scope: text(&value, "_mppx_scope")?, nonce, issued_at };
        if read.encode() == opaque { Ok(read) } else { Err(Malformed::NotCanonical) }
    }
}

/// Its members, in their order.
#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "_mppx_scope")]
    scope: &'a str,
    #[serde(rename = "iat", serialize_with = "as_text")]
    issued_at: u64,
    #[serde(rename = "n")]
    nonce: String,
}
