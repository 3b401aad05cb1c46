//! The `payload` of a charge credential, and the signature that binds a transfer on the ledger to a challenge.

use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::{Value, json};

use super::{super::ChallengeId, CredentialType};
use crate::protocol::stellar::{AccountId, TxHash};

/// What pays a charge. Its `Debug` shows no more than the kind: whoever has a payload may present it.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// Base64 of a `TransactionEnvelope` for the server to send, not read yet: at most 8192 characters.
    Transaction(String),
    /// A transaction on the ledger, and its payer's signature that it is for this challenge.
    SignedHash {
        /// The transaction's hash.
        hash: TxHash,
        /// By the payer, over [`signed_hash_message`].
        signature: [u8; 64],
    },
    /// A transaction on the ledger, and nothing to say whose it is.
    Hash(TxHash),
}

impl Payload {
    /// Which way to present a transfer this is.
    #[must_use]
    pub const fn kind(&self) -> CredentialType {
        match self {
            Self::Transaction(_) => CredentialType::Transaction,
            Self::SignedHash { .. } => CredentialType::SignedHash,
            Self::Hash(_) => CredentialType::Hash,
        }
    }

    /// The payload as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let kind = self.kind().name();
        match self {
            Self::Transaction(transaction) => json!({ "type": kind, "transaction": transaction }),
            Self::SignedHash { hash, signature } => json!({
                "type": kind,
                "hash": hash.to_string(),
                "sourceSignature": hex::encode(signature),
            }),
            Self::Hash(hash) => json!({ "type": kind, "hash": hash.to_string() }),
        }
    }

    /// Reads a payload; hashes and signatures in hex of either case, members that it does not know passed over.
    ///
    /// # Errors
    /// [`InvalidPayload`] names the member that is missing or wrong.
    pub fn from_json(payload: &Value) -> Result<Self, InvalidPayload> {
        let text =
            |key: &'static str| payload.get(key).and_then(Value::as_str).ok_or(InvalidPayload(key));
        let hash = || read_hex(text("hash")?).map(TxHash).ok_or(InvalidPayload("hash"));
        match CredentialType::from_name(text("type")?).ok_or(InvalidPayload("type"))? {
            CredentialType::Transaction => {
                let transaction = text("transaction")?;
                if transaction.is_empty() || transaction.len() > MAX_TRANSACTION {
                    return Err(InvalidPayload("transaction"));
                }
                Ok(Self::Transaction(transaction.to_owned()))
            }
            CredentialType::SignedHash => Ok(Self::SignedHash {
                hash: hash()?,
                signature: read_hex(text("sourceSignature")?)
                    .ok_or(InvalidPayload("sourceSignature"))?,
            }),
            CredentialType::Hash => Ok(Self::Hash(hash()?)),
        }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({})", self.kind().name())
    }
}

/// The member that keeps a JSON value from being a [`Payload`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`payload.{0}` is missing or not as it must be")]
pub struct InvalidPayload(pub &'static str);

/// What a payer signs to say that the transaction `hash` is for the challenge `id`: its ASCII, no prefix, no prehash.
#[must_use]
pub fn signed_hash_message(id: &ChallengeId, hash: &TxHash) -> String {
    format!("{id}:{hash}")
}

/// Checks that `payer`'s own key signed [`signed_hash_message`]; `payer` is the transfer's `from`.
///
/// # Errors
/// [`BadSignature`] if it did not.
pub fn check_signed_hash(
    payer: AccountId,
    id: &ChallengeId,
    hash: &TxHash,
    signature: &[u8; 64],
) -> Result<(), BadSignature> {
    let message = signed_hash_message(id, hash);
    VerifyingKey::from_bytes(&payer.0)
        .and_then(|key| key.verify_strict(message.as_bytes(), &Signature::from_bytes(signature)))
        .map_err(|_| BadSignature)
}

/// The payer did not sign that this transaction is for this challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`sourceSignature` is not the payer's over this challenge and hash")]
pub struct BadSignature;

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

/// In characters of base64, as `@stellar/mpp` has it.
const MAX_TRANSACTION: usize = 8192;
