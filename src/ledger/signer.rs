//! Keys: the seed behind a Stellar account, and what it signs.

use std::{fmt, str::FromStr};

use crate::protocol::stellar::AccountId;

/// The secret seed of an account (`S…`). Wiped when dropped; never shown.
#[derive(Clone)]
pub struct Seed(ed25519_dalek::SigningKey);

impl Seed {
    /// The seed of these raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(bytes))
    }

    /// The account that the seed controls.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seed(of {})", self.account())
    }
}

impl FromStr for Seed {
    type Err = NotSeed;

    fn from_str(text: &str) -> Result<Self, NotSeed> {
        let key = stellar_strkey::ed25519::PrivateKey::from_string(text).map_err(|_| NotSeed)?;
        Ok(Self::from_bytes(&key.0))
    }
}

/// The text is no secret seed. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Stellar secret seed (`S…`, 56 characters)")]
pub struct NotSeed;
