//! Keys: the seed behind a Stellar account, and what it signs.

use std::{fmt, str::FromStr};

use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use stellar_xdr as xdr;
use zeroize::Zeroize as _;

use crate::protocol::{
    stellar::{AccountId, Network},
    transfer,
};

/// The secret seed of an account (`S…`). Wiped when dropped; never shown.
#[derive(Clone)]
pub struct Seed(SigningKey);

impl Seed {
    /// The seed of these raw bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The account that the seed controls.
    #[must_use]
    pub fn account(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// Signs the hash of a transaction.
    #[must_use]
    pub fn sign(&self, hash: &[u8; 32]) -> xdr::DecoratedSignature {
        let [.., a, b, c, d] = self.account().0;
        let signature = self.0.sign(hash).to_bytes().to_vec();
        xdr::DecoratedSignature {
            hint: xdr::SignatureHint([a, b, c, d]),
            signature: xdr::Signature(
                signature.try_into().expect("64 bytes are within a signature's bound"),
            ),
        }
    }

    /// Signs a message that is neither a transaction nor an authorization, such as a charge's claim to a hash.
    #[must_use]
    pub fn sign_message(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Signs an authorization entry as the account's own key.
    ///
    /// # Errors
    /// [`transfer::Error::UnsupportedCredentials`] for other credentials than an address's.
    pub fn sign_authorization(
        &self,
        entry: &mut xdr::SorobanAuthorizationEntry,
        network: Network,
    ) -> Result<(), transfer::Error> {
        transfer::sign_authorization(entry, &self.0, network)
    }

    /// Another seed, which only who has this one can find: an HMAC under it over network, `purpose` and `index`.
    #[must_use]
    pub fn derive(&self, network: Network, purpose: &str, index: u32) -> Self {
        let mut bytes = self.0.to_bytes();
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes a key of any length");
        bytes.zeroize();
        mac.update(&network.id());
        mac.update(purpose.as_bytes());
        mac.update(&index.to_be_bytes());
        let mut derived: [u8; 32] = mac.finalize().into_bytes().into();
        let seed = Self::from_bytes(&derived);
        derived.zeroize();
        seed
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
        let mut key =
            stellar_strkey::ed25519::PrivateKey::from_string(text).map_err(|_| NotSeed)?;
        let seed = Self::from_bytes(&key.0);
        key.0.zeroize();
        Ok(seed)
    }
}

/// The text is no secret seed. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a Stellar secret seed (`S…`, 56 characters)")]
pub struct NotSeed;

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    const SECRET: &str = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";

    #[test]
    fn a_seed_is_read_and_never_shown() {
        let seed: Seed = SECRET.parse().unwrap();
        let account = "GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR";
        assert_eq!(seed.account().to_string(), account);
        assert_eq!(format!("{seed:?}"), format!("Seed(of {account})"));
        for text in ["", account, SECRET.trim_start_matches('S'), &SECRET.to_lowercase()] {
            assert_eq!(text.parse::<Seed>().err(), Some(NotSeed), "{text}");
        }
    }

    #[test]
    fn a_transaction_signature_verifies_and_hints_at_its_key() {
        let seed: Seed = SECRET.parse().unwrap();
        let signed = seed.sign(&[7; 32]);
        let key = VerifyingKey::from_bytes(&seed.account().0).unwrap();
        let signature = Signature::from_slice(signed.signature.0.as_slice()).unwrap();
        assert!(key.verify_strict(&[7; 32], &signature).is_ok());
        assert_eq!(signed.hint.0, seed.account().0[28..]);
    }

    #[test]
    fn derived_seeds_differ_by_network_purpose_and_index() {
        let seed: Seed = SECRET.parse().unwrap();
        let of = |network, purpose, index| seed.derive(network, purpose, index).account();
        let lane = of(Network::Testnet, "lane", 0);
        assert_eq!(lane, of(Network::Testnet, "lane", 0));
        assert_ne!(lane, seed.account());
        assert_ne!(lane, of(Network::Pubnet, "lane", 0));
        assert_ne!(lane, of(Network::Testnet, "other", 0));
        assert_ne!(lane, of(Network::Testnet, "lane", 1));
    }
}
