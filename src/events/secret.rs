//! The secret that webhooks are signed with, and the signature.
//!
//! Source: Standard Webhooks 1.0, "Signature scheme" (symmetric) and "Secret serialization".

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// A secret that a receiver has too.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Reads `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// [`NotSecret`].
    pub fn read(text: &str) -> Result<Self, NotSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(NotSecret)?;
        let key = STANDARD.decode(encoded).map(Zeroizing::new).map_err(|_| NotSecret)?;
        if (24..=64).contains(&key.len()) { Ok(Self(key)) } else { Err(NotSecret) }
    }

    /// The value of `webhook-signature` for the message `id` sent at `timestamp`, in seconds since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length is taken");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The text is no secret of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not `whsec_` and 24 to 64 bytes in base64")]
pub struct NotSecret;

const PREFIX: &str = "whsec_";
