//! The `digest` parameter: what binds a payment to the request's body.
//!
//! Source: RFC 9530, and `mppx`, which leaves out the colons; written as `mppx` does, read either way.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Writes the SHA-256 of a body: `sha-256=` and padded base64.
#[must_use]
pub fn write(hash: &[u8; 32]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(hash))
}

/// Whether `digest` is of a body with this SHA-256.
#[must_use]
pub fn matches(digest: &str, hash: &[u8; 32]) -> bool {
    let Some(value) = digest.strip_prefix(PREFIX) else { return false };
    let within = value.strip_prefix(':').and_then(|value| value.strip_suffix(':'));
    STANDARD.decode(within.unwrap_or(value)).is_ok_and(|bytes| bytes == hash)
}

pub(super) const PREFIX: &str = "sha-256=";
