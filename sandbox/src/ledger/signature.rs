//! Which signatures a transaction carries, whose they are, and whether all were needed.
//!
//! Source: stellar-core's rules for decorated signatures: each signature counts once per check, weights add up to a
//! threshold, and a signature that no check needed makes the transaction invalid.

use ed25519_dalek::{Signature as Ed25519Signature, VerifyingKey};
use stellar_xdr::{
    AccountEntry, AccountId, DecoratedSignature, Hash, PublicKey, Signer, SignerKey,
    SignerKeyEd25519SignedPayload, Uint256,
};

use super::xdr::sha256;

/// The signatures of one envelope, and which of them some check needed.
pub(super) struct Signatures<'a> {
    hash: &'a Hash,
    signatures: &'a [DecoratedSignature],
    used: Vec<bool>,
    trusted: &'a [AccountId],
}

/// How much weight an operation asks of its source account's signers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Threshold {
    Low,
    Medium,
    High,
}

impl<'a> Signatures<'a> {
    /// The signatures over `hash`; those of `trusted` accounts count as given.
    pub(super) fn new(
        hash: &'a Hash,
        signatures: &'a [DecoratedSignature],
        trusted: &'a [AccountId],
    ) -> Self {
        Self { hash, signatures, used: vec![false; signatures.len()], trusted }
    }

    /// Whether the signers of `account` signed with the weight that `threshold` asks.
    pub(super) fn authorize(&mut self, account: &AccountEntry, threshold: Threshold) -> bool {
        if self.trusted.contains(&account.account_id) {
            return true;
        }
        let [master_weight, low, medium, high] = account.thresholds.0;
        let needed = match threshold {
            Threshold::Low => low,
            Threshold::Medium => medium,
            Threshold::High => high,
        };
        let mut signers = account.signers.to_vec();
        if master_weight > 0 {
            signers.push(Signer {
                key: account_signer(&account.account_id),
                weight: u32::from(master_weight),
            });
        }
        self.check(signers, needed)
    }

    /// Whether the key of an account that does not exist signed.
    pub(super) fn authorize_missing(&mut self, account: &AccountId) -> bool {
        self.trusted.contains(account)
            || self.check(vec![Signer { key: account_signer(account), weight: 1 }], 0)
    }

    /// Whether all of `keys` signed, as the precondition of extra signers asks.
    pub(super) fn authorize_extra(&mut self, keys: &[SignerKey]) -> bool {
        let needed = u8::try_from(keys.len()).unwrap_or(u8::MAX);
        keys.is_empty()
            || self.check(
                keys.iter().map(|key| Signer { key: key.clone(), weight: 1 }).collect(),
                needed,
            )
    }

    /// Whether every signature was needed by some check.
    pub(super) fn all_used(&self) -> bool {
        self.used.iter().all(|used| *used)
    }

    /// Adds up the weights of the signers who signed. A threshold of zero still needs one of them.
    fn check(&mut self, mut signers: Vec<Signer>, needed: u8) -> bool {
        let mut weight = 0_u32;
        for signer in &signers {
            if signer.key == SignerKey::PreAuthTx(Uint256(self.hash.0)) {
                weight = weight.saturating_add(signer.weight.min(MAX_WEIGHT));
                if weight >= u32::from(needed) {
                    return true;
                }
            }
        }
        for kind in [is_hash_x, is_ed25519, is_signed_payload] {
            for (signature, used) in self.signatures.iter().zip(self.used.iter_mut()) {
                let found = signers.iter().position(|signer| {
                    kind(&signer.key) && signs(&signer.key, signature, self.hash)
                });
                let Some(found) = found else { continue };
                *used = true;
                weight = weight.saturating_add(signers.swap_remove(found).weight.min(MAX_WEIGHT));
                if weight >= u32::from(needed) {
                    return true;
                }
            }
        }
        false
    }
}

fn account_signer(account: &AccountId) -> SignerKey {
    let PublicKey::PublicKeyTypeEd25519(key) = &account.0;
    SignerKey::Ed25519(key.clone())
}

fn is_hash_x(key: &SignerKey) -> bool {
    matches!(key, SignerKey::HashX(_))
}

fn is_ed25519(key: &SignerKey) -> bool {
    matches!(key, SignerKey::Ed25519(_))
}

fn is_signed_payload(key: &SignerKey) -> bool {
    matches!(key, SignerKey::Ed25519SignedPayload(_))
}

fn signs(key: &SignerKey, decorated: &DecoratedSignature, hash: &Hash) -> bool {
    let bytes: &[u8] = decorated.signature.0.as_slice();
    match key {
        SignerKey::Ed25519(key) => {
            decorated.hint.0 == tail(&key.0) && verifies(key, &hash.0, bytes)
        }
        SignerKey::HashX(digest) => {
            decorated.hint.0 == tail(&digest.0) && sha256(bytes).0 == digest.0
        }
        SignerKey::Ed25519SignedPayload(SignerKeyEd25519SignedPayload { ed25519, payload }) => {
            decorated.hint.0 == payload_hint(ed25519, payload.as_slice())
                && verifies(ed25519, payload.as_slice(), bytes)
        }
        SignerKey::PreAuthTx(_) => false,
    }
}

fn verifies(key: &Uint256, message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    let Ok(signature) = Ed25519Signature::from_slice(signature) else { return false };
    key.verify_strict(message, &signature).is_ok()
}

/// The last four bytes of a key: how a signature hints at its signer.
fn tail(key: &[u8; 32]) -> [u8; 4] {
    let [.., a, b, c, d] = *key;
    [a, b, c, d]
}

/// CAP-40: the key's hint exclusive-or the payload's last four bytes, which a short payload fills with zeros.
fn payload_hint(key: &Uint256, payload: &[u8]) -> [u8; 4] {
    let mut hint = tail(&key.0);
    let start = payload.len().saturating_sub(4);
    for (byte, of_payload) in hint.iter_mut().zip(payload.iter().skip(start)) {
        *byte ^= of_payload;
    }
    hint
}

/// More than this a signer cannot weigh.
const MAX_WEIGHT: u32 = 255;
