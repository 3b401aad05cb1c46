//! Stellar's names: networks, addresses, assets, transaction hashes.
//!
//! Knows how they are written and checked, not how the ledger is reached.
//! Source: SEP-23 (strkey), CAIP-2 names as x402 and `@stellar/mpp` spell them.

use std::{fmt, str::FromStr, sync::Arc};

use sha2::{Digest as _, Sha256};
use stellar_strkey::{Contract, Strkey, ed25519};
use stellar_xdr as xdr;
use xdr::WriteXdr as _;

use super::money::Decimals;

/// A Stellar network, by its CAIP-2 name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// `stellar:testnet`.
    Testnet,
    /// `stellar:pubnet`, where money is real.
    Pubnet,
}

impl Network {
    /// The CAIP-2 name, as the wire formats carry it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Testnet => "stellar:testnet",
            Self::Pubnet => "stellar:pubnet",
        }
    }

    /// The passphrase that every signature is bound to.
    #[must_use]
    pub const fn passphrase(self) -> &'static str {
        match self {
            Self::Testnet => "Test SDF Network ; September 2015",
            Self::Pubnet => "Public Global Stellar Network ; September 2015",
        }
    }

    /// The network id: SHA-256 of the passphrase.
    #[must_use]
    pub fn id(self) -> [u8; 32] {
        Sha256::digest(self.passphrase().as_bytes()).into()
    }

    /// USDC by Circle: its SAC contract and its issuer.
    #[must_use]
    pub fn usdc(self) -> Asset {
        let (contract, issuer) = match self {
            Self::Testnet => (
                "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA",
                "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5",
            ),
            Self::Pubnet => (
                "CCW67TSZV3SSS2HXMBQ5JFGCKJNXKZM7UQUWUZPUTHXSTZLEO7SJMI75",
                "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN",
            ),
        };
        Asset::built_in("USDC", contract, Some(issuer))
    }

    /// The native lumen: its SAC contract; it has no issuer.
    #[must_use]
    pub fn xlm(self) -> Asset {
        let contract = match self {
            Self::Testnet => "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC",
            Self::Pubnet => "CAS3J7GYLGXMF6TDJBBYYSE3HQ6BBSMLNUQ34T6TZMYMW2EVH34XOWMA",
        };
        Asset::built_in("XLM", contract, None)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Network {
    type Err = UnknownNetwork;

    fn from_str(name: &str) -> Result<Self, UnknownNetwork> {
        [Self::Testnet, Self::Pubnet]
            .into_iter()
            .find(|network| network.name() == name)
            .ok_or(UnknownNetwork)
    }
}

/// The name is of no network that Tollgate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `stellar:testnet` or `stellar:pubnet`")]
pub struct UnknownNetwork;

/// A token that prices are in: a contract with the SEP-41 interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its short name in the configuration: `USDC`.
    pub name: Arc<str>,
    /// Its contract.
    pub contract: ContractId,
    /// How many decimals its amounts have.
    pub decimals: Decimals,
    /// The issuing account of a classic asset, where known; it can never be the payee.
    pub issuer: Option<AccountId>,
}

impl Asset {
    fn built_in(name: &str, contract: &str, issuer: Option<&str>) -> Self {
        let known = "a built-in address is well-formed: a test reads them all";
        Self {
            name: name.into(),
            contract: contract.parse().expect(known),
            decimals: Decimals::STELLAR,
            issuer: issuer.map(|issuer| issuer.parse().expect(known)),
        }
    }
}

/// An account: the ed25519 public key behind a `G…` address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub [u8; 32]);

impl AccountId {
    /// The account as XDR writes it.
    #[must_use]
    pub fn to_xdr(self) -> xdr::AccountId {
        xdr::AccountId(xdr::PublicKey::PublicKeyTypeEd25519(xdr::Uint256(self.0)))
    }

    /// The account as the source of a transaction.
    #[must_use]
    pub const fn to_muxed(self) -> xdr::MuxedAccount {
        xdr::MuxedAccount::Ed25519(xdr::Uint256(self.0))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", ed25519::PublicKey(self.0))
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AccountId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse()? {
            Address::Account(account) => Ok(account),
            Address::Contract(_) => Err(AddressError::NotAccount),
        }
    }
}

/// A contract: the hash behind a `C…` address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractId(pub [u8; 32]);

impl ContractId {
    /// The Stellar Asset Contract that a classic asset, or the lumen, has on `network`.
    #[must_use]
    pub fn of_asset(asset: xdr::Asset, network: Network) -> Self {
        let preimage = xdr::HashIdPreimage::ContractId(xdr::HashIdPreimageContractId {
            network_id: xdr::Hash(network.id()),
            contract_id_preimage: xdr::ContractIdPreimage::Asset(asset),
        });
        let bytes = preimage.to_xdr(xdr::Limits::none()).expect("an asset encodes without bounds");
        Self(Sha256::digest(bytes).into())
    }

    /// The contract as an address of XDR.
    #[must_use]
    pub const fn to_xdr(self) -> xdr::ScAddress {
        xdr::ScAddress::Contract(xdr::ContractId(xdr::Hash(self.0)))
    }
}

