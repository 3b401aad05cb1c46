//! Accounts whose keys the sandbox knows, derived from fixed labels: the same at every start, and public.
//!
//! Never use one on a real network: anybody can derive it. What the accounts hold is the bootstrap's business.

use std::fmt;

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};
use stellar_strkey::ed25519::{PrivateKey, PublicKey};
use stellar_xdr::{AccountId, PublicKey as XdrPublicKey, Uint256};

/// An account together with its key.
#[derive(Clone)]
pub struct DevAccount {
    key: SigningKey,
}

impl DevAccount {
    /// The account of `label`: its seed is the SHA-256 of a fixed prefix and the label.
    pub fn from_label(label: &str) -> Self {
        let seed = Sha256::new().chain_update(SEED_PREFIX).chain_update(label).finalize();
        Self { key: SigningKey::from_bytes(&seed.into()) }
    }

    /// The `G…` address.
    pub fn address(&self) -> String {
        format!("{}", PublicKey(self.key.verifying_key().to_bytes()))
    }

    /// The `S…` seed, in the clear.
    pub fn secret(&self) -> String {
        format!("{}", PrivateKey(self.key.to_bytes()).as_unredacted())
    }

    /// The signing key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The account as XDR has it.
    pub fn account_id(&self) -> AccountId {
        account_id(&self.key)
    }
}

impl fmt::Debug for DevAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DevAccount").field(&self.address()).finish()
    }
}

/// The accounts that every sandbox starts with.
#[derive(Clone, Debug)]
pub struct DevAccounts {
    /// Is paid: 100 XLM, a USDC trustline, no USDC yet.
    pub recipient: DevAccount,
    /// Pays: 100 XLM and 1,000 USDC.
    pub payer: DevAccount,
    /// Pays without lumens: 100 USDC, and of XLM exactly its reserve.
    pub zero_xlm_payer: DevAccount,
    /// Pays the fees of others: 10,000 XLM.
    pub sponsor: DevAccount,
}

impl DevAccounts {
    /// Derives them.
    pub fn new() -> Self {
        Self {
            recipient: DevAccount::from_label("recipient"),
            payer: DevAccount::from_label("payer"),
            zero_xlm_payer: DevAccount::from_label("payer without XLM"),
            sponsor: DevAccount::from_label("sponsor"),
        }
    }
}

impl Default for DevAccounts {
    fn default() -> Self {
        Self::new()
    }
}

/// The account that `key` is the master key of.
pub(crate) fn account_id(key: &SigningKey) -> AccountId {
    AccountId(XdrPublicKey::PublicKeyTypeEd25519(Uint256(key.verifying_key().to_bytes())))
}

const SEED_PREFIX: &str = "tollgate sandbox, never use on a real network: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_label_gives_the_same_account() {
        let one = DevAccount::from_label("payer");
        assert_eq!(one.address(), DevAccounts::new().payer.address());
        assert_ne!(one.address(), DevAccount::from_label("sponsor").address());
        assert!(one.address().starts_with('G') && one.secret().starts_with('S'));
    }

    #[test]
    fn debug_shows_the_address_and_not_the_seed() {
        let account = DevAccount::from_label("payer");
        assert_eq!(format!("{account:?}"), format!("DevAccount({:?})", account.address()));
    }
}
