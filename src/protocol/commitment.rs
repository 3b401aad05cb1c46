//! Commitments: what the payer of a channel signs, so that the payee can take a total out of it.
//!
//! Knows the bytes and the signature. Which amount a request needs, which were used, and what a channel holds is not
//! known here. Source: the one-way channel contract's `prepare_commitment`; mpp draft `stellar`/`channel`.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use zeroize::Zeroize as _;

use super::{
    money::Amount,
    stellar::{AccountId, AddressError, ContractId, Network},
};

/// A total since the channel opened, in base units, and its payer's signature. Its `Debug` shows no signature: whoever
/// has one may present it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// All that the payee may take out of the channel, what it took before included.
    pub amount: Amount,
    /// By the channel's [`CommitmentKey`], over [`bytes()`].
    pub signature: [u8; 64],
}

impl fmt::Debug for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commitment({})", self.amount)
    }
}

/// The key that a channel's commitments are signed by: a canonical point of the curve, and not one of the few under
/// which a signature fits almost any message.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommitmentKey(VerifyingKey);

impl CommitmentKey {
    /// Takes a key's raw bytes, such as a contract holds.
    ///
    /// # Errors
    /// [`WeakKey`] for bytes that are no point, not the one spelling of it, or a point of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, WeakKey> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| WeakKey)?;
        // The library takes a coordinate above the field's prime; the ledger may judge such a key otherwise than we do.
        let canonical = key.to_edwards().compress().to_bytes() == bytes;
        if canonical && !key.is_weak() { Ok(Self(key)) } else { Err(WeakKey) }
    }

    /// The raw bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Checks that this key signed `commitment` for `channel` on `network`. What its signer meant by it, a request's
    /// price or the end of the channel, is not part of what is signed.
    ///
    /// # Errors
    /// [`BadSignature`] if it did not.
    pub fn verify(
        &self,
        network: Network,
        channel: ContractId,
        commitment: &Commitment,
    ) -> Result<(), BadSignature> {
        let message = bytes(network, channel, commitment.amount);
        let signature = Signature::from_bytes(&commitment.signature);
        self.0.verify_strict(&message, &signature).map_err(|_| BadSignature)
    }
}

/// As the `G…` address of the same key.
impl fmt::Display for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        AccountId(self.to_bytes()).fmt(f)
    }
}

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CommitmentKey {
    type Err = NotKey;

    /// Reads a `G…` address or 64 hex digits of either case.
    fn from_str(text: &str) -> Result<Self, NotKey> {
        let bytes = match read_hex(text) {
            Some(bytes) => bytes,
            None => text.parse::<AccountId>().map_err(NotKey::Malformed)?.0,
        };
        Self::from_bytes(bytes).map_err(NotKey::Weak)
    }
}

/// The secret seed of a [`CommitmentKey`]. Wiped when dropped; never shown.
#[derive(Clone)]
pub struct CommitmentSeed(SigningKey);

impl CommitmentSeed {
    /// The seed of these raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The key that checks what this seed signs; never a weak one, whatever the seed.
    #[must_use]
    pub fn key(&self) -> CommitmentKey {
        CommitmentKey(self.0.verifying_key())
    }

    /// Signs a total for `channel` on `network`.
    #[must_use]
    pub fn sign(&self, network: Network, channel: ContractId, amount: Amount) -> Commitment {
        let signature = self.0.sign(&bytes(network, channel, amount)).to_bytes();
        Commitment { amount, signature }
    }
}

impl fmt::Debug for CommitmentSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitmentSeed(of {})", self.key())
    }
}

impl FromStr for CommitmentSeed {
    type Err = NotSeed;

    /// Reads 64 hex digits of either case, or an `S…` seed.
    fn from_str(text: &str) -> Result<Self, NotSeed> {
        let mut bytes = match read_hex(text) {
            Some(bytes) => bytes,
            None => {
                let mut key =
                    stellar_strkey::ed25519::PrivateKey::from_string(text).map_err(|_| NotSeed)?;
                std::mem::take(&mut key.0)
            }
        };
        let seed = Self::from_bytes(&bytes);
        bytes.zeroize();
        Ok(seed)
    }
}

/// What is signed for a total of `amount`: the XDR of a map of four symbols, as the contract builds it.
///
/// Always built here, never taken from a client: so a signature binds network, channel and amount, or is none.
#[must_use]
pub fn bytes(network: Network, channel: ContractId, amount: Amount) -> [u8; 192] {
    let (amount, network) = (amount.units().to_be_bytes(), network.id());
    let parts: [&[u8]; 6] = [TO_AMOUNT, &amount, TO_CHANNEL, &channel.0, TO_NETWORK, &network];
    let mut message = [0; 192];
    for (slot, byte) in message.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *byte;
    }
    message
}

/// The key could not tell a signature from a forgery, or not everywhere alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical ed25519 public key of full order")]
pub struct WeakKey;

/// The key did not sign this total for this channel on this network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`signature` is not the commitment key's over this network, channel and amount")]
pub struct BadSignature;

/// Why a text is no [`CommitmentKey`]. Never repeats the text: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKey {
    /// Neither hex nor an account's address.
    #[error("neither 64 hex digits nor an account's address (`G…`)")]
    Malformed(#[source] AddressError),
    /// Well spelled, but of no use.
    #[error(transparent)]
    Weak(WeakKey),
}

/// The text is no [`CommitmentSeed`]. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither 64 hex digits nor a secret seed (`S…`, 56 characters)")]
pub struct NotSeed;

fn read_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// A map of four entries; the symbol `amount`, an i128.
const TO_AMOUNT: &[u8] = b"\0\0\0\x11\0\0\0\x01\0\0\0\x04\0\0\0\x0f\0\0\0\x06amount\0\0\0\0\0\x0a";
/// The symbol `channel`, a contract's address.
const TO_CHANNEL: &[u8] = b"\0\0\0\x0f\0\0\0\x07channel\0\0\0\0\x12\0\0\0\x01";
/// The symbols `domain` and `chancmmt`; the symbol `network`, 32 bytes.
const TO_NETWORK: &[u8] = b"\0\0\0\x0f\0\0\0\x06domain\0\0\0\0\0\x0f\0\0\0\x08chancmmt\
    \0\0\0\x0f\0\0\0\x07network\0\0\0\0\x0d\0\0\0\x20";

#[cfg(test)]
mod tests;