impl fmt::Display for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Contract(self.0))
    }
}

impl fmt::Debug for ContractId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContractId {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match text.parse()? {
            Address::Contract(contract) => Ok(contract),
            Address::Account(_) => Err(AddressError::NotContract),
        }
    }
}

/// Who can pay and be paid: an account or a contract; never a muxed account, whose transfers carry other events.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A `G…` address.
    Account(AccountId),
    /// A `C…` address.
    Contract(ContractId),
}

impl Address {
    /// The address as XDR writes it.
    #[must_use]
    pub fn to_xdr(self) -> xdr::ScAddress {
        match self {
            Self::Account(account) => xdr::ScAddress::Account(account.to_xdr()),
            Self::Contract(contract) => contract.to_xdr(),
        }
    }

    /// The account, if it is one.
    #[must_use]
    pub const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) => Some(account),
            Self::Contract(_) => None,
        }
    }

    /// Reads an address of XDR; `None` for the kinds that can neither pay nor be paid here.
    #[must_use]
    pub const fn from_xdr(address: &xdr::ScAddress) -> Option<Self> {
        match address {
            xdr::ScAddress::Account(xdr::AccountId(xdr::PublicKey::PublicKeyTypeEd25519(key))) => {
                Some(Self::Account(AccountId(key.0)))
            }
            xdr::ScAddress::Contract(xdr::ContractId(hash)) => {
                Some(Self::Contract(ContractId(hash.0)))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => account.fmt(f),
            Self::Contract(contract) => contract.fmt(f),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match Strkey::from_string(text) {
            Ok(Strkey::PublicKeyEd25519(key)) => Ok(Self::Account(AccountId(key.0))),
            Ok(Strkey::Contract(contract)) => Ok(Self::Contract(ContractId(contract.0))),
            Ok(Strkey::MuxedAccountEd25519(_)) => Err(AddressError::Muxed),
            Ok(_) | Err(_) if ed25519::PrivateKey::from_string(text).is_ok() => {
                Err(AddressError::Secret)
            }
            Ok(_) | Err(_) => Err(AddressError::Malformed),
        }
    }
}

/// Why a text is not the address that was asked for. Never repeats the text: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No strkey, or one with a wrong checksum.
    #[error("not a Stellar address (`G…` or `C…`, 56 characters)")]
    Malformed,
    /// An `M…` address.
    #[error("a muxed account (`M…`), which cannot be paid this way")]
    Muxed,
    /// An `S…` seed, where a public address belongs.
    #[error("a secret key (`S…`), not an address")]
    Secret,
    /// A `C…` where an account was asked for.
    #[error("a contract (`C…`), not an account (`G…`)")]
    NotAccount,
    /// A `G…` where a contract was asked for.
    #[error("an account (`G…`), not a contract (`C…`)")]
    NotContract,
}

/// The hash by which the network knows a transaction, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxHash(pub [u8; 32]);

impl fmt::Display for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TxHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TxHash {
    type Err = NotHash;

    /// Only the canonical spelling: 64 lower-case hex digits, no prefix.
    fn from_str(text: &str) -> Result<Self, NotHash> {
        let mut hash = [0; 32];
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut hash) {
            Ok(()) if lower => Ok(Self(hash)),
            _ => Err(NotHash),
        }
    }
}

/// The text is no transaction hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a transaction hash: 64 lower-case hex digits")]
pub struct NotHash;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_addresses_are_the_networks_own() {
        for network in [Network::Testnet, Network::Pubnet] {
            assert_eq!(network.name().parse(), Ok(network));
            let usdc = network.usdc();
            let issuer = usdc.issuer.expect("USDC has an issuer");
            let classic = xdr::Asset::CreditAlphanum4(xdr::AlphaNum4 {
                asset_code: xdr::AssetCode4(*b"USDC"),
                issuer: issuer.to_xdr(),
            });
            assert_eq!(usdc.contract, ContractId::of_asset(classic, network));
            assert_eq!(network.xlm().contract, ContractId::of_asset(xdr::Asset::Native, network));
        }
    }

    #[test]
    fn an_address_says_what_is_wrong_with_it() {
        let account = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";
        assert_eq!(account.parse::<Address>().unwrap().to_string(), account);
        assert_eq!(account.parse::<ContractId>(), Err(AddressError::NotContract));
        for (text, error) in [
            ("", AddressError::Malformed),
            (&account.to_lowercase(), AddressError::Malformed),
            (&account.replace("GBBD", "GBBC"), AddressError::Malformed),
            (
                "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ",
                AddressError::Muxed,
            ),
            ("SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY", AddressError::Secret),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_hash_has_one_spelling() {
        let text = "7d3e7704ab26fb0a373e1af0eb223b4af9a313ed5b2bc5bcfdefaee1a67a79fe";
        assert_eq!(text.parse::<TxHash>().unwrap().to_string(), text);
        for other in [&text.to_uppercase(), &text[1..], &format!("0x{text}"), &format!("{text}0")] {
            assert_eq!(other.parse::<TxHash>(), Err(NotHash), "{other}");
        }
    }
}
