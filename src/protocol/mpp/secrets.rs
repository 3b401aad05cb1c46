//! The keys that challenge ids are made under.

use std::fmt;

use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// The HMAC key that new challenges are issued under, and those before it, whose challenges still count.
///
/// Zeroized when dropped; its `Debug` shows nothing.
#[derive(Clone)]
pub struct Secrets {
    current: SecretString,
    previous: Vec<SecretString>,
}

impl Secrets {
    /// The fewest bytes that a secret may have: what `mppx` asks for since 0.8.
    pub const MIN_BYTES: usize = 32;

    /// Takes the UTF-8 bytes of the secrets as the keys, as they are: nothing is decoded or derived.
    ///
    /// # Errors
    /// [`WeakSecret`] if one has fewer than [`Secrets::MIN_BYTES`].
    pub fn new(
        current: SecretString,
        previous: impl IntoIterator<Item = SecretString>,
    ) -> Result<Self, WeakSecret> {
        let previous = Vec::from_iter(previous);
        let earlier = previous.iter().map(|secret| (Which::Previous, secret));
        for (which, secret) in std::iter::once((Which::Current, &current)).chain(earlier) {
            let bytes = secret.expose_secret().len();
            if bytes < Self::MIN_BYTES {
                return Err(WeakSecret { which, bytes });
            }
        }
        Ok(Self { current, previous })
    }

    /// The same, which takes challenges of `earlier` secrets too.
    #[must_use]
    pub fn and(mut self, earlier: &Self) -> Self {
        self.previous.push(earlier.current.clone());
        self.previous.extend_from_slice(&earlier.previous);
        self
    }

    /// The MAC that a new challenge's id is made with.
    pub(super) fn issuing(&self) -> Hmac<Sha256> {
        mac(self.current.expose_secret().as_bytes())
    }

    /// The MACs that an id may have been made with.
    pub(super) fn accepted(&self) -> impl Iterator<Item = Hmac<Sha256>> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .map(|secret| mac(secret.expose_secret().as_bytes()))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

/// A secret that could be guessed. Tells its length, never its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {which} secret has {bytes} bytes, and needs at least {}: make one with `openssl rand -base64 32`",
    Secrets::MIN_BYTES
)]
pub struct WeakSecret {
    /// Which of them.
    pub which: Which,
    /// How long it is, in bytes of UTF-8.
    pub bytes: usize,
}

/// What a secret is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one that issues.
    Current,
    /// One that issued before.
    Previous,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "current",
            Self::Previous => "previous",
        })
    }
}

pub(super) fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}
